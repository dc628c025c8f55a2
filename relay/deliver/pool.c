#include "relay/deliver/pool.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

static void
expire(struct pool_entry *e)
{
    pool_remove(e);
    e->on_expire(e);
}

static void
on_timer(struct timer *t)
{
    expire(container_of(t, struct pool_entry, timer));
}

void
pool_init(struct pool *p)
{
    list_init(&p->idle);
}

void
pool_entry_init(struct pool_entry *e, struct loop *l, void (*on_expire)(struct pool_entry *))
{
    list_node_init(&e->node);
    list_node_init(&e->site_node);
    timer_init(&e->timer, l, on_timer);
    e->on_expire = on_expire;
}

void
pool_put(struct pool *p, struct list *site_idle, struct pool_entry *e)
{
    list_push(&p->idle, &e->node);
    list_push(site_idle, &e->site_node);
    timer_start(&e->timer, clock_scaled_ms(POOL_IDLE_MS));
}

struct pool_entry *
pool_take(struct list *site_idle)
{
    if (list_empty(site_idle))
        return NULL;
    /* The last one in: the others may come to their end. */
    struct pool_entry *e = container_of(site_idle->head.prev, struct pool_entry, site_node);
    pool_remove(e);
    return e;
}

void
pool_remove(struct pool_entry *e)
{
    timer_cancel(&e->timer);
    list_remove(&e->node);
    list_remove(&e->site_node);
}

bool
pool_evict(struct pool *p)
{
    struct list_node *n = list_first(&p->idle);
    if (n == NULL)
        return false;
    expire(container_of(n, struct pool_entry, node));
    return true;
}

void
pool_expire_all(struct pool *p)
{
    while (pool_evict(p))
        ;
}
