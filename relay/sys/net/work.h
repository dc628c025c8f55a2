/*
 * Work off the loop: password hashing, large JSON, file reading. The pool is
 * small and shared; nothing that waits for a network runs there.
 */
#ifndef STAGEPOST_NET_WORK_H
#define STAGEPOST_NET_WORK_H

#include "relay/sys/net/loop.h"

struct work_op {
    void (*run)(struct work_op *op);  /* on a pool thread: touches only its own op */
    void (*done)(struct work_op *op); /* on the loop, exactly once */
    struct work_state *state;
};

/* Cannot fail. There is no cancel: an owner that goes away first marks its op
 * and leaves the memory to done. */
void work_start(struct work_op *op, struct loop *l, void (*run)(struct work_op *op),
                void (*done)(struct work_op *op));
/* Operations started and not yet done, of this process: callers refuse new work
 * above a bound of their own. */
unsigned work_pending(void);

#endif
