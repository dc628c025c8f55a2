/*
 * The history: messages that are finished, kept for questions, bounded by bytes
 * and age, oldest dropped first. Only the owner of a partition trims it.
 */
#ifndef STAGEPOST_QUEUE_HISTORY_H
#define STAGEPOST_QUEUE_HISTORY_H

#include "queue/core.h"

/* What a script said the partition's history takes. */
void history_note(struct partition *p, int64_t bytes);
/* By age, one partition after the other. */
void history_tick(struct queue *q);

#endif
