/* From verdicts to records: which notices are owed, and when the delay is told. */
#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/deliver/result.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "tests/unit/support/fake_queue.h"

enum { MINUTE_MS = 60000, HOUR_MS = 60 * MINUTE_MS };

struct bench {
    struct loop *loop;
    struct queue queue;
    struct config config;
    struct envelope envelope;
    struct buf envelope_record, options, event;
    struct queue_job *job;
    struct result_target result;
};

static void
bench_init(struct bench *b, unsigned notify)
{
    struct rcpt_options options = {.notify = notify};
    *b = (struct bench){.loop = loop_new(),
                        .envelope = {.reverse_path = SLICE("sender@example.org")}};
    b->config = (struct config){
        .retry = {
            .first_ms = HOUR_MS, .max_ms = HOUR_MS, .factor_pct = 100, .expire_ms = 24 * HOUR_MS}};
    fake_queue_init(&b->queue, b->loop);
    buf_init(&b->envelope_record, 4096);
    buf_init(&b->options, 256);
    buf_init(&b->event, 1 << 20);
    assert_true(envelope_encode(&b->envelope, &b->envelope_record));
    assert_true(rcpt_options_encode(&options, &b->options));
    struct fake_job_spec spec = {.next_hop = "rcpt.test",
                                 .targets = 1,
                                 .envelope = buf_slice(&b->envelope_record),
                                 .options = buf_slice(&b->options)};
    b->job = fake_job_new(&b->queue, &spec);
}

static void
bench_fini(struct bench *b)
{
    clock_sched_set_offset_ms(0);
    queue_job_release(&b->queue, b->job, 0);
    buf_fini(&b->envelope_record);
    buf_fini(&b->options);
    buf_fini(&b->event);
    fake_queue_fini(&b->queue);
    loop_free(b->loop);
}

/* One attempt that ends so; its target. */
static const struct queue_target *
attempt(struct bench *b, enum outcome o, int64_t *retry_at)
{
    b->result.attempted = true;
    b->result.verdict = (struct verdict){.outcome = o,
                                         .code = o == OUTCOME_DELIVERED ? 250 : 451,
                                         .phase = SLICE("RCPT"),
                                         .at_unix_ms = clock_sched_unix_ms()};
    int64_t at = result_write(&b->config, &b->envelope, b->job, &b->result, &b->event);
    if (retry_at != NULL)
        *retry_at = at;
    return &queue_job_delivery(b->job)->targets[0];
}

/* RFC 3461 4.1: who is told of what. */
static void
test_notify(void **state)
{
    static const struct {
        unsigned notify;
        bool failure, relayed, delay;
    } cases[] = {
        {0, true, false, true},
        {NOTIFY_GIVEN | NOTIFY_NEVER, false, false, false},
        {NOTIFY_GIVEN | NOTIFY_FAILURE, true, false, false},
        {NOTIFY_GIVEN | NOTIFY_SUCCESS, false, true, false},
        {NOTIFY_GIVEN | NOTIFY_DELAY, false, false, true},
        {NOTIFY_GIVEN | NOTIFY_FAILURE | NOTIFY_DELAY, true, false, true},
        {NOTIFY_GIVEN | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, true, true, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int what = 0; what < 3; what++) {
            static const enum outcome outcomes[] = {OUTCOME_PERM, OUTCOME_DELIVERED, OUTCOME_TEMP};
            struct bench b;
            bench_init(&b, cases[i].notify);
            b.config.ndr_delay_after_ms = 1;
            b.result.relayed = true;
            clock_sched_set_offset_ms(HOUR_MS);
            const struct queue_target *t = attempt(&b, outcomes[what], NULL);
            const bool wanted[] = {cases[i].failure, cases[i].relayed, cases[i].delay};
            assert_int_equal(t->notice_owed, wanted[what]);
            assert_int_equal(t->delay_told, what == 2 && cases[i].delay);
            bench_fini(&b);
        }
}

/* A peer that offers DSN reports the delivery itself (RFC 3461 5.2.2). */
static void
test_success_is_the_next_hops_business(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, NOTIFY_GIVEN | NOTIFY_SUCCESS);
    assert_false(attempt(&b, OUTCOME_DELIVERED, NULL)->notice_owed);
    bench_fini(&b);
}

