/* Any bytes as any record of the queue: refused, or written back the same. */
#include <stddef.h>
#include <stdint.h>

#include "queue/keys.h"
#include "queue/record.h"
#include "queue/suppression.h"
#include "queue/trace.h"
#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
try_delivery(struct slice in, struct arena *a)
{
    struct queue_delivery d = {0};
    struct buf b;
    if (!record_read_delivery(in, a, &d))
        return;
    buf_init(&b, in.n);
    BUG_ON(!record_add_delivery(&b, &d, d.revision) || !slice_eq(buf_slice(&b), in));
    buf_fini(&b);
}

static void
try_message(struct slice in)
{
    struct queue_message m = {0};
    struct record_body body;
    struct buf b;
    if (!record_read_message(in, &m, &body))
        return;
    buf_init(&b, in.n);
    if (in.p[0] == RECORD_MESSAGE_VERSION) /* an older one is not written again */
        BUG_ON(!record_add_message(&b, &m, &body) || !slice_eq(buf_slice(&b), in));
    buf_fini(&b);
}

static void
try_suppression(struct slice in)
{
    struct queue_suppression s;
    struct buf b;
    if (!suppression_decode(in, &s))
        return;
    buf_init(&b, in.n);
    BUG_ON(!suppression_encode(&b, &s) || !slice_eq(buf_slice(&b), in));
    buf_fini(&b);
}

static void
try_trace(struct slice in)
{
    struct trace_record r;
    struct slice entries, rest = in;
    size_t bytes = 0;
    while (trace_cut_record(&rest, &r, &entries)) {
        struct trace_entry e = {0};
        while (trace_cut_entry(&entries, &e)) {
            BUG_ON(e.kind >= QUEUE_EVENT_KINDS || e.reply.n > in.n);
            bytes++;
        }
    }
    BUG_ON(bytes > in.n);
}

static void
try_lane(struct slice in)
{
    enum queue_class klass;
    struct slice hop, tenant;
    struct key again;
    /* Numbers may be written in several ways; the texts are within the lane. */
    if (key_lane_parse(in, &klass, &hop, &tenant) && key_lane(klass, hop, tenant, &again))
        BUG_ON(again.n > in.n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_from(data, n);
    struct record_attempt attempt;
    struct arena a;
    uint32_t *targets;
    unsigned delivery, count;
    arena_init(&a, 8 << 20);
    try_delivery(in, &a);
    try_message(in);
    try_suppression(in);
    try_trace(in);
    try_lane(in);
    record_read_attempt(in, &attempt);
    record_read_debt(in, &a, &delivery, &targets, &count);
    arena_fini(&a);
    return 0;
}
