/*
 * The queue's own parts, for the files of this folder only: the struct behind
 * queue.h, and the partition, which is what most of them work on.
 */
#ifndef STAGEPOST_QUEUE_CORE_H
#define STAGEPOST_QUEUE_CORE_H

#include "queue/keys.h"
#include "queue/link.h"
#include "queue/queue.h"
#include "relay/sys/base/bug.h"

enum {
    OWNER_HEX_BYTES = 2 * QUEUE_OWNER_BYTES,
    DATASET_BYTES = QUEUE_DATASET_BYTES,
    DEAD_OWNERS_MAX = 16
};

#define NEVER_UNIX_MS INT64_MAX

struct lane;
struct scan;
struct sweep;
struct worker_watch;
struct gather;

struct owner {
    char hex[OWNER_HEX_BYTES + 1];
};

/* A lease as a contender saw it. */
struct lease_view {
    struct owner owner; /* "": nobody's */
    uint64_t epoch, counter;
    uint64_t since_ms;    /* first seen so, monotonic; 0: not watched */
    uint64_t answered_ms; /* last seen so */
};

struct partition {
    struct queue *q;
    unsigned number;
    /* Lease (lease.c). */
    bool held, leaving, release_next;
    uint64_t epoch;
    uint64_t renewed_ms; /* when the last renewal that succeeded was sent */
    uint64_t taken_ms;   /* when it was taken */
    int64_t changes;     /* others' changes of the schedule, as last answered */
    struct lease_view seen;
    struct link_cmd lease_cmd; /* the one watch, take, renewal or release under way */
    /* Schedule (schedule.c). */
    int64_t scan_at_unix_ms;
    uint64_t scanned_ms; /* monotonic, of the last full reading */
    struct scan *scan;   /* NULL: none under way */
    bool scan_again;
    unsigned jobs; /* of ours, in memory */
    /* What a previous owner left (recover.c, notice.c, event.c). */
    struct sweep *recovery;
    unsigned recovering; /* attempts that are being ended */
    struct timer recover_late;
    bool notices_wanted, notices_reading;
    unsigned sweeps; /* of notices, begun */
    bool trimming;   /* history.c */
    struct buf acks; /* event ids to remove, separated by spaces */
};

struct queue {
    struct loop *loop;
    struct queue_config cfg;
    struct queue_consumer *consumer;
    struct owner me;
    bool draining, closing;
    /* Links (greet.c). */
    struct link_pool *links;
    struct link_pool_user link_user;
    char dataset[DATASET_BYTES + 1]; /* "": not known yet */
    const char *trouble;             /* why the dataset or its settings will not do; NULL */
    bool ever_up;
    uint64_t full_until_ms; /* after a refusal for want of room */
    bool disk_is_low;       /* at the last tick (disk.h) */
    struct link_cmd check_cmd, dataset_cmd;
    const char *dataset_trouble; /* as the last check found it */
    /* Leases (lease.c). */
    struct partition partitions[QUEUE_PARTITIONS];
    struct timer tick;
    struct owner dead[DEAD_OWNERS_MAX]; /* a ring */
    unsigned dead_next, held;
    unsigned taken_over; /* since the last tick, for the log */
    struct link_cmd beat_cmd, roll_cmd, clock_cmd;
    struct worker_watch *workers; /* a hash by owner */
    unsigned live_workers, ticks;
    /* Jobs (job.c, schedule.c). */
    struct queue_job *jobs; /* a hash by member */
    struct lane *lanes;     /* a hash by name */
    unsigned job_count;
    struct list ready; /* jobs for the consumer */
    struct deferred hand_out_call, rearm_call;
    struct timer scan_timer;
    unsigned scans;
    bool starved;                   /* work was left unread for want of room for jobs */
    struct ZSTD_CCtx_s *compressor; /* body.c */
    /* Notices (notice.c). */
    struct queue_notice *notices; /* a hash by message */
    unsigned notice_count;
    struct gather *gathers; /* a hash by message (gather.c) */
    unsigned gather_count;
    /* Work under way, for queue_busy(). */
    unsigned commits, outcomes, questions;
    struct timer close_timer;
    struct queue_close_op *close_op;
    unsigned releasing;
    void (*each_released)(struct queue *q);
};

unsigned queue_link_of(const struct queue *q, unsigned partition);
/* A link for the keys of an account (key_of_account()): always the same. */
unsigned account_link(const struct queue *q, const uint8_t digest[32]);
/* A command for keys of this partition. */
void queue_cmd_init(struct link_cmd *c, struct queue *q, unsigned partition,
                    void (*done)(struct link_cmd *));
struct owner owner_from_bytes(const uint8_t b[QUEUE_OWNER_BYTES]);

#endif
