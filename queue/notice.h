/*
 * Notices owed: debts that stand in `ndr` since the outcome that caused them.
 * The owner of the partition hands them out, a few at a time, with the whole
 * original; paying is one script that begins by removing the debt.
 */
#ifndef STAGEPOST_QUEUE_NOTICE_H
#define STAGEPOST_QUEUE_NOTICE_H

#include "queue/core.h"

/* Looks for debts in this partition. */
void notice_sweep(struct partition *p);
void notices_fini(struct queue *q);

#endif
