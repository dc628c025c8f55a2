/*
 * The roll of live workers: each increments its field of `sp:workers` every
 * tick, and removes it when it drains. Who is seen to move is alive; the number
 * decides the fair share of partitions. Only balance depends on it, never safety.
 */
#ifndef STAGEPOST_QUEUE_WORKERS_H
#define STAGEPOST_QUEUE_WORKERS_H

#include "queue/core.h"

void workers_beat(struct queue *q);
/* Partitions that this worker should hold: the total over those alive. */
unsigned workers_share(const struct queue *q);
void workers_strike(struct queue *q, const struct owner *gone); /* out of the roll */
void workers_fini(struct queue *q);

#endif
