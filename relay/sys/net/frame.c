#include "relay/sys/net/frame.h"

#include "relay/sys/base/limits.h"

enum { LENGTH_BYTES = 4, AFTER_LENGTH_BYTES = FRAME_HEADER_BYTES - LENGTH_BYTES };

static uint64_t
get_be(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static void
put_be(char *p, size_t n, uint64_t v)
{
    for (size_t i = n; i-- > 0; v >>= 8)
        p[i] = (char)(v & 0xff);
}

enum parse
frame_cut(struct slice *in, struct frame *out)
{
    if (in->n < LENGTH_BYTES)
        return PARSE_MORE;
    size_t length = (size_t)get_be(in->p, LENGTH_BYTES);
    if (length < AFTER_LENGTH_BYTES || length > FRAME_BYTES_MAX - LENGTH_BYTES)
        return PARSE_BAD;
    if (in->n > LENGTH_BYTES && (uint8_t)in->p[LENGTH_BYTES] != FRAME_VERSION)
        return PARSE_BAD;
    if (in->n - LENGTH_BYTES < length)
        return PARSE_MORE;
    struct slice frame = slice_cut(in, LENGTH_BYTES + length);
    *out = (struct frame){
        .type = (uint8_t)frame.p[LENGTH_BYTES + 1],
        .request = get_be(frame.p + LENGTH_BYTES + 2, sizeof out->request),
        .payload = slice_skip(frame, FRAME_HEADER_BYTES),
    };
    return PARSE_OK;
}

bool
frame_add_header(struct buf *b, uint8_t type, uint64_t request, size_t payload_bytes)
{
    if (payload_bytes > FRAME_BYTES_MAX - FRAME_HEADER_BYTES)
        return false;
    char h[FRAME_HEADER_BYTES];
    put_be(h, LENGTH_BYTES, AFTER_LENGTH_BYTES + payload_bytes);
    h[LENGTH_BYTES] = FRAME_VERSION;
    h[LENGTH_BYTES + 1] = (char)type;
    put_be(h + LENGTH_BYTES + 2, sizeof request, request);
    return buf_add(b, slice_from(h, sizeof h));
}

bool
frame_add_u32(struct buf *b, uint32_t v)
{
    char bytes[sizeof v];
    put_be(bytes, sizeof bytes, v);
    return buf_add(b, slice_from(bytes, sizeof bytes));
}

bool
frame_add_u64(struct buf *b, uint64_t v)
{
    char bytes[sizeof v];
    put_be(bytes, sizeof bytes, v);
    return buf_add(b, slice_from(bytes, sizeof bytes));
}

bool
frame_add_bytes(struct buf *b, struct slice s)
{
    if (s.n > FRAME_BYTES_MAX || buf_room(b) < sizeof(uint32_t) + s.n) {
        b->overflowed = true;
        return false;
    }
    return frame_add_u32(b, (uint32_t)s.n) && buf_add(b, s);
}

bool
frame_cut_u32(struct slice *in, uint32_t *out)
{
    if (in->n < sizeof *out)
        return false;
    *out = (uint32_t)get_be(slice_cut(in, sizeof *out).p, sizeof *out);
    return true;
}

bool
frame_cut_u64(struct slice *in, uint64_t *out)
{
    if (in->n < sizeof *out)
        return false;
    *out = get_be(slice_cut(in, sizeof *out).p, sizeof *out);
    return true;
}

bool
frame_cut_bytes(struct slice *in, struct slice *out)
{
    struct slice rest = *in;
    uint32_t n;
    if (!frame_cut_u32(&rest, &n) || n > rest.n)
        return false;
    *out = slice_cut(&rest, n);
    *in = rest;
    return true;
}
