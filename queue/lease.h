/*
 * Leases: which partitions this worker owns. A lease is a record {owner, epoch,
 * counter} without expiry; no clock of Redis is used, and a stalled Redis
 * evicts nobody. README.md says why two owners cannot both believe.
 */
#ifndef STAGEPOST_QUEUE_LEASE_H
#define STAGEPOST_QUEUE_LEASE_H

#include "queue/core.h"

void lease_init(struct queue *q);
void lease_fini(struct queue *q);
/* Renews, watches and balances at once instead of at the next tick. */
void lease_tick_soon(struct queue *q);
/* Held, and renewed less than L/2 ago: claims and final dots are allowed. */
bool lease_is_fresh(const struct partition *p);
bool lease_owner_is_dead(const struct queue *q, const struct owner *o);
/* Gives all leases back (those whose link is up). done: q->releasing is 0. */
void lease_release_all(struct queue *q, void (*each)(struct queue *q));

#endif
