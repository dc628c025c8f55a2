/*
 * The suppression lists: addresses to which a tenant's mail is not sent. Who
 * accepts mail asks queue_suppressed_start() (queue.h); this is for those who
 * keep the lists. Ops as in operate.h.
 */
#ifndef STAGEPOST_QUEUE_SUPPRESSION_H
#define STAGEPOST_QUEUE_SUPPRESSION_H

#include "queue/queue.h"

enum queue_suppression_reason {
    QUEUE_SUPPRESSED_MANUAL,
    QUEUE_SUPPRESSED_HARD_BOUNCE,
    QUEUE_SUPPRESSED_COMPLAINT,
    QUEUE_SUPPRESSION_REASONS,
};
const char *queue_suppression_reason_name(enum queue_suppression_reason r); /* "hard_bounce" */

struct queue_suppression {
    struct slice tenant, address; /* canonical; empty in entries of before they were kept */
    enum queue_suppression_reason reason;
    int64_t created_unix_ms; /* schedule clock; 0: not known */
};

/* One entry: asked for, put (an older one is replaced), or removed. */
struct queue_suppression_op {
    void (*done)(struct queue_suppression_op *op);
    enum queue_suppression_verb {
        QUEUE_SUPPRESSION_GET,
        QUEUE_SUPPRESSION_PUT,
        QUEUE_SUPPRESSION_REMOVE
    } verb;
    struct slice tenant, address; /* borrowed until done */
    /* In for PUT; out otherwise: what there is or was. tenant and address stay the caller's. */
    struct queue_suppression entry;
    bool existed;   /* out: there was one before */
    struct err err; /* ERR_NONE, ERR_AWAY (ask again), ERR_FULL, ERR_CANCELLED */
    struct queue_suppression_state *state;
};
void queue_suppression_start(struct queue_suppression_op *op, struct queue *q);
void queue_suppression_cancel(struct queue_suppression_op *op);

/* All entries of a tenant, or of all, in an order of their own, by pages. */
enum { QUEUE_SUPPRESSION_CURSOR_BYTES = 40 };
struct queue_suppressions_op {
    void (*done)(struct queue_suppressions_op *op);
    struct slice tenant; /* empty: all */
    bool has_after;
    uint8_t after[QUEUE_SUPPRESSION_CURSOR_BYTES]; /* `next` of the page before */
    unsigned limit;                                /* 1..QUEUE_LIST_LIMIT_MAX */
    struct arena *arena;
    /* Out. */
    struct queue_suppression *entries;
    unsigned count;
    bool has_more;
    uint8_t next[QUEUE_SUPPRESSION_CURSOR_BYTES];
    struct err err; /* ERR_NONE, ERR_AWAY, ERR_FULL, ERR_CANCELLED */
    struct queue_suppressions_state *state;
};
void queue_suppressions_start(struct queue_suppressions_op *op, struct queue *q);
void queue_suppressions_cancel(struct queue_suppressions_op *op);

/* What an entry is stored as: for the queue's own files and the fuzzer. */
bool suppression_encode(struct buf *b, const struct queue_suppression *s);
/* false: not of this form (older entries hold any bytes). Slices point into rec. */
bool suppression_decode(struct slice rec, struct queue_suppression *s);

#endif
