/* Intents and outcomes: fences, lost links, facts that come late, and what a
 * release does. */
#include "tests/unit/support/queue_test.h"

static void
a_deferred_delivery_comes_back_when_the_clock_says_so(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED)); /* in one hour */
    world_run_ms(w, 100);
    assert_int_equal(w->a.job_count, 0);
    assert_int_equal(world_depth(w, &w->a).scheduled, 1);
    clock_sched_set_offset_ms(2 * 3600000);
    job = worker_job(w, &w->a);
    assert_true(id_eq(queue_job_message(job)->id, id));
    assert_int_equal(queue_job_delivery(job)->attempts, 1);
    assert_int_equal(queue_job_delivery(job)->targets[0].state, QUEUE_DEFERRED);
    assert_true(slice_eq(queue_job_delivery(job)->targets[0].reply, SLICE("deferred")));
    assert_null(queue_job_content(job)->rest); /* to be loaded */
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
}

static void
a_released_job_comes_again_after_its_delay(void **state)
{
    struct world *w = *state;
    commit_one(w, &w->a, 5);
    uint64_t start = clock_mono_ms();
    queue_job_release(w->a.q, worker_job(w, &w->a), 300);
    struct queue_job *job = worker_job(w, &w->a);
    assert_true(clock_mono_ms() - start >= 300);
    /* Its lane rests as a whole; another lane does not. */
    queue_job_release(w->a.q, job, 60000);
    struct mail mail;
    mail_init(&mail, 5, "body");
    mail_add(&mail, "example.org", "other@example.org");
    mail_add(&mail, "example.net", "other@example.net");
    mail_commit(w, &w->a, &mail);
    job = worker_job(w, &w->a);
    assert_true(slice_eq(queue_job_delivery(job)->next_hop, SLICE("example.net")));
    world_run_ms(w, 100);
    assert_int_equal(w->a.job_count, 0);
    queue_job_release(w->a.q, job, 0);
    mail_fini(&mail);
}

static void
an_outcome_without_an_attempt_is_recorded(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    assert_false(job_end(w, &w->a, worker_job(w, &w->a), QUEUE_EXPIRED));
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_EXPIRED);
    assert_int_equal(world_depth(w, &w->a).scheduled, 0);
    id = commit_one(w, &w->a, 5); /* rescheduled without an attempt */
    assert_false(job_end(w, &w->a, worker_job(w, &w->a), QUEUE_DEFERRED));
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled, 1);
    assert_int_equal(d.inflight, 0);
    world_run_ms(w, 50);
    assert_int_equal(w->a.job_count, 0);
}

static void
a_held_delivery_leaves_the_schedule_and_stays(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_HELD));
    clock_sched_set_offset_ms(48 * 3600000);
    world_run_ms(w, 300);
    assert_int_equal(w->a.job_count, 0);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages, 1);
    assert_int_equal(d.scheduled + d.inflight, 0);
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_HELD);
}

/* The record was changed behind our back: nothing may be sent. */
static void
an_intent_on_an_old_record_is_stale(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    struct key m = key_of_message(id);
    redisReply *r = redis_ask(&w->redis, "HGET %b d0", m.text, m.n);
    r->str[8]++; /* the revision's last byte */
    freeReplyObject(redis_ask(&w->redis, "HSET %b d0 %b", m.text, m.n, r->str, r->len));
    freeReplyObject(r);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_STALE);
    queue_job_release(w->a.q, job, 0);
    job = worker_job(w, &w->a); /* read afresh */
    assert_int_equal(queue_job_delivery(job)->revision, 2);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
}

static void
an_intent_without_the_lease_is_stale(void **state)
{
    struct world *w = *state;
    commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    struct key lease = key_of_part(5, KEY_LEASE);
    freeReplyObject(redis_ask(&w->redis, "HINCRBY %b e 1", lease.text, lease.n));
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_STALE);
    assert_false(queue_job_may_send_dot(w->a.q, job));
    queue_job_release(w->a.q, job, 0);
}

/* Nothing was sent: the attempt is undone, not counted and not uncertain. */
static void
a_release_takes_the_intent_back(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    queue_job_release(w->a.q, job, 50);
    job = worker_job(w, &w->a);
    assert_int_equal(queue_job_delivery(job)->attempts, 0);
    assert_false(queue_job_delivery(job)->targets[0].uncertain);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.inflight, 0);
    assert_int_equal(d.scheduled, 1);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(target_of(w, &w->a, id, 0).attempts, 1);
}

/* An outcome is recorded whether or not its intent was. */
static void
a_doubtful_intent_can_be_finished(void **state)
{
    struct world *w = *state;
    w->a.cfg.commit_timeout_ms = 1000;
    w->a.cfg.lease_ms = 4000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    redis_pause(&w->redis);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_AWAY);
    redis_resume(&w->redis);
    job_end(w, &w->a, job, QUEUE_BOUNCED);
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_BOUNCED);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled + d.inflight, 0);
    assert_int_equal(d.notices, 1);
}

