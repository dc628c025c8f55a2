#include "dkim/protocol.h"

#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

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
    if (p != PARSE_OK)
        return p;
    if (!read_payload(&f, &r))
        return PARSE_BAD;
    *in = rest;
    *out = r;
    return PARSE_OK;
}
