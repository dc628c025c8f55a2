/*
 * An intrusive doubly linked list. A node is in at most one list; a node that
 * is in none points to itself, so list_remove() is always safe after
 * list_node_init().
 */
#ifndef STAGEPOST_BASE_LIST_H
#define STAGEPOST_BASE_LIST_H

#include <stdbool.h>

#include "relay/sys/base/bug.h"

struct list_node {
    struct list_node *prev, *next;
};

struct list {
    struct list_node head; /* the ring's anchor */
};

static inline void
list_node_init(struct list_node *n)
{
    n->prev = n->next = n;
}

static inline void
list_init(struct list *l)
{
    list_node_init(&l->head);
}

static inline bool
list_node_linked(const struct list_node *n)
{
    return n->next != n;
}

static inline bool
list_empty(const struct list *l)
{
    return !list_node_linked(&l->head);
}

static inline void
list_insert_before(struct list_node *at, struct list_node *n)
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}

static inline void
list_push(struct list *l, struct list_node *n) /* at the end */
{
    BUG_ON(list_node_linked(n));
    list_insert_before(&l->head, n);
}

static inline void
list_push_front(struct list *l, struct list_node *n)
{
    BUG_ON(list_node_linked(n));
    list_insert_before(l->head.next, n);
}

static inline void
list_remove(struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_node_init(n);
}

static inline struct list_node *
list_first(const struct list *l)
{
    return list_empty(l) ? NULL : l->head.next;
}

static inline struct list_node *
list_pop(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n != NULL)
        list_remove(n);
    return n;
}

/* Walks the list; the current node may be removed inside the loop. */
#define LIST_EACH(l, it)                                                                           \
    for (struct list_node *it = (l)->head.next, *it##_next = it->next; it != &(l)->head;           \
         it = it##_next, it##_next = it->next)

#endif
