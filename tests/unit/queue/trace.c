/* Traces: written and read, replies stored once, bounds, broken bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "queue/trace.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

static const struct trace_record RECORD = {
    .at_unix_ms = 1700000000000, .retry_at_unix_ms = 1700000060000, .delivery = 3, .attempt = 7};

static void
write_one(struct buf *trace, const struct queue_target *t, unsigned count)
{
    struct trace_writer w;
    struct buf b;
    buf_init(&b, QUEUE_TRACE_RECORD_MAX);
    trace_begin(&w, &b, &RECORD, count);
    for (unsigned i = 0; i < count; i++)
        trace_add(&w, QUEUE_EVENT_DEFERRED, i, &t[i]);
    assert_false(b.overflowed);
    frame_add_bytes(trace, buf_slice(&b));
    buf_fini(&b);
}

static void
equal_replies_are_stored_once(void **state)
{
    (void)state;
    struct queue_target t[4] = {{.reply = SLICE("busy"), .uncertain = true},
                                {.reply = SLICE("busy")},
                                {.reply = SLICE_NONE},
                                {.reply = SLICE("busy")}};
    struct trace_entry e = {0};
    struct trace_record r;
    struct slice rest, entries;
    struct buf b;
    buf_init(&b, 4096);
    write_one(&b, t, 4);
    rest = buf_slice(&b);
    assert_int_equal(rest.n, 4 + 25 + 4 * 6 + 4 + 4);
    assert_true(trace_cut_record(&rest, &r, &entries));
    assert_memory_equal(&r, &RECORD, sizeof r);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(trace_cut_entry(&entries, &e));
        assert_int_equal(e.target, i);
        assert_int_equal(e.kind, QUEUE_EVENT_DEFERRED);
        assert_int_equal(e.uncertain, i == 0);
        assert_true(slice_eq(e.reply, t[i].reply));
    }
    assert_false(trace_cut_entry(&entries, &e));
    assert_false(trace_cut_record(&rest, &r, &entries));
    buf_fini(&b);
}

/* However long the replies: every target is told of. */
static void
no_target_is_left_out(void **state)
{
    (void)state;
    enum { N = QUEUE_TARGETS_MAX };
    static struct queue_target t[N];
    static char text[N][VERDICT_RECORD_MAX];
    struct trace_entry e = {0};
    struct trace_record r;
    struct slice rest, entries;
    struct buf b;
    unsigned with_reply = 0, n = 0;
    for (unsigned i = 0; i < N; i++) {
        memset(text[i], 'a', sizeof text[i]);
        memcpy(text[i], &i, sizeof i);
        t[i].reply = slice_from(text[i], sizeof text[i]);
    }
    buf_init(&b, 2 * QUEUE_TRACE_RECORD_MAX);
    write_one(&b, t, N);
    rest = buf_slice(&b);
    assert_true(trace_cut_record(&rest, &r, &entries));
    for (; trace_cut_entry(&entries, &e); n++)
        with_reply += e.reply.n > 0;
    assert_int_equal(n, N);
    assert_in_range(with_reply, 1, 4);
    buf_fini(&b);
}

static void
broken_bytes_end_it(void **state)
{
    (void)state;
    struct queue_target t[2] = {{.reply = SLICE("one")}, {.reply = SLICE("two")}};
    struct buf b;
    buf_init(&b, 4096);
    write_one(&b, t, 2);
    for (size_t n = 0; n < b.len; n++) {
        struct slice rest = slice_from(buf_slice(&b).p, n), entries;
        struct trace_record r;
        assert_false(trace_cut_record(&rest, &r, &entries));
    }
    for (size_t at = 0; at < 8 * b.len; at++) {
        char copy[256];
        struct trace_entry e = {0};
        struct trace_record r;
        struct slice rest = slice_from(copy, b.len), entries;
        memcpy(copy, buf_slice(&b).p, b.len);
        copy[at / 8] = (char)(copy[at / 8] ^ 1 << at % 8);
        if (trace_cut_record(&rest, &r, &entries))
            while (trace_cut_entry(&entries, &e))
                assert_true(e.kind < QUEUE_EVENT_KINDS);
    }
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_replies_are_stored_once),
        cmocka_unit_test(no_target_is_left_out),
        cmocka_unit_test(broken_bytes_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
