/* Commits: bodies of every size, idempotency, lack of room, and outcomes that
 * are unknown for a while. */
#include "tests/unit/support/queue_test.h"

struct loading {
    struct queue_load_op op;
    bool done;
};

static void
on_loaded(struct queue_load_op *op)
{
    container_of(op, struct loading, op)->done = true;
}

static void
expect_body(struct world *w, struct queue_job *job, struct slice body)
{
    struct loading l = {.op.done = on_loaded};
    struct slice piece[2];
    queue_load_start(&l.op, w->a.q, job);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_NONE);
    assert_int_equal(content_bytes(queue_job_content(job)), body.n);
    content_pieces(queue_job_content(job), piece);
    assert_true(slice_eq(piece[0], body));
}

static void
round_trip(struct world *w, struct slice body)
{
    struct mail mail;
    mail_init(&mail, 7, "");
    mail_body(&mail, body);
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    struct queue_job *job = worker_job(w, &w->a);
    expect_body(w, job, body);
    /* Nothing of it expires by itself. */
    struct key chunk = key_of_chunk(mail.m.id, 0);
    if (body.n > 0)
        assert_int_equal(redis_int(&w->redis, "TTL %b", chunk.text, chunk.n), -1);
    job_intend(w, &w->a, job);
    job_end(w, &w->a, job, QUEUE_DELIVERED);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    mail_fini(&mail);
}

static void
bodies_of_every_size_come_back(void **state)
{
    struct world *w = *state;
    static const size_t SIZES[] = {0,      1,      1023,   1024,    5000,           262143,
                                   262144, 262145, 300000, 1048576, 3 * 1048576 + 7};
    for (size_t i = 0; i < ARRAY_LEN(SIZES); i++) {
        struct slice noise = random_body(SIZES[i] > 0 ? SIZES[i] : 1);
        noise.n = SIZES[i];
        round_trip(w, noise);
        memset((char *)(uintptr_t)noise.p, 'a', noise.n);
        round_trip(w, noise);
        free((char *)(uintptr_t)noise.p);
    }
}

static void
a_body_in_two_pieces_is_stored_as_one(void **state)
{
    struct world *w = *state;
    struct mail mail;
    struct slice noise = random_body(600000);
    mail_init(&mail, 9, "");
    mail_body(&mail, noise);
    mail.op.content.head = blob_new_copy(SLICE("Received: by us\r\n"));
    mail.op.content.rest_at = 100000;
    mail.m.size_bytes = content_bytes(&mail.op.content);
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    struct queue_job *job = worker_job(w, &w->a);
    struct buf whole;
    buf_init(&whole, 1 << 20);
    buf_add(&whole, SLICE("Received: by us\r\n"));
    buf_add(&whole, slice_skip(noise, 100000));
    expect_body(w, job, buf_slice(&whole));
    buf_fini(&whole);
    free((char *)(uintptr_t)noise.p);
    mail_fini(&mail);
    queue_job_release(w->a.q, job, 0);
}

static void
several_next_hops_become_several_jobs(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 3, "body");
    mail_add(&mail, "a.example", "one@a.example");
    mail_add(&mail, "a.example", "two@a.example");
    mail_add(&mail, "b.example", "three@b.example");
    mail_add(&mail, "c.example", "four@c.example")->state = QUEUE_SUPPRESSED;
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    struct queue_job *one = worker_job(w, &w->a), *two = worker_job(w, &w->a);
    assert_int_equal(queue_job_delivery(one)->target_count, 2);
    assert_int_equal(queue_job_delivery(two)->target_count, 1);
    world_run_ms(w, 50);
    assert_int_equal(w->a.job_count, 0); /* nothing to do for the suppressed one */
    job_intend(w, &w->a, one);
    job_end(w, &w->a, one, QUEUE_DELIVERED);
    assert_int_equal(world_depth(w, &w->a).live_messages, 1);
    job_intend(w, &w->a, two);
    job_end(w, &w->a, two, QUEUE_DELIVERED);
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
    assert_int_equal(target_of(w, &w->a, mail.m.id, 2).state, QUEUE_SUPPRESSED);
    mail_fini(&mail);
}

