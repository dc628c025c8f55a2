/*
 * What operators and users of the API ask of the queue: which messages there
 * are. Every worker can answer for the whole dataset.
 *
 * As everywhere: the op is embedded in its owner, start never calls back before
 * it returns, done comes exactly once, cancel makes it come soon with
 * ERR_CANCELLED. Slices given in stay the caller's until done. No answer costs
 * more than the limits in limits.h, however much there is to be found.
 */
#ifndef STAGEPOST_QUEUE_OPERATE_H
#define STAGEPOST_QUEUE_OPERATE_H

#include "queue/queue.h"

/* A message shows the state of its least finished target; when all are
 * finished, the one that its sender must know first. */
enum queue_state queue_message_state(const struct queue_message *m);

/* Messages, newest first. An answer may hold fewer than `limit` and still say
 * has_more: when few match, only so many are looked at for one answer. */
struct queue_list_op {
    void (*done)(struct queue_list_op *op);
    /* In; an empty slice: any. */
    struct slice tenant, recipient, submitter;
    bool has_wanted;
    enum queue_state wanted;
    int64_t since_unix_ms, until_unix_ms; /* since <= created < until; 0: no bound */
    bool has_after;
    struct msg_id after; /* `next` of the page before */
    unsigned limit;      /* 1..QUEUE_LIST_LIMIT_MAX */
    struct arena *arena; /* where the answer goes */
    /* Out. */
    struct queue_message **messages;
    unsigned count;
    bool has_more;
    struct msg_id next;
    struct err err; /* ERR_NONE, ERR_AWAY, ERR_FULL (the arena holds not even one), ERR_CANCELLED */
    struct queue_list_state *state;
};
void queue_list_start(struct queue_list_op *op, struct queue *q);
void queue_list_cancel(struct queue_list_op *op);

#endif
