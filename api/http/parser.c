#include "api/http/parser.h"

#include <http_parser.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const struct {
    unsigned status;
    const char *code, *text;
} FAULTS[HEAD_FAULT_COUNT] = {
    [HEAD_FINE] = {200, "", ""},
    [HEAD_BAD] = {400, "bad_request", "the request is not valid HTTP/1.1"},
    [HEAD_HOST_MISSING] = {400, "host_required", "exactly one Host field is required"},
    [HEAD_TARGET_LONG] = {414, "uri_too_long", "the request target is too long"},
    [HEAD_TOO_LARGE] = {431, "header_too_large", "the header section is too large"},
    [HEAD_METHOD_UNKNOWN] = {501, "method_unknown", "the method is not known"},
    [HEAD_CODING_UNKNOWN] = {501, "transfer_coding_unknown",
                             "the only transfer coding understood is chunked"},
    [HEAD_VERSION] = {505, "http_version", "only HTTP/1.0 and HTTP/1.1 are spoken"},
};

unsigned
head_fault_status(enum head_fault f)
{
    return FAULTS[f].status;
}

const char *
head_fault_code(enum head_fault f)
{
    return FAULTS[f].code;
}

const char *
head_fault_text(enum head_fault f)
{
    return FAULTS[f].text;
}

/* Fields that decide something here or in a route: two of them could be read
 * differently by two readers. */
static const struct slice ONCE[] = {
    {"host", 4},           {"content-length", 14},   {"transfer-encoding", 17},
    {"content-type", 12},  {"content-encoding", 16}, {"expect", 6},
    {"authorization", 13}, {"idempotency-key", 15},
};

/* RFC 9110 5.6.2 */
static bool
is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && (s.p[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
            return false;
    return s.n > 0;
}

/* RFC 9110 5.5: VCHAR, SP, HTAB, obs-text. */
static bool
is_field_value(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool
is_visible(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= 0x20 || c >= 0x7f)
            return false;
    }
    return s.n > 0;
}

/* A head that is too large: is it the request line or the fields? */
static enum head_fault
too_large(struct slice in)
{
    in = slice_skip(in, 2); /* an empty line in front */
    return slice_find(in, '\n') > HTTP_URL_MAX ? HEAD_TARGET_LONG : HEAD_TOO_LARGE;
}

/* Where the head ends, looking at each byte once. One empty line in front is
 * read over (RFC 9112 2.2). */
static enum parse
find_end(struct slice in, size_t *scanned, size_t *end, enum head_fault *fault)
{
    *fault = HEAD_BAD;
    while (*scanned < in.n) {
        const char *lf = memchr(in.p + *scanned, '\n', in.n - *scanned);
        if (lf == NULL)
            break;
        size_t at = (size_t)(lf - in.p);
        if (at == 0 || in.p[at - 1] != '\r')
            return PARSE_BAD;
        *scanned = at + 1;
        if (at >= 3 && in.p[at - 2] == '\n') {
            *end = at + 1;
            *fault = too_large(in);
            return *end > HTTP_HEADER_BYTES_MAX ? PARSE_BAD : PARSE_OK;
        }
    }
    *scanned = in.n;
    if (in.n <= HTTP_HEADER_BYTES_MAX)
        return PARSE_MORE;
    *fault = too_large(in);
    return PARSE_BAD;
}

static struct slice
cut_line(struct slice *text)
{
    struct slice line = slice_cut_at(text, '\n');
    line.n--; /* the CR, which find_end() has seen */
    return line;
}

/* RFC 9112 3.2: origin-form, or absolute-form with our scheme. */
static bool
read_target(struct slice target, struct head *out)
{
    if (!is_visible(target) || slice_find(target, '#') < target.n)
        return false;
    if (slice_starts_nocase(target, SLICE("http://"))) {
        target = slice_skip(target, 7);
        size_t slash = slice_find(target, '/'), mark = slice_find(target, '?');
        out->host = slice_cut(&target, slash < mark ? slash : mark);
        if (out->host.n == 0 || slice_find(out->host, '@') < out->host.n)
            return false;
        if (target.n == 0)
            target = SLICE("/");
    }
    if (target.n == 0 || target.p[0] != '/')
        return false;
    out->path = slice_cut_at(&target, '?');
    out->query = target;
    return true;
}

static enum head_fault
read_request_line(struct slice line, struct head *out)
{
    out->method = slice_cut_at(&line, ' ');
    struct slice target = slice_cut_at(&line, ' ');
    if (!is_token(out->method) || !slice_starts(line, SLICE("HTTP/")))
        return HEAD_BAD;
    if (!slice_eq(line, SLICE("HTTP/1.1")) && !slice_eq(line, SLICE("HTTP/1.0")))
        return HEAD_VERSION;
    out->minor = line.p[line.n - 1] == '1';
    if (target.n > HTTP_URL_MAX)
        return HEAD_TARGET_LONG;
    return read_target(target, out) ? HEAD_FINE : HEAD_BAD;
}

