#include "api/http/chunked.h"

#include <string.h>

#include "api/http/hex.h"
#include "relay/sys/base/limits.h"

enum { SIZE_DIGITS_MAX = 8 };

void
chunked_init(struct chunked *c)
{
    *c = (struct chunked){.state = CHUNKED_SIZE};
}

/* A whole line of at most `max` bytes with its CRLF; its text without it. */
static enum parse
cut_line(struct slice *in, size_t max, struct slice *line)
{
    const char *lf = in->n > 0 ? memchr(in->p, '\n', in->n) : NULL;
    if (lf == NULL)
        return in->n >= max ? PARSE_BAD : PARSE_MORE;
    size_t n = (size_t)(lf - in->p) + 1;
    if (n < 2 || n > max || in->p[n - 2] != '\r')
        return PARSE_BAD;
    *line = slice_from(in->p, n - 2);
    if (memchr(line->p, '\r', line->n) != NULL || memchr(line->p, '\0', line->n) != NULL)
        return PARSE_BAD;
    slice_cut(in, n);
    return PARSE_OK;
}

static enum parse
read_size(struct chunked *c, struct slice *in)
{
    struct slice line;
    enum parse cut = cut_line(in, HTTP_CHUNK_LINE_MAX, &line);
    if (cut != PARSE_OK)
        return cut;
    uint64_t size = 0;
    size_t digits = 0;
    while (digits < line.n && hex_digit(line.p[digits]) >= 0) {
        size = size * 16 + (uint64_t)hex_digit(line.p[digits]);
        if (++digits > SIZE_DIGITS_MAX)
            return PARSE_BAD;
    }
    if (digits == 0 || (digits < line.n && line.p[digits] != ';'))
        return PARSE_BAD;
    c->left = size;
    c->state = size > 0 ? CHUNKED_DATA : CHUNKED_TRAILER;
    return PARSE_OK;
}

static enum parse
read_data_end(struct chunked *c, struct slice *in)
{
    if (in->n > 0 && in->p[0] != '\r')
        return PARSE_BAD;
    if (in->n < 2)
        return PARSE_MORE;
    if (in->p[1] != '\n')
        return PARSE_BAD;
    slice_cut(in, 2);
    c->state = CHUNKED_SIZE;
    return PARSE_OK;
}

static enum chunked_step
read_trailer(struct chunked *c, struct slice *in)
{
    for (;;) {
        struct slice line;
        enum parse cut = cut_line(in, HTTP_TRAILER_MAX - c->trailer_bytes, &line);
        if (cut != PARSE_OK)
            return cut == PARSE_MORE ? CHUNKED_MORE : CHUNKED_BAD;
        if (line.n == 0)
            return CHUNKED_END;
        c->trailer_bytes += line.n + 2;
    }
}

enum chunked_step
chunked_cut(struct chunked *c, struct slice *in, struct slice *piece)
{
    for (;;) {
        enum parse step;
        switch (c->state) {
        case CHUNKED_SIZE:
            step = read_size(c, in);
            break;
        case CHUNKED_DATA:
            if (in->n == 0)
                return CHUNKED_MORE;
            *piece = slice_cut(in, in->n < c->left ? in->n : (size_t)c->left);
            c->left -= piece->n;
            if (c->left == 0)
                c->state = CHUNKED_DATA_END;
            return CHUNKED_PIECE;
        case CHUNKED_DATA_END:
            step = read_data_end(c, in);
            break;
        default:
            return read_trailer(c, in);
        }
        if (step != PARSE_OK)
            return step == PARSE_MORE ? CHUNKED_MORE : CHUNKED_BAD;
    }
}
