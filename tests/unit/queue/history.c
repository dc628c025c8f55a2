/* The history of finished messages: bounded by bytes and by age, oldest first. */
#include "tests/unit/support/queue_test.h"

#include "queue/core.h"
#include "relay/sys/base/limits.h"

enum { PARTITION = 30, HOUR_MS = 3600000 };

static struct msg_id
finish_one(struct world *w)
{
    struct msg_id id = commit_one(w, &w->a, PARTITION);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    return id;
}

static void
open_with(struct world *w, uint64_t bytes, uint64_t age_ms)
{
    w->a.cfg.history_bytes = bytes;
    w->a.cfg.history_age_ms = age_ms;
    w->a.cfg.commit_timeout_ms = 2000;
    w->a.cfg.unknown_timeout_ms = 1000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

static void
the_oldest_go_when_it_is_too_large(void **state)
{
    struct world *w = *state;
    struct msg_id id[12];
    open_with(w, 3000ull * QUEUE_PARTITIONS, 24 * HOUR_MS); /* about four messages here */
    for (unsigned i = 0; i < 8; i++)
        id[i] = finish_one(w);
    world_run_ms(w, 100);
    for (unsigned i = 0; i < 8; i++) /* too young: a commit may still be asked for */
        assert_true(message_exists(w, id[i]));
    clock_sched_set_offset_ms(HOUR_MS);
    for (unsigned i = 8; i < 12; i++)
        id[i] = finish_one(w);
    WORLD_UNTIL(w, !message_exists(w, id[7]));
    for (unsigned i = 8; i < 12; i++)
        assert_true(message_exists(w, id[i]));
    struct key hist = key_of_part(PARTITION, KEY_HIST), stat = key_of_part(PARTITION, KEY_STAT);
    assert_int_equal(redis_int(&w->redis, "ZCARD %b", hist.text, hist.n), 1 + 4);
    assert_in_range(redis_int(&w->redis, "HGET %b hbytes", stat.text, stat.n), 4 * 512, 4 * 3000);
}

static void
nothing_unfinished_is_trimmed(void **state)
{
    struct world *w = *state;
    open_with(w, 0, 1);
    struct msg_id live = commit_one(w, &w->a, PARTITION);
    queue_job_release(w->a.q, worker_job(w, &w->a), 100000);
    struct mail mail;
    mail_init(&mail, PARTITION, "body");
    mail_add(&mail, "other.example", "user@other.example");
    mail_commit(w, &w->a, &mail);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    mail_fini(&mail);
    assert_true(message_exists(w, live));
    clock_sched_set_offset_ms(48ll * HOUR_MS);
    mail_init(&mail, PARTITION, "body");
    mail_add(&mail, "third.example", "user@third.example");
    mail_commit(w, &w->a, &mail);
    job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    WORLD_UNTIL(w, redis_count_keys(&w->redis, "sp:*:m:*") == 2);
    assert_true(message_exists(w, live));
    mail_fini(&mail);
}

static void
age_trims_without_traffic(void **state)
{
    struct world *w = *state;
    w->a.cfg.lease_ms = 40; /* ticks, so that all partitions get their turn */
    open_with(w, 1ull << 40, HOUR_MS);
    struct msg_id id = finish_one(w);
    world_run_ms(w, 50);
    assert_true(message_exists(w, id));
    clock_sched_set_offset_ms(2 * HOUR_MS);
    WORLD_UNTIL(w, !message_exists(w, id));
}

static long long
finished_there(struct world *w)
{
    struct key hist = key_of_part(PARTITION, KEY_HIST);
    return redis_int(&w->redis, "ZCARD %b", hist.text, hist.n) - 1; /* the permanent member */
}

/* However many: the turn of a partition comes every few minutes. */
static void
one_turn_trims_all_that_is_old(void **state)
{
    struct world *w = *state;
    enum { N = 2 * QUEUE_TRIM_BATCH + 1 };
    w->a.cfg.lease_ms = 40;
    open_with(w, 1ull << 40, HOUR_MS);
    for (unsigned i = 0; i < N; i++)
        finish_one(w);
    clock_sched_set_offset_ms(2 * HOUR_MS);
    WORLD_UNTIL(w, finished_there(w) < N);
    unsigned turn = w->a.q->ticks;
    WORLD_UNTIL(w, finished_there(w) == 0);
    assert_true(w->a.q->ticks - turn < QUEUE_PARTITIONS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(the_oldest_go_when_it_is_too_large),
        BARE(nothing_unfinished_is_trimmed),
        BARE(age_trims_without_traffic),
        BARE(one_turn_trims_all_that_is_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
