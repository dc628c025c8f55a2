/* What is known of one message: events of every kind in order, the bound of the
 * trace, bytes while they are kept, other tenants, cancelling. */
#include "tests/unit/support/queue_test.h"

#include "queue/operate.h"

enum { ARENA = 8 << 20 };

static void
on_ended(struct queue_finish_op *op)
{
    container_of(op, struct ending, op)->done = true;
}

struct asking {
    struct queue_events_op op;
    struct arena arena;
    bool done;
};

static void
on_events(struct queue_events_op *op)
{
    container_of(op, struct asking, op)->done = true;
}

static void
ask(struct world *w, struct asking *a, struct msg_id id, const char *tenant)
{
    memset(a, 0, sizeof *a);
    arena_init(&a->arena, ARENA);
    a->op = (struct queue_events_op){
        .done = on_events, .id = id, .tenant = slice_str(tenant), .arena = &a->arena};
    queue_events_start(&a->op, w->a.q);
    WORLD_UNTIL(w, a->done);
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

static void
act(struct world *w, struct msg_id id, enum queue_action action)
{
    struct acting a = {.op = {.done = on_acted, .id = id, .action = action}};
    queue_action_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    assert_int_equal(a.op.affected, 1);
}

static struct queue_job *
attempt(struct world *w)
{
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    return job;
}

static void
everything_is_told_in_order(void **state)
{
    struct world *w = *state;
    static const enum queue_event_kind KINDS[] = {
        QUEUE_EVENT_ACCEPTED, QUEUE_EVENT_DEFERRED, QUEUE_EVENT_HELD,    QUEUE_EVENT_RELEASED,
        QUEUE_EVENT_DEFERRED, QUEUE_EVENT_RETRIED,  QUEUE_EVENT_BOUNCED, QUEUE_EVENT_NOTICE};
    struct msg_id id = commit_one(w, &w->a, 5);
    struct asking a;
    assert_false(job_end(w, &w->a, attempt(w), QUEUE_DEFERRED));
    act(w, id, QUEUE_HOLD);
    act(w, id, QUEUE_RELEASE);
    assert_false(job_end(w, &w->a, attempt(w), QUEUE_DEFERRED));
    act(w, id, QUEUE_RETRY);
    assert_false(job_end(w, &w->a, attempt(w), QUEUE_BOUNCED));
    WORLD_UNTIL(w, w->a.notice_count > 0);
    struct mail mail;
    mail_init(&mail, 5, "report");
    mail_add(&mail, "sender.example", "s@sender.example");
    assert_false(notice_pay(w, &w->a, w->a.notices[0], &mail));
    ask(w, &a, id, "tenant");
    assert_int_equal(a.op.err.code, ERR_NONE);
    assert_int_equal(a.op.count, ARRAY_LEN(KINDS));
    for (unsigned i = 0; i < ARRAY_LEN(KINDS); i++) {
        assert_int_equal(a.op.events[i].kind, KINDS[i]);
        assert_true(i == 0 || a.op.events[i].at_unix_ms >= a.op.events[i - 1].at_unix_ms);
        assert_true(i == 0 || slice_eq(a.op.events[i].recipient, SLICE("user@example.org")));
    }
    assert_true(slice_eq(a.op.events[1].reply, SLICE("deferred")));
    assert_int_equal(a.op.events[1].attempt, 1);
    assert_true(a.op.events[1].retry_at_unix_ms > a.op.events[1].at_unix_ms);
    assert_int_equal(a.op.events[6].attempt, 3);
    assert_int_equal(a.op.events[6].retry_at_unix_ms, 0);
    assert_true(id_eq(a.op.events[7].notice_id, mail.m.id));
    arena_fini(&a.arena);
    ask(w, &a, id, "tenant2");
    assert_int_equal(a.op.err.code, ERR_NOT_FOUND);
    arena_fini(&a.arena);
    while (w->a.job_count > 0)
        queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    mail_fini(&mail);
}

static void
the_suppressed_and_the_cancelled_are_told(void **state)
{
    struct world *w = *state;
    struct mail mail;
    struct asking a;
    mail_init(&mail, 5, "body");
    mail_add(&mail, "one.example", "a@one.example")->state = QUEUE_SUPPRESSED;
    mail_add(&mail, "two.example", "b@two.example");
    mail_commit(w, &w->a, &mail);
    act(w, mail.m.id, QUEUE_CANCEL);
    ask(w, &a, mail.m.id, "");
    assert_int_equal(a.op.count, 3);
    assert_int_equal(a.op.events[1].kind, QUEUE_EVENT_SUPPRESSED);
    assert_true(slice_eq(a.op.events[1].recipient, SLICE("a@one.example")));
    assert_int_equal(a.op.events[2].kind, QUEUE_EVENT_CANCELLED);
    assert_true(slice_eq(a.op.events[2].recipient, SLICE("b@two.example")));
    arena_fini(&a.arena);
    while (w->a.job_count > 0)
        queue_job_release(w->a.q, worker_job(w, &w->a), 0);
    mail_fini(&mail);
}

/* A crash of the owner is told as an attempt of which nobody knows. */
static void
a_lost_attempt_is_told_as_uncertain(void **state)
{
    struct world *w = *state;
    struct asking a;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    struct key inflight = key_of_part(5, KEY_INFLIGHT);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    /* As if a dead process had begun it. */
    redisReply *r = redis_ask(&w->redis, "HGETALL %b", inflight.text, inflight.n);
    for (size_t i = 0; i + 1 < r->elements; i += 2)
        if (r->element[i]->len > 0) {
            r->element[i + 1]->str[1]++; /* another attempt */
            freeReplyObject(redis_ask(&w->redis, "HSET %b %b %b", inflight.text, inflight.n,
                                      r->element[i]->str, r->element[i]->len,
                                      r->element[i + 1]->str, r->element[i + 1]->len));
        }
    freeReplyObject(r);
    worker_open(w, &w->b);
    assert_true(job_end(w, &w->a, job, QUEUE_DEFERRED)); /* merged: it is not this attempt */
    worker_close(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) == QUEUE_PARTITIONS);
    WORLD_UNTIL(w, target_of(w, &w->b, id, 0).uncertain);
    memset(&a, 0, sizeof a);
    arena_init(&a.arena, ARENA);
    a.op = (struct queue_events_op){.done = on_events, .id = id, .arena = &a.arena};
    queue_events_start(&a.op, w->b.q);
    WORLD_UNTIL(w, a.done);
    assert_true(a.op.count >= 2);
    assert_true(a.op.events[a.op.count - 1].uncertain);
    arena_fini(&a.arena);
}