static void
a_message_to_suppressed_targets_only_is_history_at_once(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 3, "body");
    mail_add(&mail, "c.example", "four@c.example")->state = QUEUE_SUPPRESSED;
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    assert_int_equal(target_of(w, &w->a, mail.m.id, 0).state, QUEUE_SUPPRESSED);
    mail_fini(&mail);
}

/* ---- idempotency ----------------------------------------------------------- */

static void
commit_with_key(struct world *w, struct mail *mail, const char *text, const char *key)
{
    struct slice credential = SLICE("credential");
    mail_init(mail, queue_partition_for_key(credential, slice_str(key)), text);
    mail_add(mail, "example.org", "user@example.org");
    mail->op.idempotency_credential = credential;
    mail->op.idempotency_key = slice_str(key);
    memset(mail->op.request_digest, text[0], 32);
    mail_commit(w, &w->a, mail);
    mail_fini(mail);
}

static void
a_key_replays_and_conflicts(void **state)
{
    struct world *w = *state;
    struct mail first, again, other, key2;
    commit_with_key(w, &first, "a body", "key");
    assert_int_equal(first.op.result, QUEUE_COMMITTED);
    commit_with_key(w, &again, "a body", "key");
    assert_int_equal(again.op.result, QUEUE_REPLAYED);
    assert_true(id_eq(again.op.replayed_id, first.m.id));
    commit_with_key(w, &other, "b body", "key");
    assert_int_equal(other.op.result, QUEUE_KEY_CONFLICT);
    commit_with_key(w, &key2, "b body", "key2");
    assert_int_equal(key2.op.result, QUEUE_COMMITTED);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:m:*"), 2);
    assert_int_equal(world_depth(w, &w->a).live_messages, 2);
}

/* ---- no room --------------------------------------------------------------- */

static void
a_full_redis_refuses_commits_and_drains(void **state)
{
    struct world *w = *state;
    struct mail mail;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET maxmemory 1"));
    mail_init(&mail, 5, "body");
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_NO_ROOM);
    assert_int_equal(mail.op.err.code, ERR_FULL);
    assert_int_equal(queue_status(w->a.q), QUEUE_FULL_NOW);
    assert_false(message_exists(w, mail.m.id));
    mail_fini(&mail);
    mail_init(&mail, 5, ""); /* several chunks: refused before the script */
    struct slice noise = random_body(700000);
    mail_body(&mail, noise);
    free((char *)(uintptr_t)noise.p);
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_NO_ROOM);
    /* What is there is delivered all the same. */
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED));
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_DEFERRED);
    assert_int_equal(world_depth(w, &w->a).scheduled, 1);
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET maxmemory 0"));
    commit_one(w, &w->a, 5);
    assert_int_equal(queue_status(w->a.q), QUEUE_UP);
    mail_fini(&mail);
}

/* ---- unknown outcomes ------------------------------------------------------ */

