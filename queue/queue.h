/*
 * The durable queue: messages, their deliveries and targets, on Redis. It knows
 * nothing of SMTP: envelopes, target options, replies and events are bytes that
 * it keeps and gives back. README.md holds the state table: which records exist
 * in each state, the instant of commitment, what a crash leaves, who repairs it.
 *
 *   message   one accepted mail; lives in the partition that its id names
 *   delivery  message x next hop: the unit that is scheduled and attempted
 *   target    one recipient of a delivery, with a state of its own
 *
 * Every worker has one queue. It holds leases on its share of the partitions;
 * what becomes due in them is handed out as jobs. An operation is a struct that
 * its owner embeds; start cannot fail, done comes exactly once on a later turn.
 */
#ifndef STAGEPOST_QUEUE_QUEUE_H
#define STAGEPOST_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"

enum { QUEUE_PARTITIONS = 256, QUEUE_OWNER_BYTES = 16, QUEUE_DATASET_BYTES = 32 };

struct queue;
struct queue_job;
struct queue_notice;
struct tls_context;

/* ---- records ------------------------------------------------------------ */

enum queue_state {
    QUEUE_QUEUED = 0,
    QUEUE_DEFERRED,
    QUEUE_HELD,
    /* terminal from here on */
    QUEUE_DELIVERED,
    QUEUE_BOUNCED,
    QUEUE_EXPIRED,
    QUEUE_SUPPRESSED,
    QUEUE_CANCELLED,
};

bool queue_state_is_terminal(enum queue_state s);
const char *queue_state_name(enum queue_state s); /* "queued", "deferred", ... */

enum queue_class { QUEUE_TRANSACTIONAL = 0, QUEUE_BULK };

struct queue_target {
    struct slice address; /* canonical */
    struct slice options; /* opaque: what the submitter asked for this target */
    struct slice reply;   /* opaque: last verdict, empty before the first attempt */
    enum queue_state state;
    uint32_t attempts;
    bool uncertain;     /* some attempt may have delivered it; stays true */
    bool notice_owed;   /* in: set by the consumer before finish, see there */
    bool delay_told;    /* the consumer's mark: a notice was owed while it waited; stays true */
    bool has_notice_id; /* a notice was enqueued for it */
    struct msg_id notice_id;
};

struct queue_delivery {
    unsigned index;        /* within its message */
    struct slice next_hop; /* domain, lower case A-labels */
    int64_t due_unix_ms;   /* next attempt, schedule clock; 0 when finished */
    int64_t expires_unix_ms;
    uint32_t attempts; /* the consumer counts them, the queue those that crashed */
    uint32_t crashes;  /* attempts that ended without any fact, in a row */
    uint64_t revision; /* of the record; the queue's */
    struct queue_target *targets;
    unsigned target_count;
};

struct queue_message {
    struct msg_id id;
    struct slice tenant;
    enum queue_class klass;
    int64_t created_unix_ms;
    uint64_t size_bytes;
    struct slice envelope;  /* opaque */
    struct slice submitter; /* who handed it in; at most QUEUE_SUBMITTER_MAX, may be empty */
    struct queue_delivery *deliveries;
    unsigned delivery_count;
};

/* ---- opening ------------------------------------------------------------ */

struct queue_config {
    struct net_address redis;
    const char *dataset;  /* its uuid, when known: another or none is refused; NULL or "": not */
    const char *disk_dir; /* on the disk that Redis writes to, borrowed; NULL: not known */
    const char *redis_user, *redis_password; /* borrowed; "" or NULL: no AUTH is sent */
    struct tls_context *redis_tls;           /* borrowed, verifying; NULL: without TLS */
    unsigned links;                          /* connections to Redis, 1..8 */
    uint8_t owner[QUEUE_OWNER_BYTES];        /* random, new for every process */
    uint64_t lease_ms;                       /* L: 4000 in development mode */
    uint64_t history_bytes;                  /* of finished messages, all partitions together */
    uint64_t history_age_ms;
    uint64_t commit_timeout_ms;  /* without a reply for so long, the outcome is unknown */
    uint64_t unknown_timeout_ms; /* and for so long it is tried to be read back */
    uint64_t idempotency_ttl_ms; /* 24 h */
    unsigned jobs_in_memory_max; /* handed out or waiting for the consumer */
    bool hold_uncertain;         /* on_uncertain = hold instead of retry */
    bool no_gathering;           /* a notice for each debt, at once: for tests */
};

/* The consumer of jobs: deliver/. Callbacks come from the loop. */
struct queue_consumer {
    /* A delivery is due. The consumer owns the job until it passes it to
     * queue_finish_start() or queue_job_release(). */
    void (*on_job)(struct queue_consumer *c, struct queue_job *job);
    /* A notice is owed; until queue_notice_commit_start() or
     * queue_notice_drop_start() the consumer owns it. It comes again, here or
     * at another worker, when this process ends before. */
    void (*on_notice)(struct queue_consumer *c, struct queue_notice *n);
    /* An event record was made durable with the outcome; it comes at least
     * once. event_id is stable. Acknowledged when the call returns. */
    void (*on_event)(struct queue_consumer *c, struct slice event_id, struct slice event);
};

