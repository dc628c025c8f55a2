/*
 * What is asked of Redis before a link may be used, and every few seconds from
 * then on: is it our dataset, does it keep what it acknowledges. What is wrong
 * is named in the log and in q->trouble; nothing is accepted meanwhile.
 */
#ifndef STAGEPOST_QUEUE_GREET_H
#define STAGEPOST_QUEUE_GREET_H

#include "queue/core.h"

enum { GREET_SCHEMA = 1 };

/* The link is connected: sends the greeting. */
void greet_link(struct queue *q, unsigned link);
/* Looks at the settings again. */
void greet_check(struct queue *q);
/* Takes over the schedule clock's offset when it is ahead of ours. */
void greet_take_clock(struct queue *q, int64_t offset_ms);

#endif
