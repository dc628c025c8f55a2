/* The queue by rows: counts, ages, order, filters, bounds. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/operate.h"
#include "relay/sys/base/limits.h"

struct asking {
    struct queue_summary_op op;
    struct arena arena;
    bool done;
};

static void
on_summary(struct queue_summary_op *op)
{
    container_of(op, struct asking, op)->done = true;
}

static void
ask(struct world *w, struct asking *a, const char *tenant, const char *next_hop)
{
    memset(a, 0, sizeof *a);
    arena_init(&a->arena, 8 << 20);
    a->op = (struct queue_summary_op){.done = on_summary,
                                      .tenant = slice_str(tenant),
                                      .next_hop = slice_str(next_hop),
                                      .limit = 10,
                                      .arena = &a->arena};
    queue_summary_start(&a->op, w->a.q);
    WORLD_UNTIL(w, a->done);
    assert_int_equal(a->op.err.code, ERR_NONE);
}

static struct msg_id
put(struct world *w, const char *next_hop, const char *tenant, unsigned age_minutes)
{
    struct mail mail;
    mail_init(&mail, 0, "body");
    mail.m.id = id_new(random_below(QUEUE_PARTITIONS));
    uint64_t ms = (uint64_t)clock_sched_unix_ms() - age_minutes * 60000ull - 1000;
    for (int i = 0; i < 6; i++)
        mail.m.id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    mail.m.tenant = slice_str(tenant);
    mail_add(&mail, next_hop, "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    mail_fini(&mail);
    return mail.m.id;
}

static void
release_all(struct world *w)
{
    while (w->a.job_count > 0)
        queue_job_release(w->a.q, worker_job(w, &w->a), 600000);
}

static void
rows_are_counted_and_sorted(void **state)
{
    struct world *w = *state;
    struct asking a;
    for (unsigned i = 0; i < 30; i++)
        put(w, "big.example", "one", i < 20 ? 1 : 30);
    for (unsigned i = 0; i < 5; i++)
        put(w, "small.example", "two", 2000);
    put(w, "small.example", "one", 0);
    ask(w, &a, "", "");
    assert_int_equal(a.op.count, 3);
    assert_false(a.op.truncated);
    struct queue_row *row = &a.op.rows[0];
    assert_true(slice_eq(row->next_hop, SLICE("big.example")));
    assert_true(slice_eq(row->tenant, SLICE("one")));
    assert_int_equal(row->queued, 30);
    assert_int_equal(row->ages[0], 20);
    assert_int_equal(row->ages[3], 10); /* 20 to 40 minutes */
    assert_true(row->oldest_unix_ms > 0 && row->oldest_unix_ms < clock_sched_unix_ms() - 1800000);
    assert_true(row->next_due_unix_ms > 0);
    row = &a.op.rows[1];
    assert_true(slice_eq(row->tenant, SLICE("two")));
    assert_int_equal(row->ages[QUEUE_AGES - 1], 5);
    assert_false(row->sampled);
    assert_int_equal(a.op.total.queued, 36);
    arena_fini(&a.arena);
    ask(w, &a, "one", "");
    assert_int_equal(a.op.count, 2);
    assert_int_equal(a.op.total.queued, 31);
    arena_fini(&a.arena);
    ask(w, &a, "", "small.example");
    assert_int_equal(a.op.count, 2);
    arena_fini(&a.arena);
    ask(w, &a, "three", "");
    assert_int_equal(a.op.count, 0);
    arena_fini(&a.arena);
    release_all(w);
}

static void
every_state_is_in_its_column(void **state)
{
    struct world *w = *state;
    struct asking a;
    for (unsigned i = 0; i < 4; i++)
        put(w, "example.org", "t", 0);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED));
    job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_HELD));
    job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    ask(w, &a, "", "");
    assert_int_equal(a.op.count, 1);
    assert_int_equal(a.op.rows[0].queued, 1);
    assert_int_equal(a.op.rows[0].deferred, 1);
    assert_int_equal(a.op.rows[0].held, 1);
    assert_int_equal(a.op.rows[0].inflight, 1);
    assert_true(slice_eq(a.op.rows[0].reply, SLICE("deferred")));
    assert_false(a.op.rows[0].sampled);
    arena_fini(&a.arena);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    ask(w, &a, "", "");
    assert_int_equal(a.op.rows[0].inflight, 0);
    arena_fini(&a.arena);
    release_all(w);
}

