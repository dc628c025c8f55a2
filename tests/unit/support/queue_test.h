/* What every test of queue/ with a Redis includes: cmocka, a world of its own
 * for each test, and small readings of the Redis behind it. */
#ifndef STAGEPOST_TEST_QUEUE_TEST_H
#define STAGEPOST_TEST_QUEUE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "queue/keys.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/metrics.h"
#include "tests/unit/support/queue_world.h"

static struct world world; /* one test at a time */

/* No worker yet: the test configures and opens them. */
static int
setup_redis(void **state)
{
    world_open(&world, NULL);
    *state = &world;
    return 0;
}

/* Worker a holds all partitions. */
__attribute__((unused)) static int
setup_one(void **state)
{
    setup_redis(state);
    worker_open(&world, &world.a);
    WORLD_UNTIL(&world, queue_partitions_held(world.a.q) == QUEUE_PARTITIONS);
    return 0;
}

static int
teardown(void **state)
{
    world_close(*state);
    return 0;
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup_one, teardown)
#define BARE(f) cmocka_unit_test_setup_teardown(f, setup_redis, teardown)

__attribute__((unused)) static bool
message_exists(struct world *w, struct msg_id id)
{
    struct key k = key_of_message(id);
    return redis_int(&w->redis, "EXISTS %b", k.text, k.n) == 1;
}

/* The state of the first target of a delivery, as Redis has it. */
__attribute__((unused)) static struct queue_target
target_of(struct world *w, struct worker *k, struct msg_id id, unsigned delivery)
{
    struct arena a;
    struct queue_target t;
    arena_init(&a, 8 << 20);
    struct queue_message *m = world_lookup(w, k, id, &a);
    assert_non_null(m);
    assert_true(delivery < m->delivery_count);
    t = m->deliveries[delivery].targets[0];
    t.address = t.options = t.reply = SLICE_NONE; /* the arena goes */
    arena_fini(&a);
    return t;
}

/* Commits one message to one address; returns its id. */
__attribute__((unused)) static struct msg_id
commit_one(struct world *w, struct worker *k, unsigned partition)
{
    struct mail mail;
    mail_init(&mail, partition, "Subject: one\r\n\r\nbody\r\n");
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, k, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    mail_fini(&mail);
    return mail.m.id;
}

__attribute__((unused)) static void
kill_clients(struct world *w)
{
    freeReplyObject(redis_ask(&w->redis, "CLIENT KILL TYPE normal SKIPME yes"));
}

__attribute__((unused)) static struct slice
random_body(size_t n)
{
    char *p = malloc(n);
    random_bytes(p, n);
    return slice_from(p, n);
}

#endif
