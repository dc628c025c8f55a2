/*
 * From verdicts to records: writes what an attempt found into its job (state,
 * attempts, last reply, notices owed), plans the next attempt and composes the
 * event. No I/O; only the job's own memory is touched.
 */
#ifndef STAGEPOST_DELIVER_RESULT_H
#define STAGEPOST_DELIVER_RESULT_H

#include "queue/queue.h"
#include "relay/sys/config/config.h"
#include "relay/wire/envelope.h"

/* One target of the job's delivery. */
struct result_target {
    bool attempted; /* verdict holds */
    bool relayed;   /* delivered to a peer without DSN (RFC 3461 5.2.2) */
    struct verdict verdict;
};

/* Whether the target takes part in attempts. */
bool result_is_open(const struct queue_target *t);

/* targets: one for each target of the delivery. Appends the event to `event`
 * and returns when to try again (0: everything is finished or held). */
int64_t result_write(const struct config *config, const struct envelope *envelope,
                     struct queue_job *job, const struct result_target *targets, struct buf *event);
/* The retry period is over before this attempt: every open target is given up. */
void result_expire(const struct envelope *envelope, struct queue_job *job, struct buf *event);
/* The record cannot be understood: held, for a person to look at. */
void result_hold(struct queue_job *job, const char *why, struct buf *event);

#endif
