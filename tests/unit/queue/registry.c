/* Records of operators: read when they have changed, changed by who knows them. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/registry.h"
#include "relay/sys/base/limits.h"

struct reading {
    struct queue_registry_read_op op;
    unsigned done, entries;
    char last[64];
};

static void
on_entry(struct queue_registry_read_op *op, struct slice name, struct slice value)
{
    struct reading *r = container_of(op, struct reading, op);
    assert_int_equal(r->done, 0);
    r->entries++;
    snprintf(r->last, sizeof r->last, "%.*s=%.*s", SLICE_FMT(name), SLICE_FMT(value));
}

static void
on_read(struct queue_registry_read_op *op)
{
    container_of(op, struct reading, op)->done++;
}

static struct reading
read_all(struct world *w, struct worker *k, const char *kind, int64_t known)
{
    struct reading r = {.op = {.done = on_read, .each = on_entry, .kind = kind, .known = known}};
    queue_registry_read_start(&r.op, k->q);
    WORLD_UNTIL(w, r.done > 0);
    assert_int_equal(r.op.err.code, ERR_NONE);
    assert_string_equal(r.op.dataset, queue_dataset(k->q));
    assert_true(r.op.dataset[0] != '\0');
    return r;
}

struct putting {
    struct queue_registry_put_op op;
    unsigned done;
};

static void
on_put(struct queue_registry_put_op *op)
{
    container_of(op, struct putting, op)->done++;
}

static enum queue_registry_result
put(struct world *w, const char *name, const char *old, const char *value)
{
    struct putting p = {.op = {.done = on_put,
                               .kind = "credential",
                               .name = slice_str(name),
                               .old = slice_str(old),
                               .value = slice_str(value)}};
    queue_registry_put_start(&p.op, w->a.q);
    assert_int_equal(p.done, 0);
    WORLD_UNTIL(w, p.done > 0);
    return p.op.result;
}

static void
changes_are_seen_by_all(void **state)
{
    struct world *w = *state;
    struct reading r = read_all(w, &w->a, "credential", -1);
    assert_int_equal(r.entries, 0);
    int64_t empty = r.op.generation;
    assert_int_equal(put(w, "shop", "", "one"), REGISTRY_DONE);
    worker_open(w, &w->b);
    r = read_all(w, &w->b, "credential", empty);
    assert_int_equal(r.entries, 1);
    assert_string_equal(r.last, "shop=one");
    int64_t first = r.op.generation;
    assert_true(first > empty);
    r = read_all(w, &w->b, "credential", first); /* nothing new */
    assert_int_equal(r.entries, 0);
    assert_int_equal(r.op.generation, first);
    assert_int_equal(read_all(w, &w->b, "other", -1).entries, 0);

    assert_int_equal(put(w, "shop", "one", "two"), REGISTRY_DONE);
    assert_string_equal(read_all(w, &w->b, "credential", first).last, "shop=two");
    assert_int_equal(put(w, "shop", "two", ""), REGISTRY_DONE);
    r = read_all(w, &w->b, "credential", first);
    assert_int_equal(r.entries, 0);
    assert_true(r.op.generation > first);
}

/* Two operators change the same: one of them is told. */
static void
only_who_knows_it_changes_it(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "shop", "x", "one"), REGISTRY_CHANGED);
    assert_int_equal(put(w, "shop", "", "one"), REGISTRY_DONE);
    assert_int_equal(put(w, "shop", "", "two"), REGISTRY_CHANGED);
    assert_int_equal(put(w, "shop", "two", "three"), REGISTRY_CHANGED);
    assert_int_equal(put(w, "shop", "two", ""), REGISTRY_CHANGED);
    assert_string_equal(read_all(w, &w->a, "credential", -1).last, "shop=one");
}

static void
cancelled_ends_once(void **state)
{
    struct world *w = *state;
    struct reading r = {
        .op = {.done = on_read, .each = on_entry, .kind = "credential", .known = -1}};
    struct putting p = {
        .op = {.done = on_put, .kind = "credential", .name = SLICE("a"), .value = SLICE("b")}};
    redis_pause(&w->redis);
    queue_registry_read_start(&r.op, w->a.q);
    queue_registry_put_start(&p.op, w->a.q);
    queue_registry_read_cancel(&r.op);
    queue_registry_put_cancel(&p.op);
    WORLD_UNTIL(w, r.done > 0 && p.done > 0);
    assert_int_equal(r.op.err.code, ERR_CANCELLED);
    assert_int_equal(p.op.result, REGISTRY_AWAY);
    redis_resume(&w->redis);
    assert_string_equal(read_all(w, &w->a, "credential", -1).last, "a=b"); /* it came through */
    assert_int_equal(r.done + p.done, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(changes_are_seen_by_all),
        ONE(only_who_knows_it_changes_it),
        ONE(cancelled_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
