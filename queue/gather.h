/*
 * Notices of one message that fall due close together become one: a mail to 300
 * dead domains is answered by a few reports, not by 300. A debt waits while other
 * deliveries of its message may soon owe something too, until the message's age
 * reaches the next of QUEUE_GATHER_MS, twice that, four times, ... So a report
 * waits at most as long as its message has waited (or QUEUE_GATHER_MS), and a
 * message gets at most as many reports as doublings fit into its life. Messages
 * of few deliveries wait in the first of these times only.
 *
 * Nothing of this is durable: the debts are, and a worker that takes them over
 * lets them wait once more at most.
 */
#ifndef STAGEPOST_QUEUE_GATHER_H
#define STAGEPOST_QUEUE_GATHER_H

#include "queue/core.h"

struct gather; /* a message whose debts wait */

/* Until when (schedule clock) debts of the message wait for those of its other
 * deliveries; 0: for nothing. owing: per delivery. others: how many of these
 * there are. Pure. */
int64_t gather_until(const struct queue_message *m, const bool *owing, int64_t now_unix_ms,
                     unsigned *others);

/* A sweep met a debt of this message: whether to leave it where it is. */
bool gather_meets(struct partition *p, struct msg_id id);
/* Lets the message's debts wait; `debts` of them wake it before. false: there is
 * no room to remember that, or it has waited already. */
bool gather_start(struct partition *p, struct msg_id id, int64_t until_unix_ms, unsigned debts);
/* Its notice is out, or is not to be remembered any more. */
void gather_forget(struct queue *q, struct msg_id id);
/* Wakes what has waited long enough. */
void gather_tick(struct queue *q);
void gather_fini(struct queue *q);

#endif