/* More rows than are shown: the fullest are, the total counts all. */
static void
rows_are_bounded(void **state)
{
    struct world *w = *state;
    struct asking a;
    for (unsigned i = 0; i < 25; i++) {
        char hop[32];
        snprintf(hop, sizeof hop, "hop%u.example", i);
        put(w, hop, "t", 0);
        if (i % 2 == 0)
            put(w, hop, "t", 0);
    }
    ask(w, &a, "", "");
    assert_int_equal(a.op.count, 10);
    assert_true(a.op.truncated);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(a.op.rows[i].queued, 2);
    assert_int_equal(a.op.total.queued, 38);
    arena_fini(&a.arena);
    release_all(w);
}

/* A queue of which not all is looked at says so, and its numbers still add up. */
static void
a_long_queue_is_sampled(void **state)
{
    struct world *w = *state;
    enum { N = QUEUE_SUMMARY_LOOK_MAX + 100 };
    static struct mail mails[N];
    struct asking a;
    w->a.cfg.jobs_in_memory_max = 1;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    for (unsigned i = 0; i < N; i++) {
        mail_init(&mails[i], 5, "body");
        mail_add(&mails[i], "example.org", "user@example.org");
        mail_start(&mails[i], &w->a);
    }
    for (unsigned i = 0; i < N; i++) {
        WORLD_UNTIL(w, mails[i].done);
        mail_fini(&mails[i]);
    }
    ask(w, &a, "", "");
    assert_int_equal(a.op.rows[0].queued + a.op.rows[0].deferred, N);
    assert_true(a.op.rows[0].sampled);
    assert_int_equal(a.op.rows[0].ages[0], QUEUE_SUMMARY_LOOK_MAX);
    arena_fini(&a.arena);
    release_all(w);
}

/* What was never tried is due first and must not hide what was. */
static void
what_was_tried_shows_behind_what_was_not(void **state)
{
    struct world *w = *state;
    enum { N = 8, TRIED = 6 };
    static struct mail mails[N];
    struct asking a;
    for (unsigned i = 0; i < N; i++) {
        mail_init(&mails[i], 5, "body");
        mail_add(&mails[i], "example.org", "user@example.org");
        mail_start(&mails[i], &w->a);
    }
    for (unsigned i = 0; i < N; i++) {
        WORLD_UNTIL(w, mails[i].done);
        mail_fini(&mails[i]);
    }
    for (unsigned i = 0; i < TRIED; i++) {
        struct queue_job *job = worker_job(w, &w->a);
        job_intend(w, &w->a, job);
        assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED));
    }
    ask(w, &a, "", "");
    assert_true(a.op.rows[0].deferred >= N / 2);
    assert_true(slice_eq(a.op.rows[0].reply, SLICE("deferred")));
    arena_fini(&a.arena);
    release_all(w);
}

static void
a_cancelled_summary_ends_once(void **state)
{
    struct world *w = *state;
    struct asking a = {.op = {.done = on_summary, .limit = 10, .arena = &a.arena}};
    arena_init(&a.arena, 1 << 20);
    redis_pause(&w->redis);
    queue_summary_start(&a.op, w->a.q);
    queue_summary_cancel(&a.op);
    assert_false(a.done);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_CANCELLED);
    a.done = false;
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_false(a.done);
    arena_fini(&a.arena);
}

static void
without_redis_a_summary_is_away(void **state)
{
    struct world *w = *state;
    struct asking a = {.op = {.done = on_summary, .limit = 10, .arena = &a.arena}};
    arena_init(&a.arena, 1 << 20);
    worker_start(w, &w->a);
    queue_summary_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_AWAY);
    arena_fini(&a.arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(rows_are_counted_and_sorted),
        ONE(every_state_is_in_its_column),
        ONE(rows_are_bounded),
        BARE(a_long_queue_is_sampled),
        ONE(what_was_tried_shows_behind_what_was_not),
        ONE(a_cancelled_summary_ends_once),
        BARE(without_redis_a_summary_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
