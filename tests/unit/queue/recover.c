/* Takeover: a worker is killed at every kill point, or stalls and comes back
 * with a fact; what it leaves is found, once, and flagged where it must be. */
#include "tests/unit/support/queue_test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTITION = 42, VICTIM_LIMIT_S = 150 };

/* The life of a worker in a process of its own, until a kill point ends it. */
static void
victim(struct world *w, struct msg_id id, const char *failpoint)
{
    struct mail mail;
    setenv("FAILPOINT", failpoint, 1);
    alarm(VICTIM_LIMIT_S);
    w->loop = loop_new();
    worker_open(w, &w->b);
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) == QUEUE_PARTITIONS);
    mail_init(&mail, PARTITION, "body");
    mail.m.id = id;
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->b, &mail);
    struct queue_job *job = worker_job(w, &w->b);
    job_intend(w, &w->b, job);
    job_end(w, &w->b, job, QUEUE_DELIVERED);
    _exit(0);
}

/* Runs it to its death. */
static struct msg_id
kill_at(struct world *w, const char *point)
{
    char failpoint[64];
    struct msg_id id = id_new(PARTITION);
    int status;
    snprintf(failpoint, sizeof failpoint, "%s:kill", point);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        victim(w, id, failpoint);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return id;
}

/* A next worker that takes over what the last one left, attempts it, and dies
 * of it too. */
