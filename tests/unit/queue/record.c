/* Records: golden bytes, round trips, every truncation and every flipped bit,
 * and the merging of late facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "queue/record.h"
#include "relay/sys/base/limits.h"

static struct arena arena;

static int
setup(void **state)
{
    (void)state;
    arena_init(&arena, 8 << 20);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const char GOLDEN_DELIVERY[] = "\x01"
                                      "\0\0\0\0\0\0\0\x05"
                                      "\0"
                                      "\0\0\x01\x93\0\0\0\0"
                                      "\0\0\x01\x94\0\0\0\0"
                                      "\0\0\0\x02"
                                      "\0\0\0\x01"
                                      "\0\0\0\x05"
                                      "a.org"
                                      "\0\0\0\x02"
                                      "\x01\x01\0\0\0\x02\0\0\0\x01x\0\0\0\x01o\0\0\0\x01r"
                                      "\x03\0\0\0\0\x01\0\0\0\x01y\0\0\0\0\0\0\0\0";

static struct queue_target golden_targets[2];

static struct queue_delivery
golden_delivery(void)
{
    golden_targets[0] = (struct queue_target){.address = SLICE("x"),
                                              .options = SLICE("o"),
                                              .reply = SLICE("r"),
                                              .state = QUEUE_DEFERRED,
                                              .attempts = 2,
                                              .uncertain = true};
    golden_targets[1] =
        (struct queue_target){.address = SLICE("y"), .state = QUEUE_DELIVERED, .attempts = 1};
    return (struct queue_delivery){.next_hop = SLICE("a.org"),
                                   .due_unix_ms = 0x19300000000,
                                   .expires_unix_ms = 0x19400000000,
                                   .attempts = 2,
                                   .crashes = 1,
                                   .targets = golden_targets,
                                   .target_count = 2};
}

static void
a_delivery_is_written_as_ever(void **state)
{
    (void)state;
    struct queue_delivery d = golden_delivery();
    struct buf b;
    buf_init(&b, 4096);
    assert_true(record_add_delivery(&b, &d, 5));
    assert_int_equal(b.len, sizeof GOLDEN_DELIVERY - 1);
    assert_memory_equal(buf_slice(&b).p, GOLDEN_DELIVERY, b.len);
    buf_fini(&b);
}

static void
a_delivery_of_old_is_read(void **state)
{
    (void)state;
    struct queue_delivery d = {.index = 3};
    assert_true(record_read_delivery(SLICE(GOLDEN_DELIVERY), &arena, &d));
    assert_int_equal(d.index, 3);
    assert_int_equal(d.revision, 5);
    assert_true(d.due_unix_ms == 0x19300000000);
    assert_int_equal(d.crashes, 1);
    assert_true(slice_eq(d.next_hop, SLICE("a.org")));
    assert_int_equal(d.target_count, 2);
    assert_int_equal(d.targets[0].state, QUEUE_DEFERRED);
    assert_true(d.targets[0].uncertain);
    assert_true(slice_eq(d.targets[0].reply, SLICE("r")));
    assert_int_equal(d.targets[1].state, QUEUE_DELIVERED);
    assert_false(record_is_finished(&d));
    assert_true(record_is_schedulable(&d));
}

static void
no_truncation_is_read(void **state)
{
    (void)state;
    struct queue_delivery d = {0};
    for (size_t n = 0; n < sizeof GOLDEN_DELIVERY - 1; n++)
        assert_false(record_read_delivery(slice_from(GOLDEN_DELIVERY, n), &arena, &d));
    char longer[sizeof GOLDEN_DELIVERY];
    memcpy(longer, GOLDEN_DELIVERY, sizeof longer); /* with the NUL: one byte too many */
    assert_false(record_read_delivery(slice_from(longer, sizeof longer), &arena, &d));
}

/* Whatever is read after a bit flipped is written back to the same bytes. */
static void
flipped_bits_are_refused_or_harmless(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (size_t bit = 0; bit < 8 * (sizeof GOLDEN_DELIVERY - 1); bit++) {
        char copy[sizeof GOLDEN_DELIVERY];
        struct queue_delivery d = {0};
        struct buf b;
        memcpy(copy, GOLDEN_DELIVERY, sizeof copy);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        if (!record_read_delivery(slice_from(copy, sizeof copy - 1), &arena, &d)) {
            refused++;
            continue;
        }
        buf_init(&b, 4096);
        assert_true(record_add_delivery(&b, &d, d.revision));
        assert_true(slice_eq(buf_slice(&b), slice_from(copy, sizeof copy - 1)));
        buf_fini(&b);
    }
    assert_in_range(refused, 100, 8 * sizeof GOLDEN_DELIVERY);
}

