/*
 * Happy path of one turn: timers that are due, deferred calls, end-of-turn
 * calls, then libuv waits for input and runs its callbacks.
 *
 * Timers are a pairing heap of the owners' structs behind one uv_timer_t that
 * is armed for the earliest. They follow CLOCK_BOOTTIME while uv_timer_t stops
 * with the machine, so it is armed for TIMER_LOOK_MS at most: after a sleep no
 * timer is later than that.
 *
 * Ways it ends: loop_stop(), or nothing left to wait for. loop_free() ends what
 * lingers (closed streams that flush, forgotten processes) and aborts when
 * anything else is still there.
 */
#include "relay/sys/net/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/loop_internal.h"
#include "relay/sys/net/loop_linger.h"
#include "relay/sys/net/work.h"

enum {
    TIMER_LOOK_MS = 10000,
    END_OF_TURN_ROUNDS = 16, /* one flush feeds another: links, streams, TLS */
    FREE_TURNS = 16,         /* closing handles end in the next turn, their owners' in another */
};

struct loop {
    uv_loop_t uv;
    uv_timer_t timer;
    uv_idle_t idle;       /* active while deferred calls wait: the loop does not block */
    uv_prepare_t prepare; /* always active; counts as work only while there is some */
    struct timer *earliest;
    uint64_t armed_for_ms; /* 0: the uv timer is stopped */
    struct list next_turn, end_of_turn, lingerers;
    uint64_t turn_began_us, idle_before_us, worst_turn_us;
    char scratch[STREAM_READ_MAX];
};

uv_loop_t *
loop_uv(struct loop *l)
{
    return &l->uv;
}

char *
loop_scratch(struct loop *l, size_t *bytes)
{
    *bytes = sizeof l->scratch;
    return l->scratch;
}

/* Timers */

static bool
earlier(const struct timer *a, const struct timer *b)
{
    return a->due_ms < b->due_ms;
}

/* Joins two heaps: the later root becomes the first child of the earlier. */
static struct timer *
heap_join(struct timer *a, struct timer *b)
{
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (earlier(b, a)) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL)
        a->child->prev = b;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

/* Joins a list of siblings, in pairs from the left and the pairs from the right. */
static struct timer *
heap_join_siblings(struct timer *first)
{
    struct timer *pairs = NULL;
    while (first != NULL) {
        struct timer *a = first, *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b != NULL)
            b->next = b->prev = NULL;
        struct timer *joined = heap_join(a, b);
        joined->next = pairs;
        pairs = joined;
    }
    struct timer *heap = NULL;
    while (pairs != NULL) {
        struct timer *rest = pairs->next;
        pairs->next = NULL;
        heap = heap_join(heap, pairs);
        pairs = rest;
    }
    return heap;
}

static void
heap_remove(struct loop *l, struct timer *t)
{
    struct timer *below = heap_join_siblings(t->child);
    if (l->earliest == t) {
        l->earliest = below;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next != NULL)
            t->next->prev = t->prev;
        l->earliest = heap_join(l->earliest, below);
    }
    t->child = t->next = t->prev = NULL;
    t->active = false;
}

static void on_uv_timer(uv_timer_t *h);

static void
arm(struct loop *l)
{
    uint64_t due_ms = l->earliest != NULL ? l->earliest->due_ms : 0;
    if (due_ms == l->armed_for_ms)
        return;
    l->armed_for_ms = due_ms;
    if (due_ms == 0) {
        uv_timer_stop(&l->timer);
        return;
    }
    uint64_t now_ms = clock_mono_ms();
    uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 1; /* 0 would starve input */
    if (wait_ms > TIMER_LOOK_MS)
        wait_ms = TIMER_LOOK_MS;
    uv_update_time(&l->uv); /* otherwise the time when this turn began */
    BUG_ON(uv_timer_start(&l->timer, on_uv_timer, wait_ms, 0) != 0);
}

static void
on_uv_timer(uv_timer_t *h)
{
    struct loop *l = h->data;
    uint64_t now_ms = clock_mono_ms();
    l->armed_for_ms = 0;
    /* A timer started in here is due after now_ms, so this ends. */
    while (l->earliest != NULL && l->earliest->due_ms <= now_ms) {
        struct timer *t = l->earliest;
        heap_remove(l, t);
        t->fire(t);
    }
    arm(l);
}

void
timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}

void
timer_start(struct timer *t, uint64_t delay_ms)
{
    BUG_ON(t->loop == NULL);
    struct loop *l = t->loop;
    if (t->active)
        heap_remove(l, t);
    t->due_ms = clock_mono_ms() + (delay_ms > 0 ? delay_ms : 1);
    t->active = true;
    l->earliest = heap_join(l->earliest, t);
    arm(l);
}

void
timer_cancel(struct timer *t)
{
    if (!t->active)
        return;
    heap_remove(t->loop, t);
    arm(t->loop);
}

bool
timer_active(const struct timer *t)
{
    return t->active;
}

/* Deferred calls */

void
deferred_init(struct deferred *d, struct loop *l, void (*call)(struct deferred *d))
{
    *d = (struct deferred){.loop = l, .call = call};
    list_node_init(&d->node);
}

/* Calls what is in the list now; what is scheduled meanwhile stays in it. */
static void
call_round(struct list *calls)
{
    struct list_node mark, *n;
    list_node_init(&mark);
    list_push(calls, &mark);
    while ((n = list_pop(calls)) != &mark) {
        struct deferred *d = container_of(n, struct deferred, node);
        d->call(d);
    }
}

