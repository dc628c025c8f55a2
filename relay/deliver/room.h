/*
 * Memory for messages that are read back from the queue for their attempts: at most
 * DELIVER_BYTES_IN_MEMORY_MAX at a time, first come, first served, so that a backlog of
 * large messages does not grow with the number of connections. A message that is
 * larger than all of it gets it alone; those up to DELIVER_SMALL_BYTES are not counted.
 */
#ifndef STAGEPOST_DELIVER_ROOM_H
#define STAGEPOST_DELIVER_ROOM_H

#include <stddef.h>

#include "relay/sys/net/loop.h"

/* One for each worker. */
struct room {
    struct loop *loop;
    size_t taken_bytes;
    struct list waiting; /* struct room_op.node */
    struct deferred wake;
};
void room_init(struct room *r, struct loop *l);
void room_fini(struct room *r); /* nobody may wait */

/* Embedded in who needs it. */
struct room_op {
    /* The end of a wait: with the room (has), or without after DELIVER_ROOM_WAIT_MS. */
    void (*done)(struct room_op *op);
    struct room *room;
    size_t bytes;
    bool has;
    struct list_node node;
    struct timer limit;
};
void room_op_init(struct room_op *op, struct room *r, void (*done)(struct room_op *op));
/* true: it has room for so many bytes, until room_leave(). false: it waits, and done
 * comes on a later turn. Not while it waits. */
bool room_try_take(struct room_op *op, size_t bytes);
bool room_is_waiting(const struct room_op *op);
/* Gives back what it has, or stops waiting; no done comes. Neither is fine. */
void room_leave(struct room_op *op);

#endif
