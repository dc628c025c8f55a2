/*
 * Jobs: deliveries that are in memory here, because they are due and handed
 * out, or their outcome is on its way to Redis. A delivery is in memory at most
 * once; Redis is the judge all the same (intend.lua).
 *
 * Lanes keep one (next hop, tenant, class) from filling the memory for jobs: a
 * lane may hold a quarter of what is still free, and a lane whose job was given
 * back with a delay rests as a whole.
 */
#ifndef STAGEPOST_QUEUE_JOB_H
#define STAGEPOST_QUEUE_JOB_H

#include <uthash.h>

#include "queue/core.h"
#include "queue/record.h"
#include "relay/sys/base/sm.h"

enum job_state {
    JOB_READY,     /* waits for the consumer */
    JOB_OUT,       /* the consumer's */
    JOB_INTENDING, /* the intent is on its way */
    JOB_INTENDED,  /* an attempt is under way */
    JOB_DOUBTFUL,  /* the intent's outcome is unknown; the consumer will release it */
    JOB_RETURNING, /* that intent is being taken back */
    JOB_FINISHING, /* the outcome is on its way */
    JOB_STATE_COUNT,
};

struct job_before {
    enum queue_state state;
    uint32_t attempts;
    const char *reply;
};

struct queue_job {
    struct queue *q;
    struct sm sm;
    struct arena arena; /* records, replies */
    struct queue_message message;
    struct queue_delivery delivery; /* message.deliveries */
    struct record_body body;
    struct content content;
    bool *old;                 /* per target: terminal before this job */
    struct job_before *before; /* per target: as the record was read */
    char member[KEY_MEMBER_MAX + 1];
    size_t member_n;
    struct lane *lane;
    struct record_attempt attempt;
    int64_t due_unix_ms; /* as it was scheduled */
    struct list_node ready;
    UT_hash_handle hh;
};

/* A delivery as the schedule names it. */
struct job_source {
    struct msg_id id;
    unsigned index;
    struct slice message_record, delivery_record;
    const struct content *content; /* NULL: not in memory */
};
/* Makes the delivery a job and hands it out soon. false: a record is broken.
 * Does nothing (true) when it is in memory already. */
bool job_offer(struct queue *q, const struct job_source *src);
bool job_in_memory(struct queue *q, struct slice member);
/* Whether this attempt runs here. */
bool job_runs_attempt(struct queue *q, struct slice member, const uint8_t *attempt_id);
/* Frees the job; its lane and partition may go on. */
void job_forget(struct queue_job *job);
void job_move(struct queue_job *job, enum job_state to);
struct partition *job_partition(const struct queue_job *job);
struct slice job_lane(const struct queue_job *job);

/* How many jobs of this lane may be added now. jobs (NULL: not asked): how many
 * it has in memory. */
unsigned lane_room(struct queue *q, struct slice lane, unsigned *jobs);
/* Entries of this partition were left unread: it is scanned again when the lane
 * has room and its rest is over. */
void lane_set_aside(struct queue *q, struct slice lane, unsigned partition);

void jobs_init(struct queue *q);
/* Takes back what the consumer has not seen yet (drain). */
void jobs_drop_ready(struct queue *q);
void jobs_fini(struct queue *q);

#endif
