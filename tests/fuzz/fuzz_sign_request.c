/* The decoder of requests to the signer: what it accepts is within its limits. */
#include "dkim/protocol.h"

#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct sign_request *q, struct slice whole)
{
    struct slice part = q->type == SIGN_FRAME_BEGIN ? q->domain : q->piece;
    BUG_ON(part.n > whole.n || part.n > SIGN_PIECE_BYTES);
    BUG_ON(part.n > 0 && (part.p < whole.p || part.p + part.n > whole.p + whole.n));
    switch (q->type) {
    case SIGN_FRAME_BEGIN:
        BUG_ON(q->message_bytes == 0 || q->message_bytes > MESSAGE_BYTES_MAX);
        BUG_ON(q->domain.n == 0 || q->domain.n > ADDRESS_DOMAIN_MAX);
        break;
    case SIGN_FRAME_PIECE:
        BUG_ON(q->piece.n == 0);
        break;
    default:
        BUG_ON(q->type != SIGN_FRAME_ABANDON);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice whole = slice_from(data, size), in = whole;
    struct sign_request q;
    for (;;) {
        struct slice before = in;
        enum parse p = sign_request_cut(&in, &q);
        if (p != PARSE_OK) {
            BUG_ON(in.p != before.p || in.n != before.n);
            BUG_ON(p == PARSE_MORE && in.n >= SIGN_REQUEST_FRAME_MAX);
            return 0;
        }
        BUG_ON(in.n >= before.n);
        check(&q, whole);
    }
}
