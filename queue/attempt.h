/*
 * Attempts: the intent that makes one durable before the final dot, and what
 * becomes of an intent whose outcome is unknown.
 */
#ifndef STAGEPOST_QUEUE_ATTEMPT_H
#define STAGEPOST_QUEUE_ATTEMPT_H

#include "queue/job.h"

/* The job's intent was recorded and came to nothing, or may or may not have been
 * recorded: undoes it, for as long as Redis takes to answer, then forgets the
 * job. */
void attempt_take_back(struct queue_job *job);

#endif
