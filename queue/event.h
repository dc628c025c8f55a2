/*
 * Events: written in the same script as the outcome, handed to the consumer at
 * least once, removed afterwards. The queue's own are JSON objects:
 * {"event":"queue.uncertain"|"queue.poison"|"queue.quarantined","id":...}.
 */
#ifndef STAGEPOST_QUEUE_EVENT_H
#define STAGEPOST_QUEUE_EVENT_H

#include "queue/core.h"

/* Hands over an event that was just made durable; its id is Redis' ("" none). */
void event_deliver(struct partition *p, struct slice stream_id, struct slice event);
/* Reads what a previous owner left. */
void event_read_left(struct partition *p);
/* Removes what was handed over, now and then. */
void event_flush_acks(struct partition *p);
/* The queue's own events: name, "<id>.<n>". */
void event_describe(struct buf *b, const char *name, struct slice member);

#endif