static void
kill_heir(struct world *w, unsigned crashes_before)
{
    struct queue_config last = w->b.cfg;
    int status;
    random_bytes(w->b.cfg.owner, sizeof w->b.cfg.owner);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("FAILPOINT", "intend.done:kill", 1);
        alarm(VICTIM_LIMIT_S);
        w->loop = loop_new();
        worker_open(w, &w->b);
        queue_owner_died(w->b.q, last.owner);
        struct queue_job *job = worker_job(w, &w->b);
        if (queue_job_delivery(job)->crashes != crashes_before)
            _exit(1);
        job_intend(w, &w->b, job);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
take_over(struct world *w)
{
    worker_open(w, &w->a);
    queue_owner_died(w->a.q, w->b.cfg.owner);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

/* CRS-02: nothing is stored. */
static void
expect_nothing(void **state, const char *point)
{
    struct world *w = *state;
    struct msg_id id = kill_at(w, point);
    assert_false(message_exists(w, id));
    take_over(w);
    world_run_ms(w, 200);
    assert_int_equal(w->a.jobs_seen, 0);
}

static void
killed_before_a_commit(void **state)
{
    expect_nothing(state, "commit.before");
}

static void
killed_with_a_commit_in_hand(void **state)
{
    expect_nothing(state, "commit.sent");
}

/* CRS-05, CRS-06: stored, found by the next owner, and certain. */
static void
killed_after_a_commit(void **state)
{
    struct world *w = *state;
    struct msg_id id = kill_at(w, "commit.done");
    assert_true(message_exists(w, id));
    take_over(w);
    struct queue_job *job = worker_job(w, &w->a);
    assert_true(id_eq(queue_job_message(job)->id, id));
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_false(target_of(w, &w->a, id, 0).uncertain);
}

/* CRS-10, CRS-11: may have been sent; redelivered and flagged. */
static void
expect_uncertain(void **state, const char *point)
{
    struct world *w = *state;
    uint64_t uncertain = metrics_total(METRIC_UNCERTAIN);
    struct msg_id id = kill_at(w, point);
    take_over(w);
    struct queue_job *job = worker_job(w, &w->a);
    const struct queue_delivery *d = queue_job_delivery(job);
    assert_int_equal(d->attempts, 1);
    assert_int_equal(d->crashes, 1);
    assert_true(d->targets[0].uncertain);
    assert_int_equal(d->targets[0].state, QUEUE_DEFERRED);
    assert_int_equal(metrics_total(METRIC_UNCERTAIN) - uncertain, 1);
    WORLD_UNTIL(w, w->a.event_count == 1);
    assert_non_null(strstr(w->a.events[0].text, "queue.uncertain"));
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    struct queue_target t = target_of(w, &w->a, id, 0);
    assert_int_equal(t.state, QUEUE_DELIVERED);
    assert_true(t.uncertain); /* stays */
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
}

static void
killed_after_an_intent(void **state)
{
    expect_uncertain(state, "intend.done");
}

static void
killed_before_the_outcome_is_sent(void **state)
{
    expect_uncertain(state, "finish.before");
}

/* CRS-12: the outcome is in Redis; its event still comes. */
static void
expect_finished(void **state, const char *point)
{
    struct world *w = *state;
    struct msg_id id = kill_at(w, point);
    take_over(w);
    WORLD_UNTIL(w, w->a.event_count == 1);
    assert_string_equal(w->a.events[0].text, "{\"event\":\"outcome\"}");
    struct queue_target t = target_of(w, &w->a, id, 0);
    assert_int_equal(t.state, QUEUE_DELIVERED);
    assert_false(t.uncertain);
    assert_int_equal(w->a.jobs_seen, 0);
}

static void
killed_before_the_answer_to_an_outcome(void **state)
{
    expect_finished(state, "finish.sent");
}

static void
killed_after_an_outcome(void **state)
{
    expect_finished(state, "finish.done");
}

static void
a_poison_delivery_is_held_after_three_crashes(void **state)
{
    struct world *w = *state;
    struct msg_id id = kill_at(w, "intend.done");
    kill_heir(w, 1);
    kill_heir(w, 2);
    take_over(w);
    WORLD_UNTIL(w, w->a.event_count > 0 &&
                       strstr(w->a.events[w->a.event_count - 1].text, "queue.poison") != NULL);
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_HELD);
    world_run_ms(w, 100);
    assert_int_equal(w->a.jobs_seen, 0);
    assert_int_equal(world_depth(w, &w->a).live_messages, 1);
}

static void
uncertain_deliveries_can_be_held(void **state)
{
    struct world *w = *state;
    struct msg_id id = kill_at(w, "intend.done");
    w->a.cfg.hold_uncertain = true;
    take_over(w);
    WORLD_UNTIL(w, w->a.event_count == 1);
    struct queue_target t = target_of(w, &w->a, id, 0);
    assert_int_equal(t.state, QUEUE_HELD);
    assert_true(t.uncertain);
    assert_int_equal(world_depth(w, &w->a).inflight, 0);
    assert_int_equal(w->a.jobs_seen, 0);
}

/* ---- late facts: CRS-17 ------------------------------------------------------ */

static void
lease_to(struct world *w, const char *owner)
{
    struct key k = key_of_part(PARTITION, KEY_LEASE);
    freeReplyObject(redis_ask(&w->redis, "HSET %b o %s c 0", k.text, k.n, owner));
    freeReplyObject(redis_ask(&w->redis, "HINCRBY %b e 1", k.text, k.n));
}

/* Worker a has an attempt under way when worker b takes its partition over and
 * has waited for it long enough. Returns a's job; b's is *second. */
static struct queue_job *
stall_and_lose(struct world *w, struct queue_job **second)
{
    static const uint8_t GONE[16] = {0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab,
                                     0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab};
    struct msg_id id = commit_one(w, &w->a, PARTITION);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    lease_to(w, "abababababababababababababababab");
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS - 1);
    assert_false(queue_job_may_send_dot(w->a.q, job));
    queue_drain(w->a.q); /* it does not take the lease again */
    worker_open(w, &w->b);
    queue_owner_died(w->b.q, GONE);
    *second = worker_job(w, &w->b);
    assert_true(id_eq(queue_job_message(*second)->id, id));
    assert_true(queue_job_delivery(*second)->targets[0].uncertain);
    return job;
}

