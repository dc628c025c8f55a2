#include "tests/unit/relay/sys/net/net_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/id.h"

enum { MANY = 500 };

struct probe {
    struct timer timer;
    struct probe *cancels;
    unsigned fired;
    unsigned *sequence;
    unsigned place;
    struct loop *stops;
};

static void
on_probe(struct timer *t)
{
    struct probe *p = container_of(t, struct probe, timer);
    assert_false(timer_active(t));
    assert_true(clock_mono_ms() >= t->due_ms);
    p->fired++;
    if (p->sequence != NULL)
        p->place = ++*p->sequence;
    if (p->cancels != NULL)
        timer_cancel(&p->cancels->timer);
    if (p->stops != NULL)
        loop_stop(p->stops);
}

static void
timers_fire_in_order(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    unsigned sequence = 0;
    struct probe p[4] = {0};
    static const uint64_t DELAY[4] = {40, 10, 30, 20};
    static const unsigned PLACE[4] = {4, 1, 3, 2};
    for (int i = 0; i < 4; i++) {
        timer_init(&p[i].timer, l, on_probe);
        p[i].sequence = &sequence;
        timer_start(&p[i].timer, DELAY[i]);
    }
    loop_run(l); /* returns: nothing is left to wait for */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p[i].fired, 1);
        assert_int_equal(p[i].place, PLACE[i]);
    }
    loop_free(l);
}

static void
a_timer_restarts_and_cancels(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct probe kept = {0}, cancelled = {0}, victim = {0};
    timer_init(&kept.timer, l, on_probe);
    timer_init(&cancelled.timer, l, on_probe);
    timer_init(&victim.timer, l, on_probe);
    assert_false(timer_active(&kept.timer));
    timer_start(&kept.timer, 100000);
    timer_start(&kept.timer, 5);
    assert_true(timer_active(&kept.timer));
    timer_start(&cancelled.timer, 1);
    timer_cancel(&cancelled.timer);
    timer_cancel(&cancelled.timer);
    assert_false(timer_active(&cancelled.timer));
    timer_start(&victim.timer, 5); /* due together with the one that cancels it */
    victim.timer.due_ms = kept.timer.due_ms;
    kept.cancels = &victim;
    victim.cancels = &kept;
    loop_run(l);
    assert_int_equal(kept.fired + victim.fired, 1);
    assert_int_equal(cancelled.fired, 0);
    loop_free(l);
}

/* The heap against a plain search: whatever was started, restarted and cancelled
 * in between, what is left fires in the order of its time. */
static void
many_timers_keep_the_heap(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    unsigned sequence = 0;
    struct probe *p = calloc(MANY, sizeof *p);
    for (int i = 0; i < MANY; i++) {
        timer_init(&p[i].timer, l, on_probe);
        p[i].sequence = &sequence;
    }
    for (int i = 0; i < 8 * MANY; i++) {
        struct timer *t = &p[random_below(MANY)].timer;
        if (random_below(3) == 0)
            timer_cancel(t);
        else
            timer_start(t, 1 + random_below(60));
    }
    unsigned active = 0;
    for (int i = 0; i < MANY; i++)
        active += timer_active(&p[i].timer);
    assert_true(active > 0);
    loop_run(l);
    assert_int_equal(sequence, active);
    for (int i = 0; i < MANY; i++)
        for (int j = 0; j < MANY; j++)
            if (p[i].fired > 0 && p[j].fired > 0 && p[i].timer.due_ms < p[j].timer.due_ms)
                assert_true(p[i].place < p[j].place);
    free(p);
    loop_free(l);
}

static void
restart_forever(struct timer *t)
{
    container_of(t, struct probe, timer)->fired++;
    timer_start(t, 0);
}

static void
a_timer_of_no_time_does_not_starve_input(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct probe p = {0};
    timer_init(&p.timer, l, restart_forever);
    timer_start(&p.timer, 0);
    run_turns(l, 20);
    assert_true(p.fired > 1);
    timer_cancel(&p.timer);
    loop_free(l);
}

struct call {
    struct deferred d;
    unsigned calls, *sequence, place;
    struct call *schedules, *cancels;
    bool again, at_end;
};

static void
on_call(struct deferred *d)
{
    struct call *c = container_of(d, struct call, d);
    c->calls++;
    if (c->sequence != NULL)
        c->place = ++*c->sequence;
    if (c->again && c->calls < 100) {
        if (c->at_end)
            deferred_schedule_end_of_turn(d);
        else
            deferred_schedule(d);
    }
    if (c->schedules != NULL)
        deferred_schedule_end_of_turn(&c->schedules->d);
    if (c->cancels != NULL)
        deferred_cancel(&c->cancels->d);
}

