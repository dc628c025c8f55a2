#include "relay/wire/dot.h"

#include <string.h>

#include "relay/sys/base/bug.h"

/* How far we are towards CRLF . CRLF. Octets of a line end or dot that is not
 * yet known to be content are kept in the state, not in the output. */
enum decoder_state {
    LINE_START,  /* behind CRLF, or at the very beginning */
    LINE,        /* within a line */
    LINE_CR,     /* ... CR */
    DOT,         /* CRLF . */
    DOT_CR,      /* CRLF . CR */
    END_OF_DATA, /* CRLF . CRLF */
};

static const struct slice crlf = {"\r\n", 2};

void
dot_decoder_init(struct dot_decoder *d, size_t max_bytes)
{
    *d = (struct dot_decoder){.max_bytes = max_bytes, .state = LINE_START};
}

static bool
has_eight_bit(struct slice s)
{
    uint64_t any = 0, word;
    for (; s.n >= sizeof(word); s = slice_skip(s, sizeof(word))) {
        memcpy(&word, s.p, sizeof(word));
        any |= word;
    }
    for (size_t i = 0; i < s.n; i++)
        any |= (unsigned char)s.p[i];
    return (any & 0x8080808080808080u) != 0;
}

static void
store(struct dot_decoder *d, struct slice s, struct buf *out)
{
    d->size_bytes += s.n;
    if (d->size_bytes > d->max_bytes)
        d->over_size = true;
    if (!d->bare && !d->over_size && !buf_add(out, s))
        d->over_size = true;
}

/* The run before the next octet that means something. In a message that is
 * refused anyway only CR does, so that no octet is looked at more than a few
 * times whatever the peer sends. */
static size_t
plain_run(const struct dot_decoder *d, struct slice in)
{
    struct slice run = slice_from(in.p, slice_find(in, '\r'));
    if (d->bare)
        return run.n;
    run.n = slice_find(run, '\n');
    return slice_find(run, '\0');
}

static void
decode_line(struct dot_decoder *d, struct slice *in, struct buf *out)
{
    struct slice run = slice_cut(in, plain_run(d, *in));
    d->eight_bit = d->eight_bit || has_eight_bit(run);
    d->line_bytes += run.n;
    if (d->line_bytes > d->longest_line)
        d->longest_line = d->line_bytes;
    store(d, run, out);
    if (in->n == 0)
        return;
    if (in->p[0] == '\r')
        d->state = LINE_CR;
    else
        d->bare = true; /* a bare LF or NUL: part of the line */
    *in = slice_skip(*in, 1);
}

/* Behind a CR: LF ends the line, another CR may begin the true line end. */
static void
decode_line_cr(struct dot_decoder *d, struct slice *in, struct buf *out)
{
    char c = in->p[0];
    if (c == '\n') {
        store(d, crlf, out);
        d->line_bytes = 0;
        d->state = LINE_START;
    } else {
        d->bare = true;
        d->state = c == '\r' ? LINE_CR : LINE;
    }
    if (d->state != LINE)
        *in = slice_skip(*in, 1);
}

/* RFC 5321 4.5.2: a dot with anything but CRLF behind it was put in. */
static void
decode_dot(struct dot_decoder *d, struct slice *in)
{
    d->state = in->p[0] == '\r' ? DOT_CR : LINE;
    if (d->state == DOT_CR)
        *in = slice_skip(*in, 1);
}

static void
decode_dot_cr(struct dot_decoder *d, struct slice *in)
{
    char c = in->p[0];
    if (c == '\n') {
        d->state = END_OF_DATA;
    } else {
        d->bare = true;
        d->state = c == '\r' ? LINE_CR : LINE;
    }
    if (d->state != LINE)
        *in = slice_skip(*in, 1);
}

static void
decode_line_start(struct dot_decoder *d, struct slice *in)
{
    d->state = in->p[0] == '.' ? DOT : LINE;
    if (d->state == DOT)
        *in = slice_skip(*in, 1);
}

enum parse
dot_decode(struct dot_decoder *d, struct slice *in, struct buf *out)
{
    BUG_ON(d->state == END_OF_DATA);
    while (in->n > 0 && d->state != END_OF_DATA) {
        switch ((enum decoder_state)d->state) {
        case LINE_START:
            decode_line_start(d, in);
            break;
        case LINE:
            decode_line(d, in, out);
            break;
        case LINE_CR:
            decode_line_cr(d, in, out);
            break;
        case DOT:
            decode_dot(d, in);
            break;
        case DOT_CR:
            decode_dot_cr(d, in);
            break;
        case END_OF_DATA:
            break;
        }
    }
    return d->state == END_OF_DATA ? PARSE_OK : PARSE_MORE;
}

void
dot_decode_chunk(struct dot_decoder *d, struct slice in, struct buf *out)
{
    while (in.n > 0) {
        if (d->state == LINE_CR) {
            decode_line_cr(d, &in, out);
        } else {
            d->state = LINE;
            decode_line(d, &in, out);
        }
    }
}

void
dot_decode_chunks_end(struct dot_decoder *d)
{
    d->bare = d->bare || d->state == LINE_CR;
    d->unfinished = d->state != LINE_START;
}

/* The encoder holds a CR back until its LF is seen. */
enum encoder_state {
    AT_LINE_START, /* a dot here is doubled */
    WITHIN_LINE,
    HELD_CR,
};

void
dot_encoder_init(struct dot_encoder *e)
{
    *e = (struct dot_encoder){.state = AT_LINE_START};
}

/* The next run of a line, as much of it as `out` takes. */
static enum parse
encode_run(struct dot_encoder *e, struct slice *content, struct buf *out)
{
    size_t stuff = e->state == AT_LINE_START && content->p[0] == '.';
    size_t room = buf_room(out);
    if (room <= stuff)
        return PARSE_MORE;
    room -= stuff;
    struct slice run = slice_from(content->p, content->n < room ? content->n : room);
    run.n = slice_find(run, '\r');
    run.n = slice_find(run, '\n');
    run.n = slice_find(run, '\0');
    if (stuff > 0)
        (void)buf_add_char(out, '.');
    (void)buf_add(out, slice_cut(content, run.n));
    if (run.n > 0)
        e->state = WITHIN_LINE;
    if (content->n == 0 || run.n == room)
        return PARSE_OK;
    if (content->p[0] != '\r')
        return PARSE_BAD;
    e->state = HELD_CR;
    *content = slice_skip(*content, 1);
    return PARSE_OK;
}

static enum parse
encode_line_end(struct dot_encoder *e, struct slice *content, struct buf *out)
{
    if (content->p[0] != '\n')
        return PARSE_BAD;
    if (buf_room(out) < crlf.n)
        return PARSE_MORE;
    (void)buf_add(out, crlf);
    *content = slice_skip(*content, 1);
    e->state = AT_LINE_START;
    return PARSE_OK;
}

enum parse
dot_encode(struct dot_encoder *e, struct slice *content, struct buf *out)
{
    while (content->n > 0) {
        enum parse r =
            e->state == HELD_CR ? encode_line_end(e, content, out) : encode_run(e, content, out);
        if (r != PARSE_OK)
            return r;
    }
    return PARSE_OK;
}

enum parse
dot_encode_end(struct dot_encoder *e, struct buf *out)
{
    if (e->state == HELD_CR)
        return PARSE_BAD;
    struct slice end = e->state == WITHIN_LINE ? SLICE("\r\n.\r\n") : SLICE(".\r\n");
    if (buf_room(out) < end.n)
        return PARSE_MORE;
    (void)buf_add(out, end);
    return PARSE_OK;
}
