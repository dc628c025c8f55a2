#include "relay/sys/base/log.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/base/utf8.h"

static const char *const LEVELS[] = {"debug", "info", "notice", "warn", "error"};

static struct {
    const char *role;
    unsigned number;
    enum log_level least;
    uint64_t dropped;
} logger = {.role = "stagepost", .least = LOG_INFO}; /* one log a process */

void
log_init(const char *role, unsigned number, enum log_level least)
{
    logger.role = role;
    logger.number = number;
    logger.least = least;
}

uint64_t
log_dropped_lines(void)
{
    return logger.dropped;
}

/* Bytes at the front that stand for themselves: printable ASCII. */
static size_t
plain_bytes(struct slice s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= ' ' && s.p[n] <= '~' && s.p[n] != '"' && s.p[n] != '\\')
        n++;
    return n;
}

void
json_add_string(struct buf *b, struct slice s)
{
    buf_add_char(b, '"');
    while (s.n > 0) {
        size_t plain = plain_bytes(s);
        if (plain > 0) {
            buf_add(b, slice_cut(&s, plain));
            continue;
        }
        unsigned char c = (unsigned char)s.p[0];
        size_t n = utf8_sequence(s, NULL);
        if (n == 0) {
            buf_add_str(b, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_add_char(b, '\\');
            buf_add_char(b, (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_addf(b, "\\u%04x", c);
        } else if (n == 2 && c == 0xc2 && (unsigned char)s.p[1] < 0xa0) {
            buf_addf(b, "\\u%04x", (unsigned char)s.p[1]); /* C1: U+009B begins a sequence too */
        } else {
            buf_add(b, slice_from(s.p, n));
        }
        s = slice_skip(s, n);
    }
    buf_add_char(b, '"');
}

static void
add_value(struct buf *b, const struct log_field *f)
{
    char id[ID_TEXT_BYTES + 1];
    switch (f->kind) {
    case LOG_SLICE:
        json_add_string(
            b, slice_from(f->text.p, f->text.n < LOG_VALUE_MAX ? f->text.n : LOG_VALUE_MAX));
        break;
    case LOG_SIGNED:
        buf_addf(b, "%" PRId64, f->number);
        break;
    case LOG_BOOL:
        buf_add_str(b, f->number ? "true" : "false");
        break;
    case LOG_ID:
        id_format(f->id, id);
        buf_addf(b, "\"%s\"", id);
        break;
    case LOG_END:
        break;
    }
}

/* A field that does not fit is left out whole, so that the line stays JSON. */
static void
add_field(struct buf *line, const struct log_field *f)
{
    size_t before = line->len;
    buf_addf(line, ",\"%s\":", f->key);
    add_value(line, f);
    if (!line->overflowed && buf_room(line) >= 2)
        return;
    buf_truncate(line, before);
    line->overflowed = false;
}

/* What a reader looks for stands first, whatever the order of the call. */
static const char *const IDS[] = {"msg", "attempt", "session"};

static bool
is_id(const struct log_field *f)
{
    for (size_t i = 0; i < ARRAY_LEN(IDS); i++)
        if (strcmp(f->key, IDS[i]) == 0)
            return true;
    return false;
}

static void
add_ids(struct buf *line, const struct log_field *fields)
{
    for (size_t i = 0; i < ARRAY_LEN(IDS); i++)
        for (const struct log_field *f = fields; f->kind != LOG_END; f++)
            if (strcmp(f->key, IDS[i]) == 0)
                add_field(line, f);
}

/* A pipe reports POLLOUT only when PIPE_BUF (4096) bytes fit: the write below
 * can neither block nor be torn. */
static void
emit(struct slice line)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&fd, 1, 0) != 1 || (fd.revents & POLLOUT) == 0 ||
        write(STDERR_FILENO, line.p, line.n) != (ssize_t)line.n) {
        logger.dropped++;
        metrics_add(METRIC_LOG_DROPPED, 1);
    }
}

void
log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if (level < logger.least)
        return;
    char ts[25];
    clock_format_rfc3339(clock_sched_unix_ms(), ts);
    struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    buf_addf(&line, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"%s\":%u", ts, LEVELS[level],
             event, logger.role, logger.number);
    add_ids(&line, fields);
    for (; fields->kind != LOG_END; fields++)
        if (!is_id(fields))
            add_field(&line, fields);
    buf_add_str(&line, "}\n");
    emit(buf_slice(&line));
    buf_fini(&line);
}