/* RTY-15: once, after the time, and an attempt is made at that time. */
static void
test_delay_is_told_once(void **state)
{
    struct bench b;
    int64_t at;
    (void)state;
    bench_init(&b, 0);
    b.config.ndr_delay_after_ms = 90 * MINUTE_MS;
    int64_t due = queue_job_message(b.job)->created_unix_ms + 90 * MINUTE_MS;
    assert_false(attempt(&b, OUTCOME_TEMP, &at)->notice_owed);
    assert_true(at < due);
    clock_sched_set_offset_ms(80 * MINUTE_MS);
    assert_false(attempt(&b, OUTCOME_TEMP, &at)->notice_owed);
    assert_true(at == due);
    clock_sched_set_offset_ms(90 * MINUTE_MS);
    const struct queue_target *t = attempt(&b, OUTCOME_TEMP, &at);
    assert_true(t->notice_owed && t->delay_told);
    assert_true(at >= due + HOUR_MS - 1000);
    clock_sched_set_offset_ms(5 * HOUR_MS);
    t = attempt(&b, OUTCOME_TEMP, NULL);
    assert_false(t->notice_owed);
    assert_true(t->delay_told);
    /* What comes of it in the end is told again. */
    assert_true(attempt(&b, OUTCOME_PERM, NULL)->notice_owed);
    bench_fini(&b);
}

/* Without a time of ours it is told to those who asked for it only. */
static void
test_delay_by_request_only(void **state)
{
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct bench b;
        bench_init(&b, asked ? NOTIFY_GIVEN | NOTIFY_DELAY : 0);
        clock_sched_set_offset_ms(NDR_DELAY_ASKED_MS - MINUTE_MS);
        assert_false(attempt(&b, OUTCOME_TEMP, NULL)->notice_owed);
        clock_sched_set_offset_ms(NDR_DELAY_ASKED_MS);
        assert_int_equal(attempt(&b, OUTCOME_TEMP, NULL)->notice_owed, asked);
        bench_fini(&b);
    }
}

/* LOP-02, LOP-05: nobody is told of what has no sender, or of a report. */
static void
test_no_sender_no_delay(void **state)
{
    (void)state;
    for (int ndr = 0; ndr < 2; ndr++) {
        struct bench b;
        bench_init(&b, 0);
        b.config.ndr_delay_after_ms = 1;
        b.envelope = (struct envelope){.is_ndr = ndr != 0};
        if (ndr)
            b.envelope.reverse_path = SLICE("sender@example.org");
        clock_sched_set_offset_ms(HOUR_MS);
        assert_false(attempt(&b, OUTCOME_TEMP, NULL)->delay_told);
        assert_true(slice_find_slice(buf_slice(&b.event), SLICE("double_bounce")) == b.event.len);
        assert_false(attempt(&b, OUTCOME_PERM, NULL)->notice_owed);
        assert_true(slice_find_slice(buf_slice(&b.event), SLICE("double_bounce")) < b.event.len);
        bench_fini(&b);
    }
}

/* What is held for a person is not being tried. */
static void
test_held_is_not_delayed(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 0);
    b.config.ndr_delay_after_ms = 1;
    b.config.hold_uncertain = true;
    clock_sched_set_offset_ms(HOUR_MS);
    const struct queue_target *t = attempt(&b, OUTCOME_UNCERTAIN, NULL);
    assert_int_equal(t->state, QUEUE_HELD);
    assert_false(t->notice_owed || t->delay_told);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_success_is_the_next_hops_business),
        cmocka_unit_test(test_delay_is_told_once),
        cmocka_unit_test(test_delay_by_request_only),
        cmocka_unit_test(test_no_sender_no_delay),
        cmocka_unit_test(test_held_is_not_delayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
