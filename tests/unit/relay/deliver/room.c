#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/deliver/room.h"
#include "relay/sys/base/limits.h"

enum { MOST = DELIVER_BYTES_IN_MEMORY_MAX, OPS = 4 };

struct bench {
    struct loop *loop;
    struct room room;
    struct room_op op[OPS];
    unsigned done[OPS];
};

static struct bench b;

static void
on_done(struct room_op *op)
{
    b.done[op - b.op]++;
}

static int
setup(void **state)
{
    (void)state;
    b = (struct bench){.loop = loop_new()};
    room_init(&b.room, b.loop);
    for (int i = 0; i < OPS; i++)
        room_op_init(&b.op[i], &b.room, on_done);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    for (int i = 0; i < OPS; i++)
        room_leave(&b.op[i]);
    room_fini(&b.room);
    loop_free(b.loop);
    return 0;
}

static bool
has(void *arg)
{
    return ((struct room_op *)arg)->has;
}

static bool
ended(void *arg)
{
    return b.done[(struct room_op *)arg - b.op] > 0;
}

static void
test_what_fits_has_it_at_once(void **state)
{
    (void)state;
    assert_true(room_try_take(&b.op[0], MOST / 2));
    assert_true(room_try_take(&b.op[0], MOST / 2)); /* it has it already */
    assert_true(room_try_take(&b.op[1], MOST / 2));
    assert_false(room_try_take(&b.op[2], DELIVER_SMALL_BYTES + 1));
    assert_true(room_try_take(&b.op[3], DELIVER_SMALL_BYTES)); /* not counted */
}

/* A small one does not make a large one wait for ever. */
static void
test_first_come_first_served(void **state)
{
    (void)state;
    assert_true(room_try_take(&b.op[0], MOST / 2));
    assert_false(room_try_take(&b.op[1], MOST));
    assert_false(room_try_take(&b.op[2], MOST / 4));
    room_leave(&b.op[0]);
    run_until(b.loop, has, &b.op[1]);
    assert_true(room_is_waiting(&b.op[2]));
    room_leave(&b.op[1]);
    run_until(b.loop, has, &b.op[2]);
    assert_int_equal(b.done[0], 0); /* it never waited */
    assert_int_equal(b.done[1], 1);
    assert_int_equal(b.done[2], 1);
}

static void
test_the_largest_has_it_alone(void **state)
{
    (void)state;
    assert_true(room_try_take(&b.op[0], 2ul * MOST));
    assert_false(room_try_take(&b.op[1], MOST / 4));
}

static void
test_who_leaves_lets_the_next_in(void **state)
{
    (void)state;
    assert_true(room_try_take(&b.op[0], MOST / 2));
    assert_false(room_try_take(&b.op[1], MOST));
    assert_false(room_try_take(&b.op[2], MOST / 4));
    room_leave(&b.op[1]); /* while it waits */
    run_until(b.loop, has, &b.op[2]);
    assert_int_equal(b.done[1], 0);
}

static void
test_nobody_waits_for_ever(void **state)
{
    (void)state;
    assert_true(room_try_take(&b.op[0], MOST));
    assert_false(room_try_take(&b.op[1], MOST));
    run_until(b.loop, ended, &b.op[1]);
    assert_false(b.op[1].has);
    assert_false(room_is_waiting(&b.op[1]));
}

int
main(void)
{
#define ROOM_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_what_fits_has_it_at_once), ROOM_TEST(test_first_come_first_served),
        ROOM_TEST(test_the_largest_has_it_alone), ROOM_TEST(test_who_leaves_lets_the_next_in),
        ROOM_TEST(test_nobody_waits_for_ever),
    };
    setenv("STAGEPOST_TIME_SCALE", "20", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
