/*
 * What a previous owner left in `inflight`: attempts that have begun and of
 * which no fact came. Those of an owner known to be dead are ended at once,
 * others after a wait of L for a late fact: their targets are deferred (or held)
 * and flagged uncertain, because nobody knows whether the final dot was sent.
 */
#ifndef STAGEPOST_QUEUE_RECOVER_H
#define STAGEPOST_QUEUE_RECOVER_H

#include "queue/core.h"

void recover_init(struct partition *p);
/* Reads `inflight` of a partition held here. */
void recover_start(struct partition *p);

#endif
