/* Frames and their fields never read outside the input, and a frame that was
 * cut is written back to the same bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
cut_fields(struct slice payload)
{
    uint32_t small;
    uint64_t large;
    struct slice bytes;
    while (payload.n > 0) {
        struct slice before = payload;
        if (frame_cut_bytes(&payload, &bytes)) {
            BUG_ON(bytes.n + sizeof(uint32_t) + payload.n != before.n);
            BUG_ON(bytes.n > 0 && bytes.p + bytes.n > before.p + before.n);
        } else {
            BUG_ON(payload.p != before.p || payload.n != before.n);
            if (!frame_cut_u64(&payload, &large) && !frame_cut_u32(&payload, &small))
                return;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_from(data, n);
    struct frame f;
    struct buf b;
    buf_init(&b, FRAME_BYTES_MAX);
    for (;;) {
        struct slice before = in;
        if (frame_cut(&in, &f) != PARSE_OK) {
            BUG_ON(in.p != before.p || in.n != before.n);
            break;
        }
        buf_clear(&b);
        BUG_ON(!frame_add_header(&b, f.type, f.request, f.payload.n) || !buf_add(&b, f.payload));
        BUG_ON(!slice_eq(buf_slice(&b), slice_from(before.p, before.n - in.n)));
        cut_fields(f.payload);
    }
    buf_fini(&b);
    return 0;
}
