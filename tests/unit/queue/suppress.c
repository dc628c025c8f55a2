/* Suppression lists: put, asked, listed by pages, removed, older values, tenants,
 * and what waits for a suppressed address. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/operate.h"
#include "queue/suppression.h"
#include "relay/sys/base/limits.h"

struct one {
    struct queue_suppression_op op;
    bool done;
};

static void
on_one(struct queue_suppression_op *op)
{
    container_of(op, struct one, op)->done = true;
}

static struct queue_suppression_op
run(struct world *w, enum queue_suppression_verb verb, const char *tenant, const char *address)
{
    struct one o = {.op = {.done = on_one,
                           .verb = verb,
                           .tenant = slice_str(tenant),
                           .address = slice_str(address),
                           .entry.reason = QUEUE_SUPPRESSED_COMPLAINT}};
    queue_suppression_start(&o.op, w->a.q);
    WORLD_UNTIL(w, o.done);
    assert_int_equal(o.op.err.code, ERR_NONE);
    return o.op;
}

struct asking {
    struct queue_suppressed_op op;
    bool done;
};

static void
on_suppressed(struct queue_suppressed_op *op)
{
    container_of(op, struct asking, op)->done = true;
}

static bool
is_suppressed(struct world *w, const char *tenant, const char *address)
{
    struct slice addresses[1] = {slice_str(address)};
    bool suppressed[1];
    struct asking a = {.op = {.done = on_suppressed,
                              .tenant = slice_str(tenant),
                              .addresses = addresses,
                              .count = 1,
                              .suppressed = suppressed}};
    queue_suppressed_start(&a.op, w->a.q);
    WORLD_UNTIL(w, a.done);
    return suppressed[0];
}

static void
an_entry_is_put_asked_and_removed(void **state)
{
    struct world *w = *state;
    struct queue_suppression_op op = run(w, QUEUE_SUPPRESSION_GET, "one", "a@b.example");
    assert_false(op.existed);
    assert_false(run(w, QUEUE_SUPPRESSION_PUT, "one", "a@b.example").existed);
    assert_true(is_suppressed(w, "one", "a@b.example"));
    assert_false(is_suppressed(w, "two", "a@b.example"));
    op = run(w, QUEUE_SUPPRESSION_GET, "one", "a@b.example");
    assert_true(op.existed);
    assert_int_equal(op.entry.reason, QUEUE_SUPPRESSED_COMPLAINT);
    assert_true(op.entry.created_unix_ms > 0);
    assert_true(run(w, QUEUE_SUPPRESSION_PUT, "one", "a@b.example").existed);
    assert_true(run(w, QUEUE_SUPPRESSION_REMOVE, "one", "a@b.example").existed);
    assert_false(run(w, QUEUE_SUPPRESSION_REMOVE, "one", "a@b.example").existed);
    assert_false(is_suppressed(w, "one", "a@b.example"));
    assert_int_equal(redis_count_keys(&w->redis, "sp:{s*"), 0);
}

static void
a_value_of_old_is_an_entry(void **state)
{
    struct world *w = *state;
    struct buf key, field;
    buf_init(&key, 64);
    buf_init(&field, 64);
    queue_suppression_place(SLICE("one"), SLICE("a@b.example"), &key, &field);
    freeReplyObject(redis_ask(&w->redis, "HSET %b %b 1", buf_slice(&key).p, key.len,
                              buf_slice(&field).p, field.len));
    struct queue_suppression_op op = run(w, QUEUE_SUPPRESSION_GET, "one", "a@b.example");
    assert_true(op.existed);
    assert_int_equal(op.entry.reason, QUEUE_SUPPRESSED_MANUAL);
    assert_int_equal(op.entry.created_unix_ms, 0);
    assert_true(run(w, QUEUE_SUPPRESSION_REMOVE, "one", "a@b.example").existed);
    buf_fini(&key);
    buf_fini(&field);
}

struct listing {
    struct queue_suppressions_op op;
    struct arena arena;
    bool done;
};

static void
on_listed(struct queue_suppressions_op *op)
{
    container_of(op, struct listing, op)->done = true;
}

/* All pages; each entry must come once. */
static unsigned
count_all(struct world *w, const char *tenant, unsigned limit, bool *seen)
{
    struct listing l = {
        .op = {.done = on_listed, .tenant = slice_str(tenant), .limit = limit, .arena = &l.arena}};
    unsigned total = 0;
    arena_init(&l.arena, 1 << 20);
    do {
        l.done = false;
        queue_suppressions_start(&l.op, w->a.q);
        WORLD_UNTIL(w, l.done);
        assert_int_equal(l.op.err.code, ERR_NONE);
        assert_true(l.op.count <= limit);
        for (unsigned i = 0; i < l.op.count; i++) {
            unsigned n;
            char text[64];
            assert_true(slice_to_cstr(l.op.entries[i].address, text, sizeof text));
            assert_int_equal(sscanf(text, "user%u@example.org", &n), 1);
            assert_false(seen[n]);
            seen[n] = true;
        }
        total += l.op.count;
        memcpy(l.op.after, l.op.next, sizeof l.op.after);
        l.op.has_after = true;
    } while (l.op.has_more);
    arena_fini(&l.arena);
    return total;
}

static void
lists_come_by_pages(void **state)
{
    struct world *w = *state;
    enum { N = 100 };
    for (unsigned i = 0; i < N; i++) {
        char address[64];
        snprintf(address, sizeof address, "user%u@example.org", i);
        run(w, QUEUE_SUPPRESSION_PUT, i % 4 == 0 ? "two" : "one", address);
    }
    static const unsigned LIMITS[] = {1, 7, 100};
    for (unsigned i = 0; i < ARRAY_LEN(LIMITS); i++) {
        bool one[N] = {false}, two[N] = {false}, all[N] = {false}, none[N] = {false};
        assert_int_equal(count_all(w, "one", LIMITS[i], one), 75);
        assert_int_equal(count_all(w, "two", LIMITS[i], two), 25);
        assert_int_equal(count_all(w, "", LIMITS[i], all), N);
        assert_int_equal(count_all(w, "three", LIMITS[i], none), 0);
    }
}

