#include "tests/unit/relay/sys/net/net_test.h"

#include <poll.h>
#include <pthread.h>

#include "relay/sys/net/work.h"

struct job {
    struct work_op op;
    pthread_t ran_on;
    uint64_t sum;
    bool done;
    struct loop *loop;
    struct job *next;
};

static void
add_up(struct work_op *op)
{
    struct job *j = container_of(op, struct job, op);
    j->ran_on = pthread_self();
    for (uint64_t i = 1; i <= 1000; i++)
        j->sum += i;
}

static void
job_done(struct work_op *op)
{
    struct job *j = container_of(op, struct job, op);
    assert_false(j->done);
    j->done = true;
    if (j->next != NULL)
        work_start(&j->next->op, j->loop, add_up, job_done);
}

static void
work_runs_off_the_loop(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct job jobs[20] = {{.done = false}};
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        work_start(&jobs[i].op, l, add_up, job_done);
    assert_int_equal(work_pending(), ARRAY_LEN(jobs));
    loop_run(l); /* waits for all of them */
    assert_int_equal(work_pending(), 0);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        assert_true(jobs[i].done);
        assert_true(jobs[i].sum == 500500);
        assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
    }
    loop_free(l);
}

static void
done_may_start_more(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct job second = {.loop = l}, first = {.loop = l, .next = &second};
    work_start(&first.op, l, add_up, job_done);
    assert_false(first.done); /* not inside the call */
    loop_run(l);
    assert_true(first.done && second.done);
    loop_free(l);
}

static void
sleep_a_little(struct work_op *op)
{
    (void)op;
    poll(NULL, 0, 200);
}

/* As when a worker ends while a password of a client that left is checked. */
static void
a_loop_is_freed_after_its_work(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct job j = {.done = false};
    work_start(&j.op, l, sleep_a_little, job_done);
    loop_free(l);
    assert_true(j.done);
    assert_int_equal(work_pending(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_runs_off_the_loop),
        cmocka_unit_test(done_may_start_more),
        cmocka_unit_test(a_loop_is_freed_after_its_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