static enum head_fault
read_fields(struct slice text, struct head *out)
{
    while (text.n > 0) {
        struct slice value = cut_line(&text);
        if (value.n == 0)
            return text.n == 0 ? HEAD_FINE : HEAD_BAD;
        size_t colon = slice_find(value, ':');
        struct slice name = slice_cut(&value, colon);
        if (value.n == 0 || !is_token(name) || !is_field_value(value))
            return HEAD_BAD;
        if (out->field_count == HTTP_HEADERS_MAX)
            return HEAD_TOO_LARGE;
        out->fields[out->field_count++] =
            (struct head_field){name, slice_trim(slice_skip(value, 1))};
    }
    return HEAD_BAD;
}

static unsigned
count_fields(const struct head *h, struct slice name, struct slice *value)
{
    unsigned n = 0;
    for (unsigned i = h->field_count; i-- > 0;)
        if (slice_eq_nocase(h->fields[i].name, name)) {
            *value = h->fields[i].value;
            n++;
        }
    return n;
}

bool
head_find(const struct head *h, struct slice name, struct slice *value)
{
    return count_fields(h, name, value) > 0;
}

static enum head_fault
check_fields(struct head *h)
{
    struct slice value;
    for (size_t i = 0; i < ARRAY_LEN(ONCE); i++)
        if (count_fields(h, ONCE[i], &value) > 1)
            return i == 0 ? HEAD_HOST_MISSING : HEAD_BAD;
    if (!head_find(h, SLICE("host"), &value) || value.n == 0)
        return HEAD_HOST_MISSING;
    if (h->host.n == 0)
        h->host = value;
    if (head_find(h, SLICE("transfer-encoding"), &value)) {
        struct slice length;
        if (h->minor == 0 || head_find(h, SLICE("content-length"), &length))
            return HEAD_BAD;
        if (!slice_eq_nocase(value, SLICE("chunked")))
            return HEAD_CODING_UNKNOWN;
        h->body = BODY_CHUNKED;
    }
    if (head_find(h, SLICE("expect"), &value))
        h->expect_continue = h->minor == 1 && slice_eq_nocase(value, SLICE("100-continue"));
    return HEAD_FINE;
}

static int
on_headers_complete(http_parser *p)
{
    struct head *h = p->data;
    h->keep_alive = http_should_keep_alive(p) != 0;
    if (((p->flags & F_CHUNKED) != 0) != (h->body == BODY_CHUNKED))
        return -1;
    if ((p->flags & F_CONTENTLENGTH) != 0 && p->content_length > 0) {
        h->body = BODY_LENGTH;
        h->content_length = p->content_length;
    }
    return 0;
}

/* The second judge of the same bytes, and the source of what framing and
 * Connection mean. */
static enum head_fault
judge(struct slice text, struct head *h)
{
    http_parser p;
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_headers_complete = on_headers_complete;
    http_parser_init(&p, HTTP_REQUEST);
    p.data = h;
    size_t used = http_parser_execute(&p, &settings, text.p, text.n);
    enum http_errno e = HTTP_PARSER_ERRNO(&p);
    if (e == HPE_INVALID_METHOD)
        return HEAD_METHOD_UNKNOWN;
    return e == HPE_OK && used == text.n ? HEAD_FINE : HEAD_BAD;
}

static enum head_fault
read_head(struct slice text, struct head *h)
{
    struct slice rest = text;
    if (slice_starts(rest, SLICE("\r\n")))
        rest = slice_skip(rest, 2);
    enum head_fault fault = read_request_line(cut_line(&rest), h);
    if (fault == HEAD_FINE)
        fault = read_fields(rest, h);
    if (fault == HEAD_FINE)
        fault = check_fields(h);
    return fault == HEAD_FINE ? judge(text, h) : fault;
}

enum parse
head_cut(struct slice *in, size_t *scanned, struct arena *arena, struct head *out,
         enum head_fault *fault)
{
    size_t end;
    enum parse found = find_end(*in, scanned, &end, fault);
    if (found != PARSE_OK)
        return found;
    struct slice text;
    struct head h = {.fields = arena_alloc(arena, sizeof *h.fields * HTTP_HEADERS_MAX)};
    bool room = h.fields != NULL && arena_copy(arena, slice_from(in->p, end), &text);
    *fault = room ? read_head(text, &h) : HEAD_TOO_LARGE;
    if (*fault != HEAD_FINE)
        return PARSE_BAD;
    *out = h;
    slice_cut(in, end);
    *scanned = 0;
    return PARSE_OK;
}
