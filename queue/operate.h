/*
 * What operators and users of the API ask of the queue: which messages there
 * are, and to hold, release, cancel or hurry them. Every worker can answer for
 * the whole dataset, whoever holds the leases.
 *
 * As everywhere: the op is embedded in its owner, start never calls back before
 * it returns, done comes exactly once, cancel makes it come soon with
 * ERR_CANCELLED. Slices given in stay the caller's until done. No answer costs
 * more than the limits in limits.h, however much there is to be found.
 */
#ifndef STAGEPOST_QUEUE_OPERATE_H
#define STAGEPOST_QUEUE_OPERATE_H

#include "queue/queue.h"

/* ---- what happened ------------------------------------------------------ */

enum queue_event_kind {
    QUEUE_EVENT_ACCEPTED,
    QUEUE_EVENT_DEFERRED,
    QUEUE_EVENT_SUCCEEDED,
    QUEUE_EVENT_BOUNCED,
    QUEUE_EVENT_EXPIRED,
    QUEUE_EVENT_SUPPRESSED,
    QUEUE_EVENT_HELD,
    QUEUE_EVENT_CANCELLED,
    QUEUE_EVENT_RELEASED,
    QUEUE_EVENT_RETRIED,
    QUEUE_EVENT_NOTICE, /* a notice (NDR) was enqueued */
    QUEUE_EVENT_KINDS,
};

/* One thing that happened to one recipient; ACCEPTED is about the message. */
struct queue_event {
    enum queue_event_kind kind;
    int64_t at_unix_ms, retry_at_unix_ms; /* schedule clock; 0: not tried again */
    uint32_t attempt;                     /* of its delivery; 0: none */
    unsigned delivery, target;
    struct slice recipient, domain;
    struct slice reply; /* opaque, as in the target; may be empty */
    bool uncertain;
    struct msg_id notice_id; /* of NOTICE */
    unsigned record;         /* of the trace: with delivery and target, a stable name */
};

/* Everything that is known of one message, oldest first. The trace is bounded:
 * `dropped` tells how many records were, from its middle. */
struct queue_events_op {
    void (*done)(struct queue_events_op *op);
    struct msg_id id;
    struct slice tenant; /* another tenant's message is not found; empty: any */
    struct arena *arena;
    struct queue_event *events; /* out, in the arena */
    unsigned count;
    uint64_t dropped;
    struct err err; /* ERR_NONE, ERR_NOT_FOUND, ERR_AWAY, ERR_FULL, ERR_BAD, ERR_CANCELLED */
    struct queue_events_state *state;
};
void queue_events_start(struct queue_events_op *op, struct queue *q);
void queue_events_cancel(struct queue_events_op *op);

/* The bytes of a message, as they were committed. */
struct queue_raw_op {
    void (*done)(struct queue_raw_op *op);
    struct msg_id id;
    struct slice tenant;    /* as above */
    struct content content; /* out, the caller's reference */
    struct err err; /* ERR_NONE, ERR_NOT_FOUND, ERR_STALE (finished: the bytes are gone), ERR_AWAY,
                       ERR_BAD, ERR_CANCELLED */
    struct queue_raw_state *state;
};
void queue_raw_start(struct queue_raw_op *op, struct queue *q);
void queue_raw_cancel(struct queue_raw_op *op);

/* ---- which messages there are --------------------------------------------- */

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

/* ---- what waits for whom ---------------------------------------------------- */

enum { QUEUE_AGES = 10 };
/* Upper bounds of the age buckets, in minutes: 5, 10, 20 ... 1280; the last one has none. */
extern const unsigned QUEUE_AGE_MINUTES[QUEUE_AGES - 1];

/* Deliveries to one next hop, of one tenant and class. */
struct queue_row {
    struct slice next_hop, tenant;
    enum queue_class klass;
    uint64_t queued, deferred, held, inflight;
    int64_t oldest_unix_ms;    /* 0: not known */
    int64_t next_due_unix_ms;  /* 0: nothing is scheduled */
    struct slice reply;        /* opaque: what one of them was told last; may be empty */
    uint64_t ages[QUEUE_AGES]; /* deliveries by age, scheduled and held */
    bool sampled; /* queued, deferred and ages are estimates: not every delivery was looked at */
};

/* The queue by rows, most deliveries first. Bounded: the rows with the most are
 * found in every partition, and some deliveries of each are looked at. */
struct queue_summary_op {
    void (*done)(struct queue_summary_op *op);
    struct slice tenant, next_hop; /* empty: any */
    unsigned limit;                /* 1..QUEUE_SUMMARY_ROWS_MAX */
    struct arena *arena;
    /* Out. */
    struct queue_row *rows;
    unsigned count;
    struct queue_row
        total;      /* over all rows, shown or not: queued (with deferred), held, inflight */
    bool truncated; /* there are more rows than are counted or shown */
    struct err err; /* ERR_NONE, ERR_AWAY, ERR_FULL, ERR_CANCELLED */
    struct queue_summary_state *state;
};
void queue_summary_start(struct queue_summary_op *op, struct queue *q);
void queue_summary_cancel(struct queue_summary_op *op);

/* ---- changing what waits ---------------------------------------------------- */

/*
 * What is waiting may be changed, what is being attempted never: every change is
 * fenced by the record's revision and refused while an attempt is under way, so
 * a change and an attempt exclude each other and nothing is sent twice.
 */
enum queue_action {
    QUEUE_RETRY,    /* queued, deferred: due now */
    QUEUE_CANCEL,   /* queued, deferred, held: cancelled, for good */
    QUEUE_HOLD,     /* queued, deferred: held until somebody releases it */
    QUEUE_RELEASE,  /* held: due now */
    QUEUE_SUPPRESS, /* queued, deferred, held: suppressed, for good */
    QUEUE_ACTIONS,
};

struct queue_action_op {
    void (*done)(struct queue_action_op *op);
    struct msg_id id;
    enum queue_action action;
    struct slice tenant;            /* another tenant's message is not found; empty: any */
    struct slice submitter;         /* the same */
    const struct slice *recipients; /* canonical; count 0: all */
    unsigned recipient_count;
    bool careful; /* releases nothing that may have been delivered or that crashed us */
    /* Out: targets that were changed, and that were left because an attempt is under way. */
    unsigned affected, in_flight;
    struct err err; /* ERR_NONE, ERR_NOT_FOUND, ERR_AWAY (some may be changed: ask again),
                       ERR_FULL, ERR_BAD, ERR_CANCELLED */
    struct queue_action_state *state;
};
void queue_action_start(struct queue_action_op *op, struct queue *q);
/* What was changed stays changed. */
void queue_action_cancel(struct queue_action_op *op);

/* The same action on everything that one submitter has handed in, or on one
 * recipient in everything of a tenant, in bounded steps and carefully. It may be
 * asked again from the start at any time. */
struct queue_sweep_op {
    void (*done)(struct queue_sweep_op *op);
    struct slice submitter;         /* empty: by tenant and recipient */
    struct slice tenant, recipient; /* canonical; only without a submitter */
    enum queue_action action;
    uint64_t affected, in_flight; /* out: targets, as above */
    struct err err;               /* ERR_NONE, ERR_AWAY (not all was seen), ERR_CANCELLED */
    struct queue_sweep_state *state;
};
void queue_sweep_start(struct queue_sweep_op *op, struct queue *q);
void queue_sweep_cancel(struct queue_sweep_op *op);

#endif
