/* Everything of one submitter, over all partitions: held, released, cancelled;
 * repeated and interrupted. */
#include "tests/unit/support/queue_test.h"

#include "queue/operate.h"

enum { MANY = 80 };

struct sweeping {
    struct queue_sweep_op op;
    bool done;
};

static void
on_swept(struct queue_sweep_op *op)
{
    container_of(op, struct sweeping, op)->done = true;
}

static uint64_t
sweep(struct world *w, const char *submitter, enum queue_action action)
{
    struct sweeping s = {
        .op = {.done = on_swept, .submitter = slice_str(submitter), .action = action}};
    queue_sweep_start(&s.op, w->a.q);
    WORLD_UNTIL(w, s.done);
    assert_int_equal(s.op.err.code, ERR_NONE);
    return s.op.affected;
}

static struct msg_id
put(struct world *w, unsigned partition, const char *submitter)
{
    struct mail mail;
    mail_init(&mail, partition, "body");
    mail.m.submitter = slice_str(submitter);
    mail_add(&mail, "one.example", "a@one.example");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    mail_fini(&mail);
    return mail.m.id;
}

static void
release_all(struct world *w)
{
    while (w->a.job_count > 0)
        queue_job_release(w->a.q, worker_job(w, &w->a), 0);
}

static void
all_of_one_submitter_and_nothing_else(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < MANY; i++) /* half of them in one partition: several pages */
        put(w, i % 2 == 0 ? 9 : i, "shop");
    put(w, 9, "other");
    assert_int_equal(sweep(w, "shop", QUEUE_HOLD), MANY);
    assert_int_equal(sweep(w, "shop", QUEUE_HOLD), 0);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.held, MANY);
    assert_int_equal(d.scheduled, 1);
    assert_int_equal(sweep(w, "shop", QUEUE_RELEASE), MANY);
    assert_int_equal(world_depth(w, &w->a).scheduled, MANY + 1);
    assert_int_equal(sweep(w, "shop", QUEUE_HOLD), MANY);
    assert_int_equal(sweep(w, "shop", QUEUE_CANCEL), MANY);
    assert_int_equal(sweep(w, "shop", QUEUE_CANCEL), 0);
    d = world_depth(w, &w->a);
    assert_int_equal(d.held, 0);
    assert_int_equal(d.live_messages, 1);
    release_all(w);
}

/* A sweep gives back what a sweep took, not what waits for a person's decision. */
static void
what_may_have_been_delivered_stays_held(void **state)
{
    struct world *w = *state;
    put(w, 5, "shop");
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    queue_job_delivery(job)->targets[0].uncertain = true;
    assert_false(job_end(w, &w->a, job, QUEUE_HELD));
    assert_int_equal(sweep(w, "shop", QUEUE_RELEASE), 0);
    put(w, 5, "shop");
    job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    queue_job_delivery(job)->targets[0].uncertain = true; /* but goes on being tried */
    assert_false(job_end(w, &w->a, job, QUEUE_DEFERRED));
    assert_int_equal(sweep(w, "shop", QUEUE_HOLD), 1);
    assert_int_equal(world_depth(w, &w->a).held, 2);
    assert_int_equal(sweep(w, "shop", QUEUE_RELEASE), 1);
    assert_int_equal(world_depth(w, &w->a).held, 1);
    release_all(w);
}

static void
an_interrupted_sweep_begins_again(void **state)
{
    struct world *w = *state;
    uint64_t affected = 0;
    struct sweeping s;
    for (unsigned i = 0; i < MANY; i++)
        put(w, i, "shop");
    for (unsigned i = 0; i < 3; i++) {
        s = (struct sweeping){
            .op = {.done = on_swept, .submitter = SLICE("shop"), .action = QUEUE_HOLD}};
        queue_sweep_start(&s.op, w->a.q);
        world_run_ms(w, i);
        kill_clients(w);
        WORLD_UNTIL(w, s.done);
        affected += s.op.affected;
        WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    }
    do {
        s.done = false;
        queue_sweep_start(&s.op, w->a.q);
        WORLD_UNTIL(w, s.done);
        affected += s.op.affected;
    } while (s.op.err.code == ERR_AWAY);
    assert_int_equal(s.op.err.code, ERR_NONE);
    assert_true(affected <= MANY);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.held, MANY);
    assert_int_equal(d.scheduled, 0);
    release_all(w);
}

static void
a_cancelled_sweep_ends_once(void **state)
{
    struct world *w = *state;
    struct sweeping s = {
        .op = {.done = on_swept, .submitter = SLICE("shop"), .action = QUEUE_HOLD}};
    for (unsigned i = 0; i < 10; i++)
        put(w, i, "shop");
    queue_sweep_start(&s.op, w->a.q);
    queue_sweep_cancel(&s.op);
    assert_false(s.done);
    WORLD_UNTIL(w, s.done);
    assert_int_equal(s.op.err.code, ERR_CANCELLED);
    s.done = false;
    world_run_ms(w, 200);
    assert_false(s.done);
    release_all(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(all_of_one_submitter_and_nothing_else),
        ONE(what_may_have_been_delivered_stays_held),
        ONE(an_interrupted_sweep_begins_again),
        ONE(a_cancelled_sweep_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