/* Starts connecting; never waits. Refuses a dataset of another schema or one
 * that another program owns when it sees it: queue_status() says so. */
struct queue *queue_open(struct loop *l, const struct queue_config *cfg,
                         struct queue_consumer *consumer);
/* From now on no new jobs are handed out and no leases are taken. */
void queue_drain(struct queue *q);
/* The uuid of the dataset, QUEUE_DATASET_BYTES characters; "" before it is known. */
const char *queue_dataset(const struct queue *q);
/* on_uncertain, from the next recovery on. */
void queue_set_hold_uncertain(struct queue *q, bool hold);
/* Whether jobs, commits or outcomes are still under way here. */
bool queue_busy(const struct queue *q);
struct queue_close_op {
    void (*done)(struct queue_close_op *op);
};
/* Releases the leases (when Redis answers within 2 s) and frees everything. All
 * jobs must have been given back. */
void queue_close_start(struct queue_close_op *op, struct queue *q);

/* The supervisor saw this owner die: its leases are taken over at once. */
void queue_owner_died(struct queue *q, const uint8_t owner[QUEUE_OWNER_BYTES]);

enum queue_status {
    QUEUE_STARTING, /* no link has been up yet */
    QUEUE_UP,
    QUEUE_AWAY_NOW, /* no link, loading, or not writable */
    QUEUE_FULL_NOW, /* refuses for want of memory or disk; delivery goes on */
};
enum queue_status queue_status(const struct queue *q);
/* Partitions whose lease this worker holds. */
unsigned queue_partitions_held(const struct queue *q);

/* ---- accepting ---------------------------------------------------------- */

/* A partition for a new message: one held here if there is one. */
unsigned queue_pick_partition(struct queue *q);
/* The partition where a submission with this idempotency key must live. */
unsigned queue_partition_for_key(struct slice credential, struct slice key);

enum queue_commit_result {
    QUEUE_COMMITTED,
    QUEUE_REPLAYED,        /* same key and body before: replayed_id */
    QUEUE_KEY_CONFLICT,    /* same key, other body */
    QUEUE_NO_ROOM,         /* known not to be committed: memory or disk */
    QUEUE_AWAY,            /* known not to be committed: Redis cannot be had */
    QUEUE_OUTCOME_UNKNOWN, /* say nothing and close */
};

struct queue_commit_op {
    void (*done)(struct queue_commit_op *op);
    /* In, borrowed until done. deliveries[].index, revision are set by the
     * queue; targets carry QUEUED or SUPPRESSED. The due times decide whether
     * the first attempt follows at once. */
    const struct queue_message *message;
    struct content content;                               /* referenced by the queue */
    struct slice idempotency_credential, idempotency_key; /* key empty: none */
    uint8_t request_digest[32]; /* SHA-256 of what must be equal in a replay */
    /* Out. */
    enum queue_commit_result result;
    struct msg_id replayed_id;
    struct err err;
    struct queue_commit_state *state;
};
void queue_commit_start(struct queue_commit_op *op, struct queue *q);
/* The client is gone: done comes soon with QUEUE_OUTCOME_UNKNOWN, what was
 * committed stays committed. */
void queue_commit_cancel(struct queue_commit_op *op);

/* ---- jobs --------------------------------------------------------------- */

/* The message of a job; deliveries[0] is the one to attempt (delivery_count is
 * 1 whatever the message has). Valid until the job is given back. */
const struct queue_message *queue_job_message(const struct queue_job *job);
struct queue_delivery *queue_job_delivery(struct queue_job *job);
/* The bytes, when they are in memory already (head and rest NULL otherwise). */
const struct content *queue_job_content(const struct queue_job *job);
/* Copies into the job's memory and sets targets[i].reply. */
void queue_job_set_reply(struct queue_job *job, unsigned target, struct slice reply);

/* Reads the bytes from Redis into the job. */
struct queue_load_op {
    void (*done)(struct queue_load_op *op);
    struct queue_job *job;
    struct err err; /* ERR_NONE, ERR_AWAY, ERR_STALE, ERR_BAD (quarantined by the queue) */
    struct queue_load_state *state;
};
void queue_load_start(struct queue_load_op *op, struct queue *q, struct queue_job *job);
void queue_load_cancel(struct queue_load_op *op);

/*
 * The intent: an attempt at this job is about to begin. Durable when done says
 * so; the final dot of no transaction may be sent before. Intents of one turn
 * travel together.
 */
struct queue_intend_op {
    void (*done)(struct queue_intend_op *op);
    struct queue_job *job;
    enum queue_intent {
        QUEUE_INTENT_OK,
        QUEUE_INTENT_STALE, /* not ours any more: release the job, send nothing */
        QUEUE_INTENT_AWAY,  /* Redis cannot be had: release the job, send nothing */
    } result;
    struct list_node node;
    struct queue_intend_state *state;
};
void queue_intend_start(struct queue_intend_op *op, struct queue *q, struct queue_job *job);