static void
deferred_calls_come_once_and_later(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct call a = {0}, b = {0}, c = {0};
    deferred_init(&a.d, l, on_call);
    deferred_init(&b.d, l, on_call);
    deferred_init(&c.d, l, on_call);
    a.cancels = &b;
    deferred_schedule(&a.d);
    deferred_schedule(&a.d);
    deferred_schedule(&b.d);
    deferred_schedule(&c.d);
    deferred_cancel(&c.d);
    assert_int_equal(a.calls, 0);
    loop_run(l);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_int_equal(c.calls, 0);
    loop_free(l);
}

static void
the_end_of_turn_comes_after_the_turn(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    unsigned sequence = 0;
    struct call flush = {.sequence = &sequence}, first = {.sequence = &sequence},
                second = {.sequence = &sequence}, fed = {.sequence = &sequence};
    deferred_init(&flush.d, l, on_call);
    deferred_init(&first.d, l, on_call);
    deferred_init(&second.d, l, on_call);
    deferred_init(&fed.d, l, on_call);
    first.schedules = &flush; /* scheduled by the first, called after the second */
    flush.schedules = &fed;   /* still in the same turn */
    deferred_schedule(&first.d);
    deferred_schedule(&second.d);
    loop_run(l);
    assert_int_equal(first.place, 1);
    assert_int_equal(second.place, 2);
    assert_int_equal(flush.place, 3);
    assert_int_equal(fed.place, 4);
    loop_free(l);
}

static void
calls_that_ask_again_neither_block_nor_starve(void **state)
{
    (void)state;
    for (int at_end = 0; at_end < 2; at_end++) {
        struct loop *l = loop_new();
        struct call c = {.again = true, .at_end = at_end};
        struct probe p = {0};
        timer_init(&p.timer, l, on_probe);
        deferred_init(&c.d, l, on_call);
        timer_start(&p.timer, 1);
        if (at_end)
            deferred_schedule_end_of_turn(&c.d);
        else
            deferred_schedule(&c.d);
        loop_run(l);
        assert_int_equal(c.calls, 100);
        assert_int_equal(p.fired, 1);
        loop_free(l);
    }
}

static void
a_cancelled_end_of_turn_does_not_keep_the_loop(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct call c = {0};
    deferred_init(&c.d, l, on_call);
    deferred_schedule_end_of_turn(&c.d);
    deferred_cancel(&c.d);
    loop_run(l);
    assert_int_equal(c.calls, 0);
    loop_free(l);
}

static void
count_signal(void *owner, int signo)
{
    assert_int_equal(signo, SIGHUP);
    *(bool *)owner = true;
}

static void
signals_are_events(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    bool came = false;
    struct signal_watch *w = signal_watch_open(l, SIGHUP, count_signal, &came);
    raise(SIGHUP);
    assert_false(came);
    run_until_flag(l, &came);
    signal_watch_close(w);
    signal_watch_close(NULL);
    loop_free(l);
}

static void
take_ten_ms(struct timer *t)
{
    (void)t;
    for (uint64_t until = clock_mono_ms() + 10; clock_mono_ms() < until;)
        ;
}

static void
the_worst_turn_is_seen(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct timer t, later;
    timer_init(&t, l, take_ten_ms);
    timer_init(&later, l, take_ten_ms);
    timer_start(&t, 1);
    timer_start(&later, 1000);
    loop_run(l);
    uint64_t worst_us = loop_take_worst_turn_us(l);
    assert_true(worst_us >= 9000);
    assert_true(worst_us < 900000); /* waiting is not working */
    assert_int_equal(loop_take_worst_turn_us(l), 0);
    loop_free(l);
}

static void
an_owner_that_forgets_its_timer_is_a_bug(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct loop *l = loop_new();
        struct timer t;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL); /* cmocka's handler would take it */
        close(STDERR_FILENO);
        timer_init(&t, l, on_probe);
        timer_start(&t, 100000);
        loop_free(l);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(a_timer_restarts_and_cancels),
        cmocka_unit_test(many_timers_keep_the_heap),
        cmocka_unit_test(a_timer_of_no_time_does_not_starve_input),
        cmocka_unit_test(deferred_calls_come_once_and_later),
        cmocka_unit_test(the_end_of_turn_comes_after_the_turn),
        cmocka_unit_test(calls_that_ask_again_neither_block_nor_starve),
        cmocka_unit_test(a_cancelled_end_of_turn_does_not_keep_the_loop),
        cmocka_unit_test(signals_are_events),
        cmocka_unit_test(the_worst_turn_is_seen),
        cmocka_unit_test(an_owner_that_forgets_its_timer_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
