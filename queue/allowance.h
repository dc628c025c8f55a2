/*
 * What a submitter may still have: a rate, and quotas in a day. Counted in Redis,
 * so that all workers count together, and before the commit: what the commit
 * then refuses is given back. A crash between the two costs the submitter its
 * count, never the gateway its limit.
 */
#ifndef STAGEPOST_QUEUE_ALLOWANCE_H
#define STAGEPOST_QUEUE_ALLOWANCE_H

#include "queue/queue.h"

/* 0: no such limit. All count recipients. */
struct queue_allowance {
    unsigned rate; /* in per_ms, and at once after a pause as long */
    uint64_t per_ms;
    unsigned daily; /* UTC */
    unsigned fresh; /* in a day, of those to whom it did not send in the last 90 days */
};

struct queue_allow_op {
    void (*done)(struct queue_allow_op *op);
    /* In, borrowed until done. A message with more recipients than rate, daily or
     * fresh is never allowed: the caller refuses it for good. */
    struct slice submitter;
    struct queue_allowance limits;
    const struct slice *recipients;
    unsigned count;
    /* Out. */
    enum queue_allow_result {
        QUEUE_ALLOWED,
        QUEUE_OVER_RATE,
        QUEUE_OVER_DAILY,
        QUEUE_OVER_FRESH,
        QUEUE_ALLOW_NO_ROOM, /* Redis is full */
        QUEUE_ALLOW_AWAY,
    } result;
    uint64_t wait_ms;                      /* when over: until it could be allowed */
    unsigned rate_left, daily_left;        /* when allowed */
    uint64_t rate_full_ms, daily_reset_ms; /* until nothing of it is used any more */
    struct queue_allow_state *state;
};
void queue_allow_start(struct queue_allow_op *op, struct queue *q);
/* done comes soon with QUEUE_ALLOW_AWAY; what is taken nevertheless is given back. */
void queue_allow_cancel(struct queue_allow_op *op);
/* Exactly once after QUEUE_ALLOWED: keeps what was taken, or gives it back. */
void queue_allow_settle(struct queue_allow_op *op, bool keep);

/*
 * Failures of a name: how often somebody at a network tried a wrong secret, and
 * how often one was tried for an account. Both have a free number; above it, each
 * failure doubles the pause until the next try, up to an hour's quarter.
 *
 * An account under attack stays open to whoever has not failed himself, and to
 * networks from which it was used before: nobody can lock a customer out.
 */
struct queue_guard_op {
    void (*done)(struct queue_guard_op *op);
    /* In, copied. */
    struct slice account; /* a name, somebody's or not; empty: only the network counts */
    struct slice network; /* any text that names it */
    /* Out. */
    uint64_t wait_ms; /* 0: go on */
    bool is_known;    /* the account was used from there before */
    struct err err;   /* ERR_NONE, ERR_AWAY, ERR_CANCELLED */
    struct queue_guard_state *state;
};
void queue_guard_start(struct queue_guard_op *op, struct queue *q);
void queue_guard_cancel(struct queue_guard_op *op); /* done comes soon */
/* What came of the try; nobody waits for it. */
void queue_guard_note(struct queue *q, struct slice account, struct slice network, bool failed);

#endif
