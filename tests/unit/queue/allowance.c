/* What a submitter may have: taken whole or not at all, given back, shared. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/allowance.h"
#include "relay/sys/base/limits.h"

enum { PERIOD_MS = 3600000 };

struct asking {
    struct queue_allow_op op;
    unsigned done;
};

static void
on_allowed(struct queue_allow_op *op)
{
    container_of(op, struct asking, op)->done++;
}

static const struct slice PEOPLE[] = {SLICE("a@x.example"), SLICE("b@x.example"),
                                      SLICE("c@x.example"), SLICE("d@x.example"),
                                      SLICE("e@x.example"), SLICE("f@x.example")};

static enum queue_allow_result
take(struct world *w, struct worker *k, struct asking *a, struct queue_allowance limits,
     unsigned first, unsigned count)
{
    *a = (struct asking){.op = {.done = on_allowed,
                                .submitter = SLICE("shop"),
                                .limits = limits,
                                .recipients = &PEOPLE[first],
                                .count = count}};
    queue_allow_start(&a->op, k->q);
    assert_int_equal(a->done, 0);
    WORLD_UNTIL(w, a->done > 0);
    return a->op.result;
}

static enum queue_allow_result
take_and_settle(struct world *w, struct queue_allowance limits, unsigned first, unsigned count,
                bool keep)
{
    struct asking a;
    enum queue_allow_result r = take(w, &w->a, &a, limits, first, count);
    if (r == QUEUE_ALLOWED)
        queue_allow_settle(&a.op, keep);
    world_run_ms(w, 20);
    return r;
}

static void
a_rate_is_a_bucket(void **state)
{
    struct world *w = *state;
    const struct queue_allowance five = {.rate = 5, .per_ms = PERIOD_MS};
    struct asking a;
    assert_int_equal(take(w, &w->a, &a, five, 0, 3), QUEUE_ALLOWED);
    assert_int_equal(a.op.rate_left, 2);
    assert_true(a.op.rate_full_ms > 0 && a.op.rate_full_ms <= PERIOD_MS / 5 * 3);
    queue_allow_settle(&a.op, true);
    assert_int_equal(take_and_settle(w, five, 0, 2, true), QUEUE_ALLOWED);
    assert_int_equal(take(w, &w->a, &a, five, 0, 2), QUEUE_OVER_RATE);
    /* two fifths of the period, less what has passed */
    assert_true(a.op.wait_ms > PERIOD_MS / 5 && a.op.wait_ms <= PERIOD_MS / 5 * 2);
    assert_int_equal(take(w, &w->a, &a, five, 0, 1), QUEUE_OVER_RATE);
    assert_true(a.op.wait_ms <= PERIOD_MS / 5);
}

/* A bucket fills by time: with a short period it can be waited for. */
static void
a_rate_comes_back(void **state)
{
    struct world *w = *state;
    const struct queue_allowance one = {.rate = 1, .per_ms = 300};
    assert_int_equal(take_and_settle(w, one, 0, 1, true), QUEUE_ALLOWED);
    struct asking a;
    enum queue_allow_result r;
    for (uint64_t limit = world_limit(); (r = take(w, &w->a, &a, one, 0, 1)) == QUEUE_OVER_RATE;)
        world_turn(w, limit, "the rate comes back");
    assert_int_equal(r, QUEUE_ALLOWED);
    queue_allow_settle(&a.op, true);
}

static void
a_day_has_an_end(void **state)
{
    struct world *w = *state;
    const struct queue_allowance four = {.daily = 4};
    struct asking a;
    assert_int_equal(take(w, &w->a, &a, four, 0, 3), QUEUE_ALLOWED);
    assert_int_equal(a.op.daily_left, 1);
    queue_allow_settle(&a.op, true);
    assert_int_equal(take(w, &w->a, &a, four, 0, 2), QUEUE_OVER_DAILY);
    assert_true(a.op.wait_ms > 0 && a.op.wait_ms <= 86400000);
    assert_int_equal(take_and_settle(w, four, 0, 1, true), QUEUE_ALLOWED);
    assert_int_equal(take_and_settle(w, four, 0, 1, true), QUEUE_OVER_DAILY);
    /* yesterday's count is nobody's */
    struct redisReply *keys = redis_ask(&w->redis, "KEYS sp:*:allow:*");
    assert_int_equal(keys->elements, 1);
    redis_int(&w->redis, "HINCRBY %s day -1", keys->element[0]->str);
    freeReplyObject(keys);
    assert_int_equal(take_and_settle(w, four, 0, 4, true), QUEUE_ALLOWED);
}

