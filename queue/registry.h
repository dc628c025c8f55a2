/*
 * Small records that operators make while the gateway runs, and that every worker
 * has in memory: by kind and name, with a generation that each change raises. A
 * worker asks for the generation now and then, and reads all of a kind when it is
 * another one. What they hold is the caller's.
 */
#ifndef STAGEPOST_QUEUE_REGISTRY_H
#define STAGEPOST_QUEUE_REGISTRY_H

#include "queue/queue.h"

struct queue_registry_read_op {
    void (*done)(struct queue_registry_read_op *op);
    /* In. kind: lower-case letters, borrowed until done. */
    const char *kind;
    int64_t known; /* generation that the caller has; -1: none */
    /* Comes for each entry, before done, when the generation is another one. */
    void (*each)(struct queue_registry_read_op *op, struct slice name, struct slice value);
    /* Out. */
    int64_t generation;
    const char *dataset; /* the queue's, when err is ERR_NONE; lives as long as the queue */
    struct err err;      /* ERR_NONE, ERR_AWAY, ERR_CANCELLED */
    struct queue_registry_read_state *state;
};
void queue_registry_read_start(struct queue_registry_read_op *op, struct queue *q);
void queue_registry_read_cancel(struct queue_registry_read_op *op);

struct queue_registry_put_op {
    void (*done)(struct queue_registry_put_op *op);
    /* In, copied. */
    const char *kind;
    struct slice name;
    struct slice old;   /* what it is now; empty: there is none */
    struct slice value; /* at most QUEUE_REGISTRY_VALUE_MAX; empty: remove it */
    /* Out. */
    enum queue_registry_result {
        REGISTRY_DONE,
        REGISTRY_CHANGED, /* it is not `old` */
        REGISTRY_FULL,    /* QUEUE_REGISTRY_ENTRIES_MAX, or no memory */
        REGISTRY_AWAY,    /* perhaps done: look */
    } result;
    struct queue_registry_put_state *state;
};
void queue_registry_put_start(struct queue_registry_put_op *op, struct queue *q);
/* done comes soon with REGISTRY_AWAY. */
void queue_registry_put_cancel(struct queue_registry_put_op *op);

#endif
