/*
 * Happy path: work_start(); run on a thread of libuv's pool; done on the loop.
 * Ways it ends: only that one, there is no cancel.
 */
#include "relay/sys/net/work.h"

#include <stdlib.h>
#include <uv.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/loop_internal.h"

struct work_state {
    uv_work_t uv;
    struct work_op *op;
};

/* Of the whole process, as the pool is; touched on the loop's thread only. */
static unsigned pending;

static void
on_pool_thread(uv_work_t *uv)
{
    struct work_op *op = container_of(uv, struct work_state, uv)->op;
    op->run(op);
}

static void
on_done(uv_work_t *uv, int status)
{
    struct work_state *st = container_of(uv, struct work_state, uv);
    struct work_op *op = st->op;
    BUG_ON(status != 0); /* only uv_cancel() makes it another */
    free(st);
    op->state = NULL;
    pending--;
    op->done(op);
}

void
work_start(struct work_op *op, struct loop *l, void (*run)(struct work_op *op),
           void (*done)(struct work_op *op))
{
    struct work_state *st = calloc(1, sizeof *st);
    BUG_ON(st == NULL);
    st->op = op;
    *op = (struct work_op){.run = run, .done = done, .state = st};
    pending++;
    BUG_ON(uv_queue_work(loop_uv(l), &st->uv, on_pool_thread, on_done) != 0);
}

unsigned
work_pending(void)
{
    return pending;
}