/* Whether a final dot may be sent now: the intent is durable and the lease was
 * renewed less than L/2 ago. */
bool queue_job_may_send_dot(const struct queue *q, const struct queue_job *job);

/*
 * The outcome. In the job's delivery the consumer has set state, attempts,
 * uncertain and reply of its targets; targets not terminal are scheduled for
 * retry_at. notice_owed marks targets for which a notice (NDR) is due: it is
 * recorded in the same script, for targets that are not terminal too (then the
 * consumer sets delay_told, so that it is owed once). The job is consumed. An intent is not
 * required (expired, no route): then the outcome counts only while nobody attempts the delivery.
 * Targets left HELD are not scheduled. While Redis is away the outcome is kept in memory and
 * written later; done comes when it is durable or known to be void (somebody else has finished the
 * delivery).
 */
struct queue_finish_op {
    void (*done)(struct queue_finish_op *op);
    int64_t retry_at_unix_ms;
    struct slice event; /* borrowed until done; empty: none */
    bool stale;         /* out: recorded as a late fact, or void */
    struct queue_finish_state *state;
};
void queue_finish_start(struct queue_finish_op *op, struct queue *q, struct queue_job *job);

/* Gives a job back unchanged; it comes again after at least delay_ms (site busy,
 * drain), and so does everything of the same next hop, tenant and class. Not
 * durable, costs nothing; only an intent is taken back by a script. For jobs of
 * which nothing was sent: after a final dot only an outcome will do. */
void queue_job_release(struct queue *q, struct queue_job *job, uint64_t delay_ms);

/* ---- notices ------------------------------------------------------------ */

/* All of the message, with the deliveries; content holds the original. */
const struct queue_message *queue_notice_message(const struct queue_notice *n);
const struct content *queue_notice_content(const struct queue_notice *n);
/* The targets to report: pairs of delivery and target index. */
struct queue_notice_target {
    unsigned delivery, target;
    bool waiting; /* it was not terminal when the notice fell due; by now it may be */
};
unsigned queue_notice_targets(const struct queue_notice *n, const struct queue_notice_target **out);

/* Enqueues the notice's own message (its id must be in the same partition:
 * id_new(id_partition(original)), and it has one delivery) and removes the debt in one script. done
 * comes when that is durable; gone: somebody else did it. Consumes the notice. */
struct queue_notice_op {
    void (*done)(struct queue_notice_op *op);
    const struct queue_message *message; /* NULL: nothing to enqueue, drop the debt */
    struct content content;
    bool gone; /* out */
    struct queue_notice_state *state;
};
void queue_notice_commit_start(struct queue_notice_op *op, struct queue *q, struct queue_notice *n);

/* ---- questions ---------------------------------------------------------- */

struct queue_lookup_op {
    void (*done)(struct queue_lookup_op *op);
    struct msg_id id;
    struct slice tenant;           /* another's message is not found; empty: anybody's is */
    struct arena *arena;           /* in: where the answer goes */
    struct queue_message *message; /* out: NULL when not found */
    struct err err; /* ERR_NONE, ERR_NOT_FOUND, ERR_AWAY, ERR_FULL, ERR_BAD (record broken) */
    struct queue_lookup_state *state;
};
void queue_lookup_start(struct queue_lookup_op *op, struct queue *q);
void queue_lookup_cancel(struct queue_lookup_op *op);

/* Which of the addresses are on the tenant's suppression list. */
struct queue_suppressed_op {
    void (*done)(struct queue_suppressed_op *op);
    struct slice tenant;
    const struct slice *addresses; /* canonical, borrowed until done */
    unsigned count;
    bool *suppressed; /* out: count entries, the caller's memory */
    struct err err;   /* ERR_NONE or ERR_AWAY */
    struct queue_suppressed_state *state;
};
void queue_suppressed_start(struct queue_suppressed_op *op, struct queue *q);
void queue_suppressed_cancel(struct queue_suppressed_op *op);
/* The Redis key and field under which an address is listed (tests fill it). */
void queue_suppression_place(struct slice tenant, struct slice address, struct buf *key,
                             struct buf *field);

struct queue_depth {
    uint64_t live_messages; /* accepted and not finished */
    uint64_t scheduled, inflight, notices;
    uint64_t held; /* deliveries with a held target */
};
struct queue_depth_op {
    void (*done)(struct queue_depth_op *op);
    struct queue_depth depth; /* out */
    struct err err;
    struct queue_depth_state *state;
};
void queue_depth_start(struct queue_depth_op *op, struct queue *q);
void queue_depth_cancel(struct queue_depth_op *op);

/* Advances the schedule clock by delta_ms (>= 0) for the whole dataset and for
 * all its workers; done when it is durable and in force here. */
struct queue_clock_op {
    void (*done)(struct queue_clock_op *op);
    int64_t delta_ms;
    struct err err;
    struct queue_clock_state *state;
};
void queue_clock_advance_start(struct queue_clock_op *op, struct queue *q);

#endif
