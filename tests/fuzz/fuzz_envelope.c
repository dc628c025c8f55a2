/* Any bytes: what decodes must encode back to the same bytes. */
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    struct buf b;
    buf_init(&b, 1 << 20);
    struct envelope e;
    if (envelope_decode(in, &e))
        BUG_ON(!envelope_encode(&e, &b) || !slice_eq(buf_slice(&b), in));
    buf_clear(&b);
    struct rcpt_options o;
    if (rcpt_options_decode(in, &o))
        BUG_ON(!rcpt_options_encode(&o, &b) || !slice_eq(buf_slice(&b), in));
    buf_clear(&b);
    struct verdict v;
    if (verdict_decode(in, &v))
        BUG_ON(!verdict_encode(&v, &b) || !slice_eq(buf_slice(&b), in));
    buf_fini(&b);
    return 0;
}
