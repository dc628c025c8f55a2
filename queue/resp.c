#include "queue/resp.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* The first words of Redis' error replies. `when` further limits a word that
 * means several things. */
static const struct {
    const char *word, *when;
    enum resp_class class;
} ERRORS[] = {
    {"OOM", NULL, RESP_NO_ROOM},
    {"MISCONF", NULL, RESP_NO_ROOM},
    {"LOADING", NULL, RESP_AWAY},
    {"BUSY", NULL, RESP_AWAY},
    {"READONLY", NULL, RESP_AWAY},
    {"MASTERDOWN", NULL, RESP_AWAY},
    {"NOREPLICAS", NULL, RESP_AWAY},
    {"CLUSTERDOWN", NULL, RESP_AWAY},
    {"TRYAGAIN", NULL, RESP_AWAY},
    {"MOVED", NULL, RESP_AWAY},
    {"ASK", NULL, RESP_AWAY},
    {"ERR", "max number of clients reached", RESP_AWAY},
    {"NOSCRIPT", NULL, RESP_NO_SCRIPT},
    {"NOAUTH", NULL, RESP_FORBIDDEN},
    {"WRONGPASS", NULL, RESP_FORBIDDEN},
    {"NOPERM", NULL, RESP_FORBIDDEN},
};

enum resp_class
resp_classify(struct slice error)
{
    struct slice rest = error;
    struct slice word = slice_cut_at(&rest, ' ');
    for (size_t i = 0; i < ARRAY_LEN(ERRORS); i++) {
        if (!slice_eq(word, slice_str(ERRORS[i].word)))
            continue;
        if (ERRORS[i].when == NULL || slice_starts(rest, slice_str(ERRORS[i].when)))
            return ERRORS[i].class;
    }
    return RESP_UNEXPECTED;
}

struct slice
resp_text(const struct redisReply *r)
{
    if (r == NULL || (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS))
        return SLICE_NONE;
    return slice_from(r->str, (size_t)r->len);
}

bool
resp_is(const struct redisReply *r, const char *text)
{
    return slice_eq(resp_text(r), slice_str(text));
}

bool
resp_is_nil(const struct redisReply *r)
{
    return r == NULL || r->type == REDIS_REPLY_NIL;
}

int64_t
resp_int(const struct redisReply *r, int64_t otherwise)
{
    uint64_t v;
    if (r != NULL && r->type == REDIS_REPLY_INTEGER)
        return r->integer;
    if (!slice_to_u64(resp_text(r), &v) || v > INT64_MAX)
        return otherwise;
    return (int64_t)v;
}

const struct redisReply *
resp_at(const struct redisReply *r, size_t i)
{
    return i < resp_count(r) ? r->element[i] : NULL;
}

size_t
resp_count(const struct redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
}

/* ---- guard ----------------------------------------------------------------- */

void
resp_guard_init(struct resp_guard *g)
{
    *g = (struct resp_guard){0};
}

/* The decimal number behind the type byte; false: not one. */
static bool
header_number(const struct resp_guard *g, int64_t *out)
{
    struct slice s = slice_from(g->line + 1, g->line_n - 1);
    if (s.n > 0 && s.p[s.n - 1] == '\r')
        s.n--;
    uint64_t v;
    if (slice_eq(s, SLICE("-1"))) {
        *out = -1;
        return true;
    }
    if (g->line_bytes > g->line_n || !slice_to_u64(s, &v) || v > INT64_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

static bool
header_is_sane(struct resp_guard *g)
{
    int64_t n = 0;
    switch (g->line[0]) {
    case '$':
        if (!header_number(g, &n) || n > QUEUE_BULK_REPLY_MAX)
            return false;
        g->skip = n < 0 ? 0 : (uint64_t)n + 2;
        return true;
    case '*':
        return header_number(g, &n) && n <= QUEUE_REPLY_ELEMENTS_MAX;
    case '+':
    case '-':
    case ':':
        return true;
    default:
        return false;
    }
}

/* Takes bytes up to and with the next line feed. */
static bool
feed_line(struct resp_guard *g, struct slice *bytes)
{
    size_t n = slice_find(*bytes, '\n');
    bool whole = n < bytes->n;
    struct slice piece = slice_cut(bytes, n);
    size_t keep = sizeof g->line - g->line_n;
    keep = piece.n < keep ? piece.n : keep;
    if (keep > 0)
        memcpy(g->line + g->line_n, piece.p, keep);
    g->line_n += keep;
    g->line_bytes += piece.n;
    if (g->line_bytes > QUEUE_REPLY_LINE_MAX)
        return false;
    if (!whole)
        return true;
    slice_cut(bytes, 1);
    bool ok = g->line_n > 0 && header_is_sane(g);
    g->line_n = g->line_bytes = 0;
    return ok;
}

bool
resp_guard_feed(struct resp_guard *g, struct slice bytes)
{
    while (bytes.n > 0) {
        if (g->skip > 0) {
            g->skip -= slice_cut(&bytes, g->skip < bytes.n ? (size_t)g->skip : bytes.n).n;
            continue;
        }
        if (!feed_line(g, &bytes))
            return false;
    }
    return true;
}

void
resp_add_bulk(struct buf *b, struct slice s)
{
    buf_add_char(b, '$');
    buf_add_u64(b, s.n);
    buf_add_str(b, "\r\n");
    buf_add(b, s);
    buf_add_str(b, "\r\n");
}