/* Hundreds of attempts with long replies: the first and the last ones stay, and
 * the account knows every byte. */
static void
a_long_story_loses_its_middle(void **state)
{
    struct world *w = *state;
    enum { ATTEMPTS = 60, REPLY = 1500 };
    static char text[REPLY];
    struct asking a;
    struct msg_id id = commit_one(w, &w->a, 5);
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        struct queue_job *job = attempt(w);
        struct queue_target *t = &queue_job_delivery(job)->targets[0];
        struct ending e = {.op = {.done = on_ended, .retry_at_unix_ms = clock_sched_unix_ms()}};
        memcpy(text, &i, sizeof i);
        t->state = QUEUE_DEFERRED;
        queue_job_delivery(job)->attempts = ++t->attempts;
        queue_job_set_reply(job, 0, slice_from(text, sizeof text));
        e.op.retry_at_unix_ms += 3600000;
        queue_finish_start(&e.op, w->a.q, job);
        WORLD_UNTIL(w, e.done);
        act(w, id, QUEUE_RETRY);
    }
    ask(w, &a, id, "");
    assert_int_equal(a.op.events[0].kind, QUEUE_EVENT_ACCEPTED);
    assert_int_equal(a.op.events[1].attempt, 1);
    assert_int_equal(a.op.events[a.op.count - 1].attempt, ATTEMPTS);
    assert_int_equal(a.op.count + a.op.dropped, 1 + 2 * ATTEMPTS);
    arena_fini(&a.arena);
    queue_job_release(w->a.q, worker_job(w, &w->a), 60000);
}

struct reading {
    struct queue_raw_op op;
    bool done;
};

static void
on_raw(struct queue_raw_op *op)
{
    container_of(op, struct reading, op)->done = true;
}

static struct reading
read_raw(struct world *w, struct msg_id id, const char *tenant)
{
    struct reading r = {.op = {.done = on_raw, .id = id, .tenant = slice_str(tenant)}};
    queue_raw_start(&r.op, w->a.q);
    WORLD_UNTIL(w, r.done);
    return r;
}

static void
bytes_are_there_until_the_message_is_finished(void **state)
{
    struct world *w = *state;
    struct slice bytes = random_body(700000); /* several chunks */
    struct mail mail;
    mail_init(&mail, 5, "");
    mail_body(&mail, bytes);
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    struct reading r = read_raw(w, mail.m.id, "tenant");
    assert_int_equal(r.op.err.code, ERR_NONE);
    assert_true(slice_eq(blob_slice(r.op.content.rest), bytes));
    content_unref(&r.op.content);
    assert_int_equal(read_raw(w, mail.m.id, "tenant2").op.err.code, ERR_NOT_FOUND);
    assert_int_equal(read_raw(w, id_new(5), "").op.err.code, ERR_NOT_FOUND);
    assert_false(job_end(w, &w->a, attempt(w), QUEUE_DELIVERED));
    assert_int_equal(read_raw(w, mail.m.id, "tenant").op.err.code, ERR_STALE);
    mail_fini(&mail);
    free((void *)(uintptr_t)bytes.p);
}

static void
cancelled_questions_end_once(void **state)
{
    struct world *w = *state;
    struct asking a = {.op = {.done = on_events, .id = id_new(5), .arena = &a.arena}};
    struct reading r = {.op = {.done = on_raw, .id = id_new(5)}};
    arena_init(&a.arena, ARENA);
    redis_pause(&w->redis);
    queue_events_start(&a.op, w->a.q);
    queue_raw_start(&r.op, w->a.q);
    queue_events_cancel(&a.op);
    queue_raw_cancel(&r.op);
    assert_false(a.done || r.done);
    WORLD_UNTIL(w, a.done && r.done);
    assert_int_equal(a.op.err.code, ERR_CANCELLED);
    assert_int_equal(r.op.err.code, ERR_CANCELLED);
    a.done = r.done = false;
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_false(a.done || r.done);
    arena_fini(&a.arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(everything_is_told_in_order),
        ONE(the_suppressed_and_the_cancelled_are_told),
        ONE(a_lost_attempt_is_told_as_uncertain),
        ONE(a_long_story_loses_its_middle),
        ONE(bytes_are_there_until_the_message_is_finished),
        ONE(cancelled_questions_end_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