static void
on_idle(uv_idle_t *h)
{
    struct loop *l = h->data;
    call_round(&l->next_turn);
    if (list_empty(&l->next_turn))
        uv_idle_stop(&l->idle);
}

void
deferred_schedule(struct deferred *d)
{
    BUG_ON(d->loop == NULL);
    if (list_node_linked(&d->node))
        return;
    list_push(&d->loop->next_turn, &d->node);
    uv_idle_start(&d->loop->idle, on_idle);
}

void
deferred_schedule_end_of_turn(struct deferred *d)
{
    BUG_ON(d->loop == NULL);
    if (list_node_linked(&d->node))
        return;
    list_push(&d->loop->end_of_turn, &d->node);
    uv_ref((uv_handle_t *)&d->loop->prepare);
}

void
deferred_cancel(struct deferred *d)
{
    list_remove(&d->node);
    struct loop *l = d->loop;
    if (list_empty(&l->next_turn))
        uv_idle_stop(&l->idle);
    if (list_empty(&l->end_of_turn))
        uv_unref((uv_handle_t *)&l->prepare);
}

static void
note_turn(struct loop *l)
{
    uint64_t now_us = clock_mono_us();
    uint64_t idle_us = uv_metrics_idle_time(&l->uv) / 1000;
    uint64_t whole_us = now_us - l->turn_began_us, waited_us = idle_us - l->idle_before_us;
    uint64_t busy_us = whole_us > waited_us ? whole_us - waited_us : 0;
    if (l->turn_began_us != 0 && busy_us > l->worst_turn_us)
        l->worst_turn_us = busy_us;
    l->turn_began_us = now_us;
    l->idle_before_us = idle_us;
}

static void
on_prepare(uv_prepare_t *h)
{
    struct loop *l = h->data;
    /* A call that asks for itself again and again goes on in the next turn,
     * without blocking in between. */
    for (int i = 0; i < END_OF_TURN_ROUNDS && !list_empty(&l->end_of_turn); i++)
        call_round(&l->end_of_turn);
    if (list_empty(&l->end_of_turn))
        uv_unref((uv_handle_t *)h);
    else
        uv_idle_start(&l->idle, on_idle);
    note_turn(l);
}

/* The loop */

struct loop *
loop_new(void)
{
    struct loop *l = calloc(1, sizeof *l);
    BUG_ON(l == NULL);
    BUG_ON(signal(SIGPIPE, SIG_IGN) == SIG_ERR);
    BUG_ON(uv_loop_init(&l->uv) != 0);
    BUG_ON(uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME) != 0);
    list_init(&l->next_turn);
    list_init(&l->end_of_turn);
    list_init(&l->lingerers);
    uv_timer_init(&l->uv, &l->timer);
    uv_idle_init(&l->uv, &l->idle);
    uv_prepare_init(&l->uv, &l->prepare);
    l->timer.data = l->idle.data = l->prepare.data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    uv_unref((uv_handle_t *)&l->prepare);
    return l;
}

void
loop_add_lingerer(struct loop *l, struct lingerer *g, void (*end)(struct lingerer *g))
{
    g->end = end;
    list_node_init(&g->node);
    list_push(&l->lingerers, &g->node);
}

void
loop_remove_lingerer(struct lingerer *g)
{
    list_remove(&g->node);
}

void
loop_free(struct loop *l)
{
    struct list_node *n;
    while ((n = list_pop(&l->lingerers)) != NULL) {
        struct lingerer *g = container_of(n, struct lingerer, node);
        g->end(g);
    }
    BUG_ON(l->earliest != NULL);   /* a timer whose owner forgot it */
    uv_run(&l->uv, UV_RUN_NOWAIT); /* takes up a loop_stop() after the last turn */
    while (work_pending() > 0) /* of owners that went away: it is short, and cannot be cancelled */
        uv_run(&l->uv, UV_RUN_ONCE);
    for (int i = 0; i < FREE_TURNS && uv_loop_alive(&l->uv); i++)
        uv_run(&l->uv, UV_RUN_NOWAIT);
    BUG_ON(l->earliest != NULL || !list_empty(&l->next_turn) || !list_empty(&l->end_of_turn));
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    BUG_ON(uv_loop_close(&l->uv) != 0);
    free(l);
}

void
loop_run(struct loop *l)
{
    l->turn_began_us = 0;
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void
loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

uint64_t
loop_take_worst_turn_us(struct loop *l)
{
    uint64_t worst_us = l->worst_turn_us;
    l->worst_turn_us = 0;
    return worst_us;
}

/* Signals */

struct signal_watch {
    uv_signal_t uv;
    void (*on_signal)(void *owner, int signo);
    void *owner;
};

static void
on_uv_signal(uv_signal_t *h, int signo)
{
    struct signal_watch *w = h->data;
    w->on_signal(w->owner, signo);
}

struct signal_watch *
signal_watch_open(struct loop *l, int signo, void (*on_signal)(void *owner, int signo), void *owner)
{
    struct signal_watch *w = calloc(1, sizeof *w);
    BUG_ON(w == NULL);
    w->on_signal = on_signal;
    w->owner = owner;
    BUG_ON(uv_signal_init(&l->uv, &w->uv) != 0);
    w->uv.data = w;
    BUG_ON(uv_signal_start(&w->uv, on_uv_signal, signo) != 0);
    return w;
}

static void
free_signal_watch(uv_handle_t *h)
{
    free(h->data);
}

void
signal_watch_close(struct signal_watch *w)
{
    if (w != NULL)
        uv_close((uv_handle_t *)&w->uv, free_signal_watch);
}
