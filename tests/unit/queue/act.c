/* Operators' actions: what each does in each state, on some recipients, from a
 * worker without the lease, against attempts under way, and repeated. */
#include "tests/unit/support/queue_test.h"

#include "queue/operate.h"

struct acting {
    struct queue_action_op op;
    bool done;
};

static void
on_acted(struct queue_action_op *op)
{
    container_of(op, struct acting, op)->done = true;
}

static struct queue_action_op
act_from(struct world *w, struct worker *k, struct msg_id id, enum queue_action action)
{
    struct acting a = {.op = {.done = on_acted, .id = id, .action = action}};
    queue_action_start(&a.op, k->q);
    WORLD_UNTIL(w, a.done);
    return a.op;
}

static unsigned
act(struct world *w, struct msg_id id, enum queue_action action)
{
    struct queue_action_op op = act_from(w, &w->a, id, action);
    assert_int_equal(op.err.code, ERR_NONE);
    return op.affected;
}

static struct msg_id
put_two(struct world *w, unsigned partition)
{
    struct mail mail;
    mail_init(&mail, partition, "body");
    mail_add(&mail, "one.example", "a@one.example");
    mail_add(&mail, "one.example", "b@one.example");
    mail_add(&mail, "two.example", "c@two.example");
    mail_commit(w, &w->a, &mail);
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
what_is_held_waits_until_it_is_released(void **state)
{
    struct world *w = *state;
    struct msg_id id = put_two(w, 5);
    WORLD_UNTIL(w, w->a.job_count == 2);
    assert_int_equal(act(w, id, QUEUE_HOLD), 3);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled, 0);
    assert_int_equal(d.held, 2);
    assert_int_equal(d.live_messages, 1);
    /* What was handed out before is stale: nothing is sent of it. */
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_STALE);
    queue_job_release(w->a.q, job, 0);
    queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    assert_int_equal(act(w, id, QUEUE_HOLD), 0);
    world_run_ms(w, 100);
    assert_int_equal(w->a.job_count, 0);
    assert_int_equal(act(w, id, QUEUE_RELEASE), 3);
    WORLD_UNTIL(w, w->a.job_count == 2);
    d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled, 2);
    assert_int_equal(d.held, 0);
    job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:h:*"), 0);
    release_all(w);
}

static void
what_is_cancelled_is_finished(void **state)
{
    struct world *w = *state;
    struct msg_id id = put_two(w, 5);
    WORLD_UNTIL(w, w->a.job_count == 2);
    assert_int_equal(act(w, id, QUEUE_CANCEL), 3);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages + d.scheduled + d.held, 0);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    assert_int_equal(target_of(w, &w->a, id, 1).state, QUEUE_CANCELLED);
    assert_int_equal(act(w, id, QUEUE_CANCEL), 0);
    assert_int_equal(act(w, id, QUEUE_RELEASE), 0);
    assert_int_equal(act(w, id, QUEUE_RETRY), 0);
    while (w->a.job_count > 0) {
        struct queue_job *job = worker_job(w, &w->a);
        assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_STALE);
        queue_job_release(w->a.q, job, 0);
    }
    bool told = false;
    for (unsigned i = 0; i < w->a.event_count; i++)
        told |= strstr(w->a.events[i].text, "message.cancelled") != NULL;
    assert_true(told);
    struct key hist = key_of_part(5, KEY_HIST);
    assert_int_equal(redis_int(&w->redis, "ZCARD %b", hist.text, hist.n), 1 + 1);
}

static void
a_retry_is_due_now(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED)); /* in one hour */
    assert_int_equal(act(w, id, QUEUE_RETRY), 1);
    job = worker_job(w, &w->a);
    assert_int_equal(queue_job_delivery(job)->targets[0].state, QUEUE_DEFERRED);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
}

static void
some_recipients_only(void **state)
{
    struct world *w = *state;
    struct msg_id id = put_two(w, 5);
    struct slice names[2] = {SLICE("b@one.example"), SLICE("nobody@one.example")};
    struct acting a = {.op = {.done = on_acted,
                              .id = id,
                              .action = QUEUE_HOLD,
                              .recipients = names,
                              .recipient_count = 2}};
    release_all(w);
    queue_action_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.affected, 1);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled, 2); /* a@ still goes */
    assert_int_equal(d.held, 1);
    a.done = false;
    a.op.action = QUEUE_CANCEL;
    a.op.recipient_count = 1;
    queue_action_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.affected, 1);
    d = world_depth(w, &w->a);
    assert_int_equal(d.held, 0);
    assert_int_equal(d.scheduled, 2);
    release_all(w);
}

/* RTY-16: what is being attempted is left alone, and the attempt ends as it does. */
static void
what_is_in_flight_is_left_alone(void **state)
{
    struct world *w = *state;
    static const enum queue_action ALL[] = {QUEUE_RETRY, QUEUE_CANCEL, QUEUE_HOLD, QUEUE_RELEASE};
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    for (unsigned i = 0; i < ARRAY_LEN(ALL); i++) {
        struct queue_action_op op = act_from(w, &w->a, id, ALL[i]);
        assert_int_equal(op.err.code, ERR_NONE);
        assert_int_equal(op.affected, 0);
        assert_int_equal(op.in_flight, ALL[i] == QUEUE_RELEASE ? 0 : 1);
    }
    assert_true(queue_job_may_send_dot(w->a.q, job));
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(target_of(w, &w->a, id, 0).state, QUEUE_DELIVERED);
}

