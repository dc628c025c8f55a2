/*
 * Idle connections: kept POOL_IDLE_MS for the next message of their site, then
 * said QUIT to. The one idle longest makes room when all connections are used.
 */
#ifndef STAGEPOST_DELIVER_POOL_H
#define STAGEPOST_DELIVER_POOL_H

#include <stdbool.h>

#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"

struct pool {
    struct list idle; /* all sites; the longest idle first */
};

/* Embedded in a connection. */
struct pool_entry {
    struct list_node node;      /* in pool.idle */
    struct list_node site_node; /* in the site's list */
    struct timer timer;
    /* Idle for too long, or evicted: it is out of the pool; close it. */
    void (*on_expire)(struct pool_entry *e);
};

void pool_init(struct pool *p);
void pool_entry_init(struct pool_entry *e, struct loop *l, void (*on_expire)(struct pool_entry *));
void pool_put(struct pool *p, struct list *site_idle, struct pool_entry *e);
/* The one used last; NULL when the site has none. */
struct pool_entry *pool_take(struct list *site_idle);
/* Takes an entry out (its peer closed it); fine when it is not in. */
void pool_remove(struct pool_entry *e);
/* Expires the one idle longest; false when there is none. */
bool pool_evict(struct pool *p);
void pool_expire_all(struct pool *p);

#endif