static struct queue_suppressions_op
page(struct world *w, const char *tenant, const uint8_t *after, struct arena *arena)
{
    struct listing l = {
        .op = {.done = on_listed, .tenant = slice_str(tenant), .limit = 9, .arena = arena}};
    l.op.has_after = after != NULL;
    if (after != NULL)
        memcpy(l.op.after, after, sizeof l.op.after);
    queue_suppressions_start(&l.op, w->a.q);
    WORLD_UNTIL(w, l.done);
    return l.op;
}

/* What is between two tenants in the index is neither's to walk through. */
static void
a_cursor_of_another_tenant_is_none(void **state)
{
    struct world *w = *state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (unsigned i = 0; i < 20; i++) {
        char address[64];
        snprintf(address, sizeof address, "user%u@example.org", i);
        run(w, QUEUE_SUPPRESSION_PUT, i % 2 == 0 ? "two" : "one", address);
    }
    struct queue_suppressions_op one = page(w, "one", NULL, &arena),
                                 two = page(w, "two", NULL, &arena);
    struct queue_suppressions_op odd = page(w, "one", two.next, &arena);
    assert_int_equal(odd.count, one.count);
    assert_memory_equal(odd.next, one.next, sizeof odd.next);
    arena_fini(&arena);
}

static void
broken_values_are_refused(void **state)
{
    (void)state;
    struct queue_suppression s = {.tenant = SLICE("t"),
                                  .address = SLICE("a@b.example"),
                                  .reason = QUEUE_SUPPRESSED_HARD_BOUNCE,
                                  .created_unix_ms = 1700000000000},
                             got;
    struct buf b;
    buf_init(&b, 256);
    assert_true(suppression_encode(&b, &s));
    assert_true(suppression_decode(buf_slice(&b), &got));
    assert_true(slice_eq(got.address, s.address));
    assert_int_equal(got.reason, s.reason);
    for (size_t n = 0; n < b.len; n++)
        assert_false(suppression_decode(slice_from(buf_slice(&b).p, n), &got));
    buf_add_char(&b, 'x');
    assert_false(suppression_decode(buf_slice(&b), &got));
    buf_fini(&b);
}

struct sweeping {
    struct queue_sweep_op op;
    bool done;
};

static void
on_swept(struct queue_sweep_op *op)
{
    container_of(op, struct sweeping, op)->done = true;
}

/* RTY-17: what waits for the address is suppressed, nothing else, and nobody is
 * sent a report. */
static void
what_waits_for_the_address_is_suppressed(void **state)
{
    struct world *w = *state;
    struct mail mail;
    mail_init(&mail, 5, "body");
    mail_add(&mail, "one.example", "a@one.example");
    mail_add(&mail, "one.example", "b@one.example");
    mail_commit(w, &w->a, &mail);
    queue_job_release(w->a.q, worker_job(w, &w->a), 600000);
    struct sweeping s = {.op = {.done = on_swept,
                                .tenant = SLICE("tenant"),
                                .recipient = SLICE("a@one.example"),
                                .action = QUEUE_SUPPRESS}};
    queue_sweep_start(&s.op, w->a.q);
    WORLD_UNTIL(w, s.done);
    assert_int_equal(s.op.err.code, ERR_NONE);
    assert_int_equal(s.op.affected, 1);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct queue_message *m = world_lookup(w, &w->a, mail.m.id, &arena);
    assert_int_equal(m->deliveries[0].targets[0].state, QUEUE_SUPPRESSED);
    assert_int_equal(m->deliveries[0].targets[1].state, QUEUE_QUEUED);
    arena_fini(&arena);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.scheduled, 1);
    assert_int_equal(d.notices, 0);
    s.done = false;
    s.op.tenant = SLICE("other");
    s.op.recipient = SLICE("b@one.example");
    queue_sweep_start(&s.op, w->a.q);
    WORLD_UNTIL(w, s.done);
    assert_int_equal(s.op.affected, 0);
    mail_fini(&mail);
}

static void
cancelled_operations_end_once(void **state)
{
    struct world *w = *state;
    struct one o = {.op = {.done = on_one, .tenant = SLICE("t"), .address = SLICE("a@b.example")}};
    struct listing l = {.op = {.done = on_listed, .limit = 5, .arena = &l.arena}};
    arena_init(&l.arena, 1 << 16);
    redis_pause(&w->redis);
    queue_suppression_start(&o.op, w->a.q);
    queue_suppressions_start(&l.op, w->a.q);
    queue_suppression_cancel(&o.op);
    queue_suppressions_cancel(&l.op);
    assert_false(o.done || l.done);
    WORLD_UNTIL(w, o.done && l.done);
    assert_int_equal(o.op.err.code, ERR_CANCELLED);
    assert_int_equal(l.op.err.code, ERR_CANCELLED);
    o.done = l.done = false;
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_false(o.done || l.done);
    arena_fini(&l.arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(an_entry_is_put_asked_and_removed),
        ONE(a_value_of_old_is_an_entry),
        ONE(lists_come_by_pages),
        ONE(a_cursor_of_another_tenant_is_none),
        cmocka_unit_test(broken_values_are_refused),
        ONE(what_waits_for_the_address_is_suppressed),
        ONE(cancelled_operations_end_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