static void
race(struct world *w, enum queue_action action, unsigned *won)
{
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    struct acting a = {.op = {.done = on_acted, .id = id, .action = action}};
    queue_action_start(&a.op, w->b.q);
    bool sent = job_intend(w, &w->a, job) == QUEUE_INTENT_OK;
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_NONE);
    /* One of the two, never both, never none. */
    assert_int_equal(sent + a.op.affected, 1);
    *won += a.op.affected;
    if (sent)
        assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    else
        queue_job_release(w->a.q, job, 0);
}

/* RTY-16: an action of a worker without the lease and an attempt exclude each
 * other, whichever comes first. */
static void
an_action_and_an_attempt_exclude_each_other(void **state)
{
    struct world *w = *state;
    unsigned won = 0;
    w->b.cfg.jobs_in_memory_max = 1;
    w->a.cfg.lease_ms = 60000; /* a keeps everything */
    w->b.cfg.lease_ms = 60000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    worker_open(w, &w->b);
    for (unsigned i = 0; i < 20; i++) {
        race(w, QUEUE_HOLD, &won);
        race(w, QUEUE_CANCEL, &won);
    }
    assert_int_equal(world_depth(w, &w->a).inflight, 0);
}

/* The owner learns of what another worker has made due. */
static void
the_owner_hears_of_a_release(void **state)
{
    struct world *w = *state;
    w->a.cfg.lease_ms = 60000;
    w->b.cfg.lease_ms = 60000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    worker_open(w, &w->b);
    struct msg_id id = commit_one(w, &w->a, 5);
    queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    struct queue_action_op op = act_from(w, &w->b, id, QUEUE_HOLD);
    assert_int_equal(op.affected, 1);
    while (w->a.job_count > 0) /* it may have been handed out before */
        queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    world_run_ms(w, 100);
    assert_int_equal(w->a.job_count, 0);
    op = act_from(w, &w->b, id, QUEUE_RELEASE);
    assert_int_equal(op.affected, 1);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
}

static void
only_the_tenant_may_act(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct acting a = {
        .op = {.done = on_acted, .id = id, .action = QUEUE_CANCEL, .tenant = SLICE("tenant2")}};
    queue_action_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_NOT_FOUND);
    assert_int_equal(act_from(w, &w->a, id_new(5), QUEUE_CANCEL).err.code, ERR_NOT_FOUND);
    assert_int_equal(world_depth(w, &w->a).live_messages, 1);
    release_all(w);
}

/* The answers are lost with the links; asking again changes nothing twice. */
static void
an_action_can_be_repeated(void **state)
{
    struct world *w = *state;
    struct msg_id id = put_two(w, 5);
    release_all(w);
    bool away = false;
    for (unsigned i = 0; i < 6 || away; i++) {
        struct acting a = {.op = {.done = on_acted, .id = id, .action = QUEUE_HOLD}};
        queue_action_start(&a.op, w->a.q);
        if (i % 2 == 0)
            kill_clients(w);
        WORLD_UNTIL(w, a.done);
        away = a.op.err.code == ERR_AWAY;
        assert_true(a.op.err.code == ERR_NONE || away);
        world_run_ms(w, 50);
    }
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.held, 2);
    assert_int_equal(d.scheduled, 0);
}

static void
a_cancelled_action_ends_once(void **state)
{
    struct world *w = *state;
    struct acting a = {.op = {.done = on_acted, .id = id_new(5), .action = QUEUE_HOLD}};
    redis_pause(&w->redis);
    queue_action_start(&a.op, w->a.q);
    queue_action_cancel(&a.op);
    assert_false(a.done);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.err.code, ERR_CANCELLED);
    a.done = false;
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_false(a.done);
}

/* What a crash of the worker leaves held is counted and can be released. */
static void
what_finish_holds_can_be_released(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_HELD));
    assert_int_equal(world_depth(w, &w->a).held, 1);
    assert_int_equal(act(w, id, QUEUE_RELEASE), 1);
    assert_int_equal(world_depth(w, &w->a).held, 0);
    job = worker_job(w, &w->a);
    assert_int_equal(queue_job_delivery(job)->targets[0].state, QUEUE_DEFERRED);
    queue_job_release(w->a.q, job, 60000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(what_is_held_waits_until_it_is_released),
        ONE(what_is_cancelled_is_finished),
        ONE(a_retry_is_due_now),
        ONE(some_recipients_only),
        ONE(what_is_in_flight_is_left_alone),
        BARE(an_action_and_an_attempt_exclude_each_other),
        BARE(the_owner_hears_of_a_release),
        ONE(only_the_tenant_may_act),
        ONE(an_action_can_be_repeated),
        ONE(a_cancelled_action_ends_once),
        ONE(what_finish_holds_can_be_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
