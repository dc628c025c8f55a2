/* The queue against a real Redis: the way of a message from commit to finish. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "relay/sys/base/clock.h"
#include "tests/unit/support/queue_world.h"

static int
setup(void **state)
{
    static struct world w;
    world_open(&w, NULL);
    worker_open(&w, &w.a);
    *state = &w;
    return 0;
}

static int
teardown(void **state)
{
    world_close(*state);
    return 0;
}

static void
a_message_is_committed_attempted_and_finished(void **state)
{
    struct world *w = *state;
    struct mail mail;
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    mail_init(&mail, queue_pick_partition(w->a.q), "Subject: hello\r\n\r\nbody\r\n");
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);

    struct queue_job *job = worker_job(w, &w->a);
    const struct queue_message *m = queue_job_message(job);
    assert_true(id_eq(m->id, mail.m.id));
    assert_int_equal(m->delivery_count, 1);
    assert_true(slice_eq(m->envelope, SLICE("envelope")));
    assert_true(slice_eq(queue_job_delivery(job)->targets[0].address, SLICE("user@example.org")));
    assert_int_equal(content_bytes(queue_job_content(job)), mail.m.size_bytes);

    assert_false(queue_job_may_send_dot(w->a.q, job));
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_true(queue_job_may_send_dot(w->a.q, job));
    assert_int_equal(world_depth(w, &w->a).inflight, 1);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));

    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct queue_message *found = world_lookup(w, &w->a, mail.m.id, &arena);
    assert_non_null(found);
    assert_int_equal(found->deliveries[0].targets[0].state, QUEUE_DELIVERED);
    assert_true(slice_eq(found->deliveries[0].targets[0].reply, SLICE("delivered")));
    assert_int_equal(found->deliveries[0].revision, 2);
    struct queue_depth depth = world_depth(w, &w->a);
    assert_int_equal(depth.live_messages + depth.scheduled + depth.inflight, 0);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    assert_int_equal(w->a.event_count, 1);
    assert_string_equal(w->a.events[0].text, "{\"event\":\"outcome\"}");
    arena_fini(&arena);
    mail_fini(&mail);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_is_committed_attempted_and_finished, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