static void
open_impatient(struct world *w)
{
    w->a.cfg.commit_timeout_ms = 300;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

/* Committed means there, away means not there now and never. */
static void
expect_truth(struct world *w, const struct mail *mail)
{
    if (mail->op.result == QUEUE_COMMITTED) {
        assert_true(message_exists(w, mail->m.id));
    } else {
        assert_int_equal(mail->op.result, QUEUE_AWAY);
        world_run_ms(w, 200);
        assert_false(message_exists(w, mail->m.id));
    }
}

static void
a_stalled_redis_makes_the_outcome_unknown_then_known(void **state)
{
    struct world *w = *state;
    struct mail mail[8];
    open_impatient(w);
    uint64_t unknown = metrics_total(METRIC_COMMIT_UNKNOWN);
    redis_pause(&w->redis);
    for (unsigned i = 0; i < 8; i++) {
        mail_init(&mail[i], i, "body");
        mail_add(&mail[i], "example.org", "user@example.org");
        mail_start(&mail[i], &w->a);
    }
    world_run_ms(w, 1000); /* the links are lost meanwhile */
    for (unsigned i = 0; i < 8; i++)
        assert_false(mail[i].done); /* neither yes nor no is said */
    redis_resume(&w->redis);
    unsigned committed = 0;
    for (unsigned i = 0; i < 8; i++) {
        WORLD_UNTIL(w, mail[i].done);
        expect_truth(w, &mail[i]);
        committed += mail[i].op.result == QUEUE_COMMITTED;
        mail_fini(&mail[i]);
    }
    assert_int_equal(metrics_total(METRIC_COMMIT_UNKNOWN) - unknown, 8);
    WORLD_UNTIL(w, w->a.job_count == committed);
    world_run_ms(w, 300);
    assert_int_equal(w->a.job_count, committed);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:m:*"), committed);
}

static void
a_tombstone_refuses_the_commit_that_comes_late(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 11, "body");
    mail_add(&mail, "example.org", "user@example.org");
    struct key x = key_of_tombstone(mail.m.id);
    freeReplyObject(redis_ask(&w->redis, "SET %b x", x.text, x.n));
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_AWAY);
    assert_false(message_exists(w, mail.m.id));
    mail_fini(&mail);
}

static void
a_redis_that_stays_away_leaves_the_outcome_unknown(void **state)
{
    struct world *w = *state;
    struct mail mail;
    w->a.cfg.unknown_timeout_ms = 400;
    open_impatient(w);
    mail_init(&mail, 11, "body");
    mail_add(&mail, "example.org", "user@example.org");
    redis_pause(&w->redis);
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_OUTCOME_UNKNOWN);
    assert_int_equal(mail.op.err.code, ERR_UNKNOWN);
    redis_resume(&w->redis);
    mail_fini(&mail);
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
}

static void
without_a_link_nothing_is_sent(void **state)
{
    struct world *w = *state;
    struct mail mail;
    worker_start(w, &w->a);
    assert_int_equal(queue_status(w->a.q), QUEUE_STARTING);
    mail_init(&mail, 11, "body");
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_AWAY);
    mail_fini(&mail);
}

/* Links die under a stream of commits: what is said is true, each time. */
static void
killed_links_under_load_tell_the_truth(void **state)
{
    struct world *w = *state;
    enum { N = 200 };
    static struct mail mail[N];
    unsigned committed = 0;
    for (unsigned i = 0; i < N; i++) {
        mail_init(&mail[i], i, "body");
        mail_add(&mail[i], "example.org", "user@example.org");
        mail_start(&mail[i], &w->a);
        if (i % 16 == 7) {
            world_run_ms(w, 1);
            kill_clients(w);
        }
        if (i % 16 == 15)
            WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    }
    for (unsigned i = 0; i < N; i++) {
        WORLD_UNTIL(w, mail[i].done);
        assert_true(mail[i].op.result == QUEUE_COMMITTED || mail[i].op.result == QUEUE_AWAY);
        committed += mail[i].op.result == QUEUE_COMMITTED;
    }
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(message_exists(w, mail[i].m.id), mail[i].op.result == QUEUE_COMMITTED);
        mail_fini(&mail[i]);
    }
    assert_in_range(committed, 1, N);
    WORLD_UNTIL(w, w->a.job_count == committed);
    world_run_ms(w, 100);
    assert_int_equal(w->a.jobs_seen, committed);
}

static void
a_cancelled_commit_stays_committed(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 11, "body");
    mail_add(&mail, "example.org", "user@example.org");
    mail_start(&mail, &w->a);
    queue_commit_cancel(&mail.op);
    assert_false(mail.done);
    WORLD_UNTIL(w, mail.done);
    assert_int_equal(mail.op.result, QUEUE_OUTCOME_UNKNOWN);
    mail_fini(&mail);
    memset(&mail, 0, sizeof mail); /* the caller's memory may go */
    queue_job_release(w->a.q, worker_job(w, &w->a), 0);
}

