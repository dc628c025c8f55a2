/*
 * For relay/sys/net/ only. What outlives its user's interest: a closed stream
 * that still flushes, a forgotten child process that has not ended yet. The loop
 * keeps a list of them, so that loop_free() can end them; and it lends one piece
 * of scratch memory for bytes that are read and passed on within one callback.
 */
#ifndef STAGEPOST_NET_LOOP_LINGER_H
#define STAGEPOST_NET_LOOP_LINGER_H

#include <stddef.h>

#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"

struct lingerer {
    struct list_node node;
    void (*end)(struct lingerer *g); /* closes its handle at once; already removed */
};

void loop_add_lingerer(struct loop *l, struct lingerer *g, void (*end)(struct lingerer *g));
void loop_remove_lingerer(struct lingerer *g);

/* Valid until the callback that asked for it returns to the loop. */
char *loop_scratch(struct loop *l, size_t *bytes);

#endif