static void
a_late_fact_ends_what_was_recovered(void **state)
{
    struct world *w = *state;
    struct queue_job *second, *first = stall_and_lose(w, &second);
    struct msg_id id = queue_job_message(first)->id;
    assert_true(job_end(w, &w->a, first, QUEUE_DELIVERED)); /* late, and recorded */
    struct queue_target t = target_of(w, &w->b, id, 0);
    assert_int_equal(t.state, QUEUE_DELIVERED);
    assert_int_equal(job_intend(w, &w->b, second), QUEUE_INTENT_STALE); /* not sent twice */
    queue_job_release(w->b.q, second, 0);
    assert_int_equal(world_depth(w, &w->b).live_messages, 0);
    world_run_ms(w, 200);
    assert_int_equal(w->b.job_count, 0);
}

static void
a_late_fact_meets_a_second_attempt(void **state)
{
    struct world *w = *state;
    uint64_t uncertain = metrics_total(METRIC_UNCERTAIN);
    struct queue_job *second, *first = stall_and_lose(w, &second);
    struct msg_id id = queue_job_message(first)->id;
    assert_int_equal(job_intend(w, &w->b, second), QUEUE_INTENT_OK);
    assert_true(job_end(w, &w->a, first, QUEUE_DELIVERED));
    assert_true(job_end(w, &w->b, second, QUEUE_DELIVERED)); /* twice, and flagged */
    struct queue_target t = target_of(w, &w->b, id, 0);
    assert_int_equal(t.state, QUEUE_DELIVERED);
    assert_true(t.uncertain);
    assert_int_equal(metrics_total(METRIC_UNCERTAIN) - uncertain, 2); /* recovered, and twice */
    struct queue_depth d = world_depth(w, &w->b);
    assert_int_equal(d.live_messages + d.inflight + d.scheduled, 0);
}

static void
a_late_fact_comes_after_the_second_attempt(void **state)
{
    struct world *w = *state;
    struct queue_job *second, *first = stall_and_lose(w, &second);
    struct msg_id id = queue_job_message(first)->id;
    assert_int_equal(job_intend(w, &w->b, second), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->b, second, QUEUE_BOUNCED));
    assert_true(job_end(w, &w->a, first, QUEUE_BOUNCED)); /* no second notice */
    assert_int_equal(target_of(w, &w->b, id, 0).state, QUEUE_BOUNCED);
    assert_int_equal(world_depth(w, &w->b).notices, 1);
    WORLD_UNTIL(w, w->b.notice_count == 1);
    assert_false(notice_pay(w, &w->b, w->b.notices[0], NULL));
    assert_int_equal(world_depth(w, &w->b).live_messages, 0);
}

static void
a_late_deferral_changes_nothing(void **state)
{
    struct world *w = *state;
    struct queue_job *second, *first = stall_and_lose(w, &second);
    struct msg_id id = queue_job_message(first)->id;
    assert_true(job_end(w, &w->a, first, QUEUE_DEFERRED));
    assert_int_equal(job_intend(w, &w->b, second), QUEUE_INTENT_STALE); /* a new revision */
    queue_job_release(w->b.q, second, 0);
    second = worker_job(w, &w->b); /* still due at once, not in an hour */
    assert_int_equal(job_intend(w, &w->b, second), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->b, second, QUEUE_DELIVERED));
    assert_int_equal(target_of(w, &w->b, id, 0).state, QUEUE_DELIVERED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(killed_before_a_commit),
        BARE(killed_with_a_commit_in_hand),
        BARE(killed_after_a_commit),
        BARE(killed_after_an_intent),
        BARE(killed_before_the_outcome_is_sent),
        BARE(killed_before_the_answer_to_an_outcome),
        BARE(killed_after_an_outcome),
        BARE(a_poison_delivery_is_held_after_three_crashes),
        BARE(uncertain_deliveries_can_be_held),
        ONE(a_late_fact_ends_what_was_recovered),
        ONE(a_late_fact_meets_a_second_attempt),
        ONE(a_late_fact_comes_after_the_second_attempt),
        ONE(a_late_deferral_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