/* The client leaves while its large body is compressed: nothing was sent yet. */
static void
a_commit_cancelled_while_packing_is_not_sent(void **state)
{
    struct world *w = *state;
    struct mail mail;
    struct slice noise = random_body(4 << 20);
    mail_init(&mail, 11, "");
    mail_body(&mail, noise);
    mail_add(&mail, "example.org", "user@example.org");
    mail_start(&mail, &w->a);
    queue_commit_cancel(&mail.op);
    WORLD_UNTIL(w, mail.done && !queue_busy(w->a.q));
    assert_int_equal(mail.op.result, QUEUE_OUTCOME_UNKNOWN);
    assert_false(message_exists(w, mail.m.id));
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    mail_fini(&mail);
    free((char *)(uintptr_t)noise.p);
}

static void
a_cancelled_load_ends_once_and_leaves_the_job(void **state)
{
    struct world *w = *state;
    commit_one(w, &w->a, 11);
    struct queue_job *job = worker_job(w, &w->a);
    struct loading l = {.op.done = on_loaded};
    redis_pause(&w->redis);
    queue_load_start(&l.op, w->a.q, job);
    queue_load_cancel(&l.op);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_CANCELLED);
    l.done = false;
    queue_job_release(w->a.q, job, 0); /* the load under way must not miss it */
    redis_resume(&w->redis);
    job = worker_job(w, &w->a);
    assert_false(l.done);
    expect_body(w, job, SLICE("Subject: one\r\n\r\nbody\r\n"));
    queue_job_release(w->a.q, job, 0);
}

/* A chunk is gone: the delivery is put away, not retried for ever. */
static void
a_body_that_is_lost_is_put_away(void **state)
{
    struct world *w = *state;
    uint64_t before = metrics_total(METRIC_QUARANTINED);
    struct msg_id id = commit_one(w, &w->a, 11);
    struct queue_job *job = worker_job(w, &w->a);
    struct key chunk = key_of_chunk(id, 0);
    redis_int(&w->redis, "DEL %b", chunk.text, chunk.n);
    struct loading l = {.op.done = on_loaded};
    queue_load_start(&l.op, w->a.q, job);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_BAD);
    queue_job_release(w->a.q, job, 0);
    WORLD_UNTIL(w, metrics_total(METRIC_QUARANTINED) == before + 1);
    world_run_ms(w, 200);
    assert_int_equal(w->a.job_count, 0);
    assert_true(message_exists(w, id));
}

static void
a_crash_of_redis_loses_nothing_acknowledged(void **state)
{
    struct world *w = *state;
    enum { N = 50 };
    struct msg_id id[N];
    for (unsigned i = 0; i < N; i++)
        id[i] = commit_one(w, &w->a, i);
    redis_crash_and_restart(&w->redis);
    for (unsigned i = 0; i < N; i++)
        assert_true(message_exists(w, id[i]));
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    for (unsigned i = 0; i < N; i++) {
        struct queue_job *job = worker_job(w, &w->a);
        while (job_intend(w, &w->a, job) != QUEUE_INTENT_OK) {
            queue_job_release(w->a.q, job, 0);
            job = worker_job(w, &w->a);
        }
        job_end(w, &w->a, job, QUEUE_DELIVERED);
    }
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(bodies_of_every_size_come_back),
        ONE(a_body_in_two_pieces_is_stored_as_one),
        ONE(several_next_hops_become_several_jobs),
        ONE(a_message_to_suppressed_targets_only_is_history_at_once),
        ONE(a_key_replays_and_conflicts),
        ONE(a_full_redis_refuses_commits_and_drains),
        BARE(a_stalled_redis_makes_the_outcome_unknown_then_known),
        ONE(a_tombstone_refuses_the_commit_that_comes_late),
        BARE(a_redis_that_stays_away_leaves_the_outcome_unknown),
        BARE(without_a_link_nothing_is_sent),
        ONE(killed_links_under_load_tell_the_truth),
        ONE(a_cancelled_commit_stays_committed),
        ONE(a_commit_cancelled_while_packing_is_not_sent),
        ONE(a_cancelled_load_ends_once_and_leaves_the_job),
        ONE(a_body_that_is_lost_is_put_away),
        ONE(a_crash_of_redis_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