static void
a_message_round_trips(void **state)
{
    (void)state;
    struct queue_message m = {.id = id_new(9),
                              .tenant = SLICE("tenant"),
                              .klass = QUEUE_BULK,
                              .created_unix_ms = 1700000000000,
                              .size_bytes = 300000,
                              .envelope = SLICE("\0env"),
                              .delivery_count = 2};
    struct record_body body = {.stored_bytes = 300000, .chunks = 2}, got_body;
    struct queue_message got = {0};
    struct buf b;
    buf_init(&b, 4096);
    assert_true(record_add_message(&b, &m, &body));
    assert_true(record_read_message(buf_slice(&b), &got, &got_body));
    assert_true(id_eq(got.id, m.id));
    assert_int_equal(got.klass, QUEUE_BULK);
    assert_true(slice_eq(got.envelope, m.envelope));
    assert_int_equal(got_body.chunks, 2);
    for (size_t n = 0; n < b.len; n++)
        assert_false(record_read_message(slice_from(buf_slice(&b).p, n), &got, &got_body));
    buf_clear(&b);
    body.chunks = 3; /* more chunks than the bytes need */
    assert_true(record_add_message(&b, &m, &body));
    assert_false(record_read_message(buf_slice(&b), &got, &got_body));
    buf_fini(&b);
}

static const char GOLDEN_MESSAGE_1[] = "\x01\x01\x00"
                                       "0123456\x77\x88"
                                       "9abcdef"
                                       "\0\0\x01\x93\0\0\0\0"
                                       "\0\0\0\0\0\0\0\x05"
                                       "\0\0\0\0\0\0\0\x05"
                                       "\0\0\0\x01"
                                       "\0\0\0\x02"
                                       "\0\0\0\x01t"
                                       "\0\0\0\x01"
                                       "e";
static const char GOLDEN_SUBMITTER[] = "\0\0\0\x04shop";

/* Version 1 had no submitter; what is written now is version 2. */
static void
a_message_of_old_is_read(void **state)
{
    (void)state;
    struct queue_message m = {0}, again = {0};
    struct record_body body;
    struct buf b;
    assert_true(record_read_message(SLICE(GOLDEN_MESSAGE_1), &m, &body));
    assert_int_equal(m.delivery_count, 2);
    assert_true(slice_eq(m.envelope, SLICE("e")));
    assert_int_equal(m.submitter.n, 0);
    m.submitter = SLICE("shop");
    buf_init(&b, 4096);
    assert_true(record_add_message(&b, &m, &body));
    assert_int_equal(buf_slice(&b).p[0], 2);
    assert_true(slice_eq(slice_from(buf_slice(&b).p + 1, sizeof GOLDEN_MESSAGE_1 - 2),
                         slice_skip(SLICE(GOLDEN_MESSAGE_1), 1)));
    assert_true(
        slice_eq(slice_skip(buf_slice(&b), sizeof GOLDEN_MESSAGE_1 - 1), SLICE(GOLDEN_SUBMITTER)));
    assert_true(record_read_message(buf_slice(&b), &again, &body));
    assert_true(slice_eq(again.submitter, SLICE("shop")));
    buf_fini(&b);
    static const char LONG[QUEUE_SUBMITTER_MAX + 1];
    m.submitter = slice_from(LONG, sizeof LONG);
    buf_init(&b, 4096);
    assert_false(record_add_message(&b, &m, &body));
    buf_fini(&b);
}

static void
an_attempt_and_a_debt_round_trip(void **state)
{
    (void)state;
    struct record_attempt a = {.id = {1, 2},
                               .owner = {3},
                               .epoch = 4,
                               .revision = 5,
                               .lane = SLICE("0:1:a:t")},
                          got;
    struct queue_delivery d = golden_delivery();
    bool owed[2] = {false, true};
    struct buf b;
    uint32_t *targets;
    unsigned delivery, count;
    buf_init(&b, 256);
    assert_true(record_add_attempt(&b, &a));
    assert_int_equal(b.len, RECORD_ATTEMPT_BYTES + a.lane.n);
    assert_true(record_read_attempt(buf_slice(&b), &got));
    assert_true(slice_eq(got.lane, a.lane));
    got.lane = a.lane;
    assert_memory_equal(&got, &a, sizeof a);
    for (size_t n = 0; n < RECORD_ATTEMPT_BYTES; n++)
        assert_false(record_read_attempt(slice_from(buf_slice(&b).p, n), &got));
    b.mem[b.head] = 1; /* version 1 ends before the lane */
    assert_false(record_read_attempt(buf_slice(&b), &got));
    assert_true(record_read_attempt(slice_from(buf_slice(&b).p, RECORD_ATTEMPT_BYTES), &got));
    assert_int_equal(got.lane.n, 0);
    buf_clear(&b);
    assert_true(record_add_debt(&b, 7, &d, owed));
    assert_true(record_read_debt(buf_slice(&b), &arena, &delivery, &targets, &count));
    assert_int_equal(delivery, 7);
    assert_int_equal(count, 1);
    assert_int_equal(targets[0], 1);
    owed[0] = true; /* it is deferred */
    buf_clear(&b);
    assert_true(record_add_debt(&b, 7, &d, owed));
    assert_true(record_read_debt(buf_slice(&b), &arena, &delivery, &targets, &count));
    assert_int_equal(count, 2);
    assert_int_equal(targets[0], RECORD_DEBT_WAITING);
    assert_int_equal(targets[1], 1);
    assert_false(record_read_debt(slice_from(buf_slice(&b).p, b.len - 1), &arena, &delivery,
                                  &targets, &count));
    buf_fini(&b);
}

