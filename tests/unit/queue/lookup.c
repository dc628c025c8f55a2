/* Questions: found, another tenant's, too large, suppressed, cancelled, away. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

struct asking {
    struct queue_lookup_op op;
    unsigned done;
};

static void
on_found(struct queue_lookup_op *op)
{
    container_of(op, struct asking, op)->done++;
}

static struct err
ask(struct world *w, struct msg_id id, const char *tenant, size_t budget)
{
    struct arena arena;
    struct asking a = {
        .op = {.done = on_found, .id = id, .tenant = slice_str(tenant), .arena = &arena}};
    arena_init(&arena, budget);
    queue_lookup_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done > 0);
    assert_int_equal(a.op.message == NULL, a.op.err.code != ERR_NONE);
    arena_fini(&arena);
    return a.op.err;
}

static void
only_the_tenant_finds_its_message(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 9);
    assert_int_equal(ask(w, id, "tenant", 1 << 20).code, ERR_NONE);
    assert_int_equal(ask(w, id, "tenant2", 1 << 20).code, ERR_NOT_FOUND);
    assert_int_equal(ask(w, id, "", 1 << 20).code, ERR_NONE);
    assert_int_equal(ask(w, id_new(9), "tenant", 1 << 20).code, ERR_NOT_FOUND);
    assert_int_equal(ask(w, id, "tenant", 64).code, ERR_FULL);
    struct key m = key_of_message(id);
    freeReplyObject(redis_ask(&w->redis, "HDEL %b d0", m.text, m.n));
    assert_int_equal(ask(w, id, "tenant", 1 << 20).code, ERR_BAD);
}

static void
a_cancelled_lookup_ends_once(void **state)
{
    struct world *w = *state;
    struct arena arena;
    struct asking a = {.op = {.done = on_found, .id = id_new(9), .arena = &arena}};
    arena_init(&arena, 4096);
    redis_pause(&w->redis);
    queue_lookup_start(&a.op, w->a.q);
    queue_lookup_cancel(&a.op);
    assert_int_equal(a.done, 0);
    WORLD_UNTIL(w, a.done > 0);
    assert_int_equal(a.op.err.code, ERR_CANCELLED);
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_int_equal(a.done, 1);
    arena_fini(&arena);
}

struct suppressing {
    struct queue_suppressed_op op;
    unsigned done;
};

static void
on_suppressed(struct queue_suppressed_op *op)
{
    container_of(op, struct suppressing, op)->done++;
}

static void
suppress(struct world *w, const char *tenant, const char *address)
{
    struct buf key, field;
    buf_init(&key, 64);
    buf_init(&field, 64);
    queue_suppression_place(slice_str(tenant), slice_str(address), &key, &field);
    freeReplyObject(redis_ask(&w->redis, "HSET %b %b hard", buf_slice(&key).p, key.len,
                              buf_slice(&field).p, field.len));
    buf_fini(&key);
    buf_fini(&field);
}

static void
suppressions_are_per_tenant_and_in_order(void **state)
{
    struct world *w = *state;
    enum { N = 100 };
    static char text[N][32];
    struct slice address[N];
    bool suppressed[N];
    for (unsigned i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "user%u@example.org", i);
        address[i] = slice_str(text[i]);
        if (i % 3 == 0)
            suppress(w, "tenant", text[i]);
        else
            suppress(w, "other", text[i]);
    }
    struct suppressing s = {.op = {.done = on_suppressed,
                                   .tenant = SLICE("tenant"),
                                   .addresses = address,
                                   .count = N,
                                   .suppressed = suppressed}};
    queue_suppressed_start(&s.op, w->a.q);
    WORLD_UNTIL(w, s.done > 0);
    assert_int_equal(s.op.err.code, ERR_NONE);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(suppressed[i], i % 3 == 0);
    s.op.count = 0;
    queue_suppressed_start(&s.op, w->a.q);
    WORLD_UNTIL(w, s.done > 1);
    assert_int_equal(s.op.err.code, ERR_NONE);
}

static void
a_cancelled_suppression_question_ends_once(void **state)
{
    struct world *w = *state;
    struct slice address[2] = {SLICE("a@example.org"), SLICE("b@example.org")};
    bool suppressed[2];
    struct suppressing s = {
        .op = {.done = on_suppressed, .addresses = address, .count = 2, .suppressed = suppressed}};
    redis_pause(&w->redis);
    queue_suppressed_start(&s.op, w->a.q);
    queue_suppressed_cancel(&s.op);
    WORLD_UNTIL(w, s.done > 0);
    assert_int_equal(s.op.err.code, ERR_CANCELLED);
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_int_equal(s.done, 1);
}

struct sounding {
    struct queue_depth_op op;
    unsigned done;
};

static void
on_depth(struct queue_depth_op *op)
{
    container_of(op, struct sounding, op)->done++;
}

static void
depth_counts_and_cancels(void **state)
{
    struct world *w = *state;
    struct sounding s = {.op.done = on_depth};
    for (unsigned i = 0; i < 5; i++)
        commit_one(w, &w->a, i);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages, 5);
    assert_int_equal(d.scheduled, 5);
    assert_int_equal(d.inflight + d.notices, 0);
    queue_depth_start(&s.op, w->a.q);
    queue_depth_cancel(&s.op);
    WORLD_UNTIL(w, s.done > 0);
    assert_int_equal(s.op.err.code, ERR_CANCELLED);
    world_run_ms(w, 50);
    assert_int_equal(s.done, 1);
}

static void
without_redis_every_question_is_away(void **state)
{
    struct world *w = *state;
    struct slice address[1] = {SLICE("a@example.org")};
    bool suppressed[1];
    struct suppressing s = {
        .op = {.done = on_suppressed, .addresses = address, .count = 1, .suppressed = suppressed}};
    struct sounding d = {.op.done = on_depth};
    worker_start(w, &w->a); /* no link yet */
    assert_int_equal(ask(w, id_new(9), "tenant", 4096).code, ERR_AWAY);
    worker_close(w, &w->a);
    worker_start(w, &w->a);
    queue_suppressed_start(&s.op, w->a.q);
    queue_depth_start(&d.op, w->a.q);
    WORLD_UNTIL(w, s.done > 0 && d.done > 0);
    assert_int_equal(s.op.err.code, ERR_AWAY);
    assert_int_equal(d.op.err.code, ERR_AWAY);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(only_the_tenant_finds_its_message),
        ONE(a_cancelled_lookup_ends_once),
        ONE(suppressions_are_per_tenant_and_in_order),
        ONE(a_cancelled_suppression_question_ends_once),
        ONE(depth_counts_and_cancels),
        BARE(without_redis_every_question_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
