#include "dkim/protocol.h"

static bool
read_begin(struct slice payload, struct sign_request *out)
{
    return frame_cut_u32(&payload, &out->message_bytes) &&
           frame_cut_bytes(&payload, &out->domain) && payload.n == 0 && out->message_bytes > 0 &&
           out->message_bytes <= MESSAGE_BYTES_MAX && out->domain.n > 0 &&
           out->domain.n <= ADDRESS_DOMAIN_MAX;
}

static bool
read_payload(const struct frame *f, struct sign_request *out)
{
    *out = (struct sign_request){.type = (enum sign_frame)f->type, .request = f->request};
    switch (f->type) {
    case SIGN_FRAME_BEGIN:
        return read_begin(f->payload, out);
    case SIGN_FRAME_PIECE:
        out->piece = f->payload;
        return f->payload.n > 0 && f->payload.n <= SIGN_PIECE_BYTES;
    case SIGN_FRAME_ABANDON:
        return f->payload.n == 0;
    default:
        return false;
    }
}

enum parse
sign_request_cut(struct slice *in, struct sign_request *out)
{
    struct slice rest = *in;
    struct frame f;
    struct sign_request r;
    enum parse p = frame_cut(&rest, &f);
    if (p == PARSE_MORE && in->n >= SIGN_REQUEST_FRAME_MAX)
        return PARSE_BAD;
    if (p != PARSE_OK)
        return p;
    if (!read_payload(&f, &r))
        return PARSE_BAD;
    *in = rest;
    *out = r;
    return PARSE_OK;
}

bool
sign_request_add_begin(struct buf *b, uint64_t request, uint32_t message_bytes, struct slice domain)
{
    size_t payload_bytes = sizeof(uint32_t) * 2 + domain.n;
    return frame_add_header(b, SIGN_FRAME_BEGIN, request, payload_bytes) &&
           frame_add_u32(b, message_bytes) && frame_add_bytes(b, domain);
}