/* ---- merging ----------------------------------------------------------------- */

static void
merge_one(enum queue_state current, enum queue_state mine, bool old, enum queue_state expected,
          int twice)
{
    struct queue_target c = {.address = SLICE("x"), .state = current, .reply = SLICE("c")};
    struct queue_target m = {
        .address = SLICE("x"), .state = mine, .reply = SLICE("m"), .notice_owed = true};
    struct queue_delivery dc = {.targets = &c, .target_count = 1, .attempts = 1};
    struct queue_delivery dm = {.targets = &m, .target_count = 1, .attempts = 2};
    assert_int_equal(record_merge(&dc, &dm, &old, &arena), twice);
    assert_int_equal(c.state, expected);
    assert_int_equal(c.uncertain, twice > 0);
    assert_int_equal(dc.attempts, 2);
    assert_int_equal(m.notice_owed, !queue_state_is_terminal(current));
    bool taken = !queue_state_is_terminal(current) && queue_state_is_terminal(mine) && !old;
    assert_true(slice_eq(c.reply, taken ? SLICE("m") : SLICE("c")));
}

static void
facts_win_over_open_states(void **state)
{
    (void)state;
    merge_one(QUEUE_DEFERRED, QUEUE_DELIVERED, false, QUEUE_DELIVERED, 0);
    merge_one(QUEUE_HELD, QUEUE_BOUNCED, false, QUEUE_BOUNCED, 0);
    merge_one(QUEUE_DEFERRED, QUEUE_DEFERRED, false, QUEUE_DEFERRED, 0);
    merge_one(QUEUE_DELIVERED, QUEUE_DEFERRED, false, QUEUE_DELIVERED, 0);
    merge_one(QUEUE_DELIVERED, QUEUE_DELIVERED, false, QUEUE_DELIVERED, 1);
    merge_one(QUEUE_BOUNCED, QUEUE_DELIVERED, false, QUEUE_BOUNCED, 1);
    merge_one(QUEUE_SUPPRESSED, QUEUE_SUPPRESSED, true, QUEUE_SUPPRESSED, 0);
}

/* A delay is owed once, whoever finds it; a failure is owed all the same. */
static void
a_delay_told_before_is_not_owed_again(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++)
        for (int failed = 0; failed < 2; failed++) {
            bool old = false;
            struct queue_target c = {
                .address = SLICE("x"), .state = QUEUE_DEFERRED, .delay_told = told != 0};
            struct queue_target m = {.address = SLICE("x"),
                                     .state = failed ? QUEUE_BOUNCED : QUEUE_DEFERRED,
                                     .notice_owed = true,
                                     .delay_told = true};
            struct queue_delivery dc = {.targets = &c, .target_count = 1};
            struct queue_delivery dm = {.targets = &m, .target_count = 1};
            assert_int_equal(record_merge(&dc, &dm, &old, &arena), 0);
            assert_int_equal(m.notice_owed, failed || !told);
            assert_true(c.delay_told);
        }
}

static void
a_mark_of_delay_is_kept(void **state)
{
    (void)state;
    struct queue_delivery d = golden_delivery(), got = {0};
    struct buf b;
    buf_init(&b, 4096);
    d.targets[1].delay_told = true;
    assert_true(record_add_delivery(&b, &d, 5));
    assert_true(record_read_delivery(buf_slice(&b), &arena, &got));
    assert_true(got.targets[0].uncertain && !got.targets[0].delay_told);
    assert_true(!got.targets[1].uncertain && got.targets[1].delay_told);
    buf_fini(&b);
}

static void
other_targets_are_not_merged(void **state)
{
    (void)state;
    struct queue_target c = {.address = SLICE("x")}, m = {.address = SLICE("y")};
    struct queue_delivery dc = {.targets = &c, .target_count = 1};
    struct queue_delivery dm = {.targets = &m, .target_count = 1};
    bool old = false;
    assert_int_equal(record_merge(&dc, &dm, &old, &arena), -1);
    dm.target_count = 0;
    assert_int_equal(record_merge(&dc, &dm, &old, &arena), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_delivery_is_written_as_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(a_delivery_of_old_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(no_truncation_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(flipped_bits_are_refused_or_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_round_trips, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_of_old_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(an_attempt_and_a_debt_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(facts_win_over_open_states, setup, teardown),
        cmocka_unit_test_setup_teardown(a_delay_told_before_is_not_owed_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mark_of_delay_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(other_targets_are_not_merged, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