static void
only_first_time_recipients_are_fresh(void **state)
{
    struct world *w = *state;
    const struct queue_allowance two = {.fresh = 2};
    assert_int_equal(take_and_settle(w, two, 0, 2, true), QUEUE_ALLOWED);
    assert_int_equal(take_and_settle(w, two, 0, 2, true), QUEUE_ALLOWED); /* known now */
    assert_int_equal(take_and_settle(w, two, 1, 2, true), QUEUE_OVER_FRESH);
    assert_int_equal(take_and_settle(w, two, 2, 1, true), QUEUE_OVER_FRESH);
    assert_int_equal(take_and_settle(w, two, 0, 1, true), QUEUE_ALLOWED);
}

/* What was refused took nothing, also when another limit would have allowed it. */
static void
all_or_nothing(void **state)
{
    struct world *w = *state;
    const struct queue_allowance both = {.rate = 5, .per_ms = PERIOD_MS, .daily = 3, .fresh = 3};
    assert_int_equal(take_and_settle(w, both, 0, 4, true), QUEUE_OVER_DAILY);
    assert_int_equal(take_and_settle(w, both, 0, 3, true), QUEUE_ALLOWED);
    struct asking a;
    const struct queue_allowance rate = {.rate = 5, .per_ms = PERIOD_MS};
    assert_int_equal(take(w, &w->a, &a, rate, 0, 2), QUEUE_ALLOWED);
    queue_allow_settle(&a.op, true);
}

static void
what_is_given_back_is_there_again(void **state)
{
    struct world *w = *state;
    const struct queue_allowance tight = {.rate = 3, .per_ms = PERIOD_MS, .daily = 3, .fresh = 3};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(take_and_settle(w, tight, 0, 3, false), QUEUE_ALLOWED);
        assert_int_equal(take_and_settle(w, tight, 3, 3, false), QUEUE_ALLOWED);
    }
    assert_int_equal(take_and_settle(w, tight, 0, 3, true), QUEUE_ALLOWED);
    assert_int_equal(take_and_settle(w, tight, 3, 1, true), QUEUE_OVER_RATE);
    struct redisReply *keys = redis_ask(&w->redis, "KEYS sp:*:seen:*");
    assert_int_equal(keys->elements, 1);
    assert_int_equal(redis_int(&w->redis, "ZCARD %s", keys->element[0]->str), 3);
    freeReplyObject(keys);
}

static void
workers_count_together_and_submitters_apart(void **state)
{
    struct world *w = *state;
    const struct queue_allowance one = {.rate = 1, .per_ms = PERIOD_MS};
    struct asking a;
    worker_open(w, &w->b);
    assert_int_equal(take(w, &w->a, &a, one, 0, 1), QUEUE_ALLOWED);
    queue_allow_settle(&a.op, true);
    assert_int_equal(take(w, &w->b, &a, one, 0, 1), QUEUE_OVER_RATE);
    a = (struct asking){.op = {.done = on_allowed,
                               .submitter = SLICE("other"),
                               .limits = one,
                               .recipients = PEOPLE,
                               .count = 1}};
    queue_allow_start(&a.op, w->b.q);
    WORLD_UNTIL(w, a.done > 0);
    assert_int_equal(a.op.result, QUEUE_ALLOWED);
    queue_allow_settle(&a.op, true);
}

/* The answer comes after the cancelling: it is given back. */
static void
cancelled_takes_nothing(void **state)
{
    struct world *w = *state;
    const struct queue_allowance one = {.daily = 1};
    struct asking a = {.op = {.done = on_allowed,
                              .submitter = SLICE("shop"),
                              .limits = one,
                              .recipients = PEOPLE,
                              .count = 1}};
    redis_pause(&w->redis);
    queue_allow_start(&a.op, w->a.q);
    queue_allow_cancel(&a.op);
    assert_int_equal(a.done, 0);
    WORLD_UNTIL(w, a.done > 0);
    assert_int_equal(a.op.result, QUEUE_ALLOW_AWAY);
    redis_resume(&w->redis);
    enum queue_allow_result r;
    for (uint64_t limit = world_limit();
         (r = take_and_settle(w, one, 0, 1, true)) == QUEUE_OVER_DAILY;)
        world_turn(w, limit, "it is given back");
    assert_int_equal(r, QUEUE_ALLOWED);
    assert_int_equal(a.done, 1);
}

/* ---- failures ------------------------------------------------------------------- */

struct guarding {
    struct queue_guard_op op;
    unsigned done;
};

static void
on_guarded(struct queue_guard_op *op)
{
    container_of(op, struct guarding, op)->done++;
}

