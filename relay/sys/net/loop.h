/*
 * The event loop of one process, its timers and its deferred calls. relay/sys/
 * net/ is the only folder that knows libuv; everybody else sees these types.
 *
 * Timers and deferred calls are plain structs inside their owners: starting and
 * cancelling costs no allocation and takes effect at once, so an owner may be
 * freed as soon as it has cancelled them.
 */
#ifndef STAGEPOST_NET_LOOP_H
#define STAGEPOST_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/list.h"

struct loop;

struct loop *loop_new(void);
/* Ends what lingers after stream_close() and process_free(). Aborts when anything
 * else is still there (an open handle, an active timer, work in the pool): a
 * leak is a bug. */
void loop_free(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop() or until nothing is left to wait for */
void loop_stop(struct loop *l); /* loop_run() returns after this turn */

/* A one-shot timer on the monotonic clock. */
struct timer {
    struct loop *loop;
    void (*fire)(struct timer *t);
    uint64_t due_ms;                   /* clock_mono_ms() */
    struct timer *child, *next, *prev; /* the loop's heap */
    bool active;
};

void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t));
void timer_start(struct timer *t, uint64_t delay_ms); /* restarts an active one */
void timer_cancel(struct timer *t);                   /* no effect on an idle one */
bool timer_active(const struct timer *t);

/* A call on the next turn of the loop: whatever could finish at once is
 * finished there, so that no completion runs inside the call that asked. */
struct deferred {
    struct loop *loop;
    void (*call)(struct deferred *d);
    struct list_node node;
};

void deferred_init(struct deferred *d, struct loop *l, void (*call)(struct deferred *d));
void deferred_schedule(struct deferred *d); /* once, however often it is asked for */
void deferred_cancel(struct deferred *d);

/* As deferred calls, but at the end of the present turn, just before the loop
 * waits for input: where batches are flushed. */
void deferred_schedule_end_of_turn(struct deferred *d);

/* Signals (SIGTERM, SIGINT, SIGHUP, SIGCHLD) as events of the loop. */
struct signal_watch;
struct signal_watch *signal_watch_open(struct loop *l, int signo,
                                       void (*on_signal)(void *owner, int signo), void *owner);
void signal_watch_close(struct signal_watch *w); /* NULL is fine */

/* Largest time in microseconds that one turn took since the last call. */
uint64_t loop_take_worst_turn_us(struct loop *l);

#endif
