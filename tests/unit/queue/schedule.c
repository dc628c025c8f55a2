/* Reading the schedule: order, pages, bounds of memory, fairness of lanes, the
 * clock, and records that cannot be read. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/operate.h"

/* Many messages at once, straight into the schedule. */
static void
commit_many(struct world *w, struct worker *k, unsigned n, const char *hop)
{
    enum { AT_ONCE = 64 };
    static struct mail mail[AT_ONCE];
    for (unsigned done = 0; done < n; done += AT_ONCE) {
        unsigned some = n - done < AT_ONCE ? n - done : AT_ONCE;
        for (unsigned i = 0; i < some; i++) {
            mail_init(&mail[i], (done + i) % 4, "body");
            mail_add(&mail[i], hop, "user@example.org");
            mail_start(&mail[i], k);
        }
        for (unsigned i = 0; i < some; i++) {
            WORLD_UNTIL(w, mail[i].done);
            assert_int_equal(mail[i].op.result, QUEUE_COMMITTED);
            mail_fini(&mail[i]);
        }
    }
}

static bool
deliver(struct worker *k, struct queue_job *job)
{
    static struct ending endings[WORLD_JOBS_MAX];
    BUG_ON(k->jobs_seen > WORLD_JOBS_MAX);
    job_end_start(k, job, &endings[k->jobs_seen - 1], QUEUE_DELIVERED);
    return true;
}

static void
open_small(struct world *w, unsigned jobs)
{
    w->a.cfg.jobs_in_memory_max = jobs;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

static void
memory_for_jobs_is_bounded_and_all_come(void **state)
{
    struct world *w = *state;
    enum { N = 600, MAX = 40 };
    open_small(w, MAX);
    commit_many(w, &w->a, N, "example.org");
    world_run_ms(w, 200);
    assert_in_range(w->a.job_count, 1, MAX + MAX / 4 + 1);
    unsigned ended = 0;
    while (ended < N) {
        struct queue_job *job = worker_job(w, &w->a);
        assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
        ended++;
    }
    assert_int_equal(w->a.jobs_seen, N);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages + d.scheduled, 0);
}

/* RTY-09: a thousand messages to one slow site keep nobody else waiting. */
static void
a_full_lane_leaves_room_for_another(void **state)
{
    struct world *w = *state;
    open_small(w, 40);
    commit_many(w, &w->a, 400, "slow.example");
    world_run_ms(w, 100);
    unsigned slow = w->a.job_count;
    assert_in_range(slow, 5, 35);
    commit_many(w, &w->a, 1, "fast.example");
    WORLD_UNTIL(w, w->a.job_count > slow);
    bool found = false;
    for (unsigned i = 0; i < w->a.job_count; i++)
        found |= slice_eq(queue_job_delivery(w->a.jobs[i])->next_hop, SLICE("fast.example"));
    assert_true(found);
}

static void
many_lanes_are_read_page_by_page(void **state)
{
    struct world *w = *state;
    enum { N = 150 };
    w->a.on_job = deliver;
    worker_open(w, &w->b); /* commits; its jobs are not looked at */
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) == QUEUE_PARTITIONS);
    queue_drain(w->b.q);
    for (unsigned i = 0; i < N; i++) {
        char hop[32];
        snprintf(hop, sizeof hop, "h%u.example", i);
        commit_many(w, &w->b, 1, hop); /* all in partition 0 */
    }
    worker_close(w, &w->b);
    worker_open(w, &w->a);
    WORLD_UNTIL(w, w->a.jobs_seen == N && !queue_busy(w->a.q));
    world_run_ms(w, 100);
    assert_int_equal(w->a.jobs_seen, N);
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
}

static void
what_is_due_later_comes_in_time(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 200, "body");
    mail_add(&mail, "example.org", "user@example.org");
    int64_t due = clock_sched_unix_ms() + 400;
    mail.d[0].due_unix_ms = due;
    mail_commit(w, &w->a, &mail);
    world_run_ms(w, 100);
    assert_int_equal(w->a.job_count, 0);
    struct queue_job *job = worker_job(w, &w->a);
    assert_true(clock_sched_unix_ms() >= due);
    assert_int_equal(queue_job_delivery(job)->due_unix_ms, due);
    queue_job_release(w->a.q, job, 0);
    mail_fini(&mail);
}

