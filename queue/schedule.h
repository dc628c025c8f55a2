/*
 * Reading the schedule: what is due in the partitions held here becomes jobs.
 * Each partition knows when it wants to be read next; one timer serves all.
 * Nothing depends on hints: a held partition is read again at least every
 * SCHEDULE_BACKSTOP_MS.
 */
#ifndef STAGEPOST_QUEUE_SCHEDULE_H
#define STAGEPOST_QUEUE_SCHEDULE_H

#include "queue/core.h"

enum { SCHEDULE_BACKSTOP_MS = 30000 };

void schedule_open(struct queue *q);
void schedule_close(struct queue *q);
void schedule_scan_soon(struct partition *p);
void schedule_scan_all(struct queue *q);
/* Something in this partition becomes due then. */
void schedule_note_due(struct partition *p, int64_t due_unix_ms);
/* After every tick: the clock may have jumped, the backstop may be due. */
void schedule_tick(struct queue *q);

#endif