static struct queue_guard_op
ask(struct world *w, struct worker *k, const char *account, const char *network)
{
    struct guarding g = {
        .op = {.done = on_guarded, .account = slice_str(account), .network = slice_str(network)}};
    queue_guard_start(&g.op, k->q);
    assert_int_equal(g.done, 0);
    WORLD_UNTIL(w, g.done > 0);
    assert_int_equal(g.op.err.code, ERR_NONE);
    return g.op;
}

static void
note_failures(struct world *w, const char *account, const char *network, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        queue_guard_note(w->a.q, slice_str(account), slice_str(network), true);
    ask(w, &w->a, account, network); /* on the same links: they are counted */
}

static void
a_network_waits_longer_each_time(void **state)
{
    struct world *w = *state;
    note_failures(w, "", "192.0.2.1", GUARD_NETWORK_FREE);
    assert_int_equal(ask(w, &w->a, "anna", "192.0.2.1").wait_ms, 0);
    uint64_t before = 0;
    for (unsigned i = 0; i < 6; i++) {
        note_failures(w, "", "192.0.2.1", 1);
        uint64_t wait = ask(w, &w->a, "anna", "192.0.2.1").wait_ms;
        assert_true(wait > before && wait <= (uint64_t)GUARD_PAUSE_FIRST_MS << i);
        before = wait;
    }
    note_failures(w, "", "192.0.2.1", 100);
    assert_true(ask(w, &w->a, "", "192.0.2.1").wait_ms <= GUARD_PAUSE_MAX_MS);
    assert_int_equal(ask(w, &w->a, "anna", "192.0.2.2").wait_ms, 0);
    worker_open(w, &w->b); /* all workers know it */
    assert_true(ask(w, &w->b, "bert", "192.0.2.1").wait_ms > 0);
}

/* A thousand networks try one account: each has one try, and its owner none less. */
static void
nobody_can_lock_a_customer_out(void **state)
{
    struct world *w = *state;
    char network[32];
    for (unsigned i = 0; i < GUARD_ACCOUNT_FREE + 30; i++) {
        snprintf(network, sizeof network, "198.51.100.%u", i);
        note_failures(w, "anna", network, 1);
    }
    assert_true(ask(w, &w->a, "anna", "198.51.100.1").wait_ms > 0); /* it failed once */
    assert_int_equal(ask(w, &w->a, "bert", "198.51.100.1").wait_ms, 0);
    assert_int_equal(ask(w, &w->a, "anna", "192.0.2.1").wait_ms, 0); /* it did not */
    /* from where the account was used before, a few mistakes do not count */
    assert_false(ask(w, &w->a, "anna", "192.0.2.1").is_known);
    queue_guard_note(w->a.q, SLICE("anna"), SLICE("192.0.2.1"), false);
    note_failures(w, "anna", "192.0.2.1", GUARD_NETWORK_FREE + 3);
    assert_true(ask(w, &w->a, "anna", "192.0.2.1").is_known);
    assert_int_equal(ask(w, &w->a, "anna", "192.0.2.1").wait_ms, 0);
    assert_true(ask(w, &w->a, "bert", "192.0.2.1").wait_ms > 0);
    note_failures(w, "anna", "192.0.2.1", GUARD_KNOWN_FREE);
    assert_true(ask(w, &w->a, "anna", "192.0.2.1").wait_ms > 0);
}

static void
a_guard_that_cannot_ask(void **state)
{
    struct world *w = *state;
    struct guarding g = {
        .op = {.done = on_guarded, .account = SLICE("a"), .network = SLICE("192.0.2.1")}};
    redis_pause(&w->redis);
    queue_guard_start(&g.op, w->a.q);
    queue_guard_cancel(&g.op);
    WORLD_UNTIL(w, g.done > 0);
    assert_int_equal(g.op.err.code, ERR_CANCELLED);
    redis_resume(&w->redis);
    assert_int_equal(ask(w, &w->a, "a", "192.0.2.1").wait_ms, 0);
    assert_int_equal(g.done, 1);
    /* AUT-12: names hold anything */
    note_failures(w, "a b\r\nDEL *{}:", "x\r\ny", GUARD_NETWORK_FREE + 1);
    assert_true(ask(w, &w->a, "a b\r\nDEL *{}:", "x\r\ny").wait_ms > 0);
    assert_int_equal(ask(w, &w->a, "a b", "x").wait_ms, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_rate_is_a_bucket),
        ONE(a_rate_comes_back),
        ONE(a_day_has_an_end),
        ONE(only_first_time_recipients_are_fresh),
        ONE(all_or_nothing),
        ONE(what_is_given_back_is_there_again),
        ONE(workers_count_together_and_submitters_apart),
        ONE(cancelled_takes_nothing),
        ONE(a_network_waits_longer_each_time),
        ONE(nobody_can_lock_a_customer_out),
        ONE(a_guard_that_cannot_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