struct advancing {
    struct queue_clock_op op;
    bool done;
};

static void
on_advanced(struct queue_clock_op *op)
{
    container_of(op, struct advancing, op)->done = true;
}

static void
the_clock_advances_for_all_and_is_kept(void **state)
{
    struct world *w = *state;
    struct advancing a = {.op = {.done = on_advanced, .delta_ms = 4 * 3600000}};
    struct mail mail;
    mail_init(&mail, 200, "body");
    mail_add(&mail, "example.org", "user@example.org");
    mail.d[0].due_unix_ms = clock_sched_unix_ms() + 3 * 3600000;
    mail_commit(w, &w->a, &mail);
    queue_clock_advance_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_NONE);
    assert_true(clock_sched_offset_ms() == a.op.delta_ms);
    queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    worker_close(w, &w->a); /* a worker that starts later takes it from the dataset */
    clock_sched_set_offset_ms(0);
    worker_open(w, &w->a);
    assert_true(clock_sched_offset_ms() == a.op.delta_ms);
    mail_fini(&mail);
}

static void
every_broken_record_is_put_away(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5), good = commit_one(w, &w->a, 6);
    uint64_t before = metrics_total(METRIC_QUARANTINED);
    queue_job_release(w->a.q, worker_job(w, &w->a), 200);
    queue_job_release(w->a.q, worker_job(w, &w->a), 200);
    struct key m = key_of_message(id), q = key_of_part(5, KEY_BAD);
    freeReplyObject(redis_ask(&w->redis, "HSET %b d0 garbage", m.text, m.n));
    struct queue_job *job = worker_job(w, &w->a); /* the other one flows */
    assert_true(id_eq(queue_job_message(job)->id, good));
    WORLD_UNTIL(w, metrics_total(METRIC_QUARANTINED) == before + 1);
    assert_int_equal(redis_int(&w->redis, "HLEN %b", q.text, q.n), 1);
    assert_true(message_exists(w, id));
    assert_non_null(strstr(w->a.events[w->a.event_count - 1].text, "queue.quarantined"));
    assert_int_equal(world_depth(w, &w->a).scheduled, 1);
    queue_job_release(w->a.q, job, 0);
    world_run_ms(w, 100);
    assert_int_equal(metrics_total(METRIC_QUARANTINED), before + 1);
}

struct loading {
    struct queue_load_op op;
    bool done;
};

static void
on_loaded(struct queue_load_op *op)
{
    container_of(op, struct loading, op)->done = true;
}

/* As delivery meets a message without its bytes: it is put away and given back. */
static void
meet_without_bytes(struct world *w)
{
    struct loading l = {.op.done = on_loaded};
    struct queue_job *job = worker_job(w, &w->a);
    queue_load_start(&l.op, w->a.q, job);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_BAD);
    queue_job_release(w->a.q, job, 0);
    WORLD_UNTIL(w, world_depth(w, &w->a).scheduled == 0);
}

struct acting {
    struct queue_action_op op;
    bool done;
};

static void
on_acted(struct queue_action_op *op)
{
    container_of(op, struct acting, op)->done = true;
}

/* An operator who hurries it does not make it come for ever. */
static void
what_was_put_away_and_is_retried_is_put_away_again(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct acting a = {.op = {.done = on_acted, .id = id, .action = QUEUE_RETRY}};
    struct key chunk = key_of_chunk(id, 0);
    uint64_t before = metrics_total(METRIC_QUARANTINED);
    queue_job_release(w->a.q, worker_job(w, &w->a), 0); /* its bytes were in memory */
    freeReplyObject(redis_ask(&w->redis, "DEL %b", chunk.text, chunk.n));
    meet_without_bytes(w);
    queue_action_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.affected, 1);
    meet_without_bytes(w);
    assert_int_equal(metrics_total(METRIC_QUARANTINED), before + 1); /* it is told once */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(memory_for_jobs_is_bounded_and_all_come),
        BARE(a_full_lane_leaves_room_for_another),
        BARE(many_lanes_are_read_page_by_page),
        ONE(what_is_due_later_comes_in_time),
        ONE(the_clock_advances_for_all_and_is_kept),
        ONE(every_broken_record_is_put_away),
        ONE(what_was_put_away_and_is_retried_is_put_away_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
