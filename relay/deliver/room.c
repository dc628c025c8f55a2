#include "relay/deliver/room.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

static bool
fits(const struct room *r, const struct room_op *op)
{
    return r->taken_bytes == 0 || r->taken_bytes + op->bytes <= DELIVER_BYTES_IN_MEMORY_MAX;
}

static void
take(struct room_op *op)
{
    op->has = true;
    op->room->taken_bytes += op->bytes;
}

static void
stop_waiting(struct room_op *op)
{
    list_remove(&op->node);
    timer_cancel(&op->limit);
    deferred_schedule(&op->room->wake); /* the next may be smaller */
}

static void
on_wake(struct deferred *d)
{
    struct room *r = container_of(d, struct room, wake);
    struct list_node *n;
    while ((n = list_first(&r->waiting)) != NULL) {
        struct room_op *op = container_of(n, struct room_op, node);
        if (!fits(r, op))
            return;
        stop_waiting(op);
        take(op);
        op->done(op);
    }
}

static void
on_limit(struct timer *t)
{
    struct room_op *op = container_of(t, struct room_op, limit);
    stop_waiting(op);
    op->done(op);
}

void
room_init(struct room *r, struct loop *l)
{
    *r = (struct room){.loop = l};
    list_init(&r->waiting);
    deferred_init(&r->wake, l, on_wake);
}

void
room_fini(struct room *r)
{
    BUG_ON(!list_empty(&r->waiting) || r->taken_bytes > 0);
    deferred_cancel(&r->wake);
}

void
room_op_init(struct room_op *op, struct room *r, void (*done)(struct room_op *op))
{
    *op = (struct room_op){.done = done, .room = r};
    list_node_init(&op->node);
    timer_init(&op->limit, r->loop, on_limit);
}

bool
room_try_take(struct room_op *op, size_t bytes)
{
    struct room *r = op->room;
    BUG_ON(room_is_waiting(op));
    if (op->has)
        return true;
    op->bytes = bytes > DELIVER_SMALL_BYTES ? bytes : 0;
    if (op->bytes == 0 || (list_empty(&r->waiting) && fits(r, op))) {
        take(op);
        return true;
    }
    list_push(&r->waiting, &op->node);
    timer_start(&op->limit, clock_scaled_ms(DELIVER_ROOM_WAIT_MS));
    return false;
}

bool
room_is_waiting(const struct room_op *op)
{
    return list_node_linked(&op->node);
}

void
room_leave(struct room_op *op)
{
    if (room_is_waiting(op))
        stop_waiting(op);
    if (!op->has)
        return;
    op->has = false;
    op->room->taken_bytes -= op->bytes;
    deferred_schedule(&op->room->wake);
}