/* The link dies with the intent on it: whether it was recorded is not known. */
static void
a_doubtful_intent_is_taken_back(void **state)
{
    struct world *w = *state;
    w->a.cfg.commit_timeout_ms = 1000;
    w->a.cfg.lease_ms = 4000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    redis_pause(&w->redis);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_AWAY);
    assert_false(queue_job_may_send_dot(w->a.q, job));
    queue_job_release(w->a.q, job, 0);
    assert_true(queue_busy(w->a.q));
    redis_resume(&w->redis);
    job = worker_job(w, &w->a);
    assert_true(id_eq(queue_job_message(job)->id, id));
    assert_int_equal(world_depth(w, &w->a).inflight, 0);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
}

/* CRS-12, CRS-19: outcomes wait in memory while Redis is away. */
static void
outcomes_survive_a_redis_that_is_away(void **state)
{
    struct world *w = *state;
    enum { N = 20 };
    struct msg_id id[N];
    struct ending end[N];
    w->a.cfg.commit_timeout_ms = 1000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    for (unsigned i = 0; i < N; i++)
        id[i] = commit_one(w, &w->a, i);
    struct queue_job *job[N];
    for (unsigned i = 0; i < N; i++) {
        job[i] = worker_job(w, &w->a);
        assert_int_equal(job_intend(w, &w->a, job[i]), QUEUE_INTENT_OK);
    }
    redis_pause(&w->redis);
    for (unsigned i = 0; i < N; i++)
        job_end_start(&w->a, job[i], &end[i], i % 2 ? QUEUE_DELIVERED : QUEUE_DEFERRED);
    world_run_ms(w, 800);
    redis_resume(&w->redis);
    for (unsigned i = 0; i < N; i++) {
        WORLD_UNTIL(w, end[i].done);
        assert_false(end[i].op.stale);
    }
    unsigned delivered = 0;
    for (unsigned i = 0; i < N; i++) {
        struct queue_target t = target_of(w, &w->a, id[i], 0);
        delivered += t.state == QUEUE_DELIVERED;
        assert_int_equal(t.attempts, 1);
        assert_false(t.uncertain);
    }
    assert_int_equal(delivered, N / 2);
    assert_int_equal(world_depth(w, &w->a).live_messages, N / 2);
    WORLD_UNTIL(w, w->a.event_count >= N);
}

/* Links die in every phase of many deliveries: each is delivered once. */
static void
killed_links_under_deliveries_lose_and_double_nothing(void **state)
{
    struct world *w = *state;
    enum { N = 60 };
    struct msg_id id[N];
    for (unsigned i = 0; i < N; i++)
        id[i] = commit_one(w, &w->a, i % 8);
    unsigned sent = 0, killed_at = N;
    while (sent < N) {
        struct queue_job *job = worker_job(w, &w->a);
        if (sent % 5 == 4 && killed_at != sent) { /* once, or a slow machine never gets on */
            killed_at = sent;
            kill_clients(w);
        }
        if (job_intend(w, &w->a, job) != QUEUE_INTENT_OK) {
            queue_job_release(w->a.q, job, 0);
            continue;
        }
        if (++sent % 7 == 0)
            kill_clients(w);
        assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    }
    for (unsigned i = 0; i < N; i++) {
        struct queue_target t = target_of(w, &w->a, id[i], 0);
        assert_int_equal(t.state, QUEUE_DELIVERED);
        assert_int_equal(t.attempts, 1);
    }
    world_run_ms(w, 300);
    assert_int_equal(w->a.job_count, 0);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages + d.scheduled + d.inflight, 0);
}

static void
scripts_that_redis_forgot_are_sent_again(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "SCRIPT FLUSH"));
    commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    freeReplyObject(redis_ask(&w->redis, "SCRIPT FLUSH"));
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    freeReplyObject(redis_ask(&w->redis, "SCRIPT FLUSH"));
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_deferred_delivery_comes_back_when_the_clock_says_so),
        ONE(a_released_job_comes_again_after_its_delay),
        ONE(an_outcome_without_an_attempt_is_recorded),
        ONE(a_held_delivery_leaves_the_schedule_and_stays),
        ONE(an_intent_on_an_old_record_is_stale),
        ONE(an_intent_without_the_lease_is_stale),
        ONE(a_release_takes_the_intent_back),
        BARE(a_doubtful_intent_is_taken_back),
        BARE(a_doubtful_intent_can_be_finished),
        BARE(outcomes_survive_a_redis_that_is_away),
        ONE(killed_links_under_deliveries_lose_and_double_nothing),
        ONE(scripts_that_redis_forgot_are_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
