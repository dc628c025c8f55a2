/*
 * Records that cannot be read are put away in the partition's `bad` hash, with
 * an event, a log line and METRIC_QUARANTINED; the message itself stays.
 */
#ifndef STAGEPOST_QUEUE_QUARANTINE_H
#define STAGEPOST_QUEUE_QUARANTINE_H

#include "queue/core.h"

/* name: the member or debt that led to the record. lane: empty when it did not
 * stand in a queue. */
void quarantine_entry(struct partition *p, struct slice name, struct slice record,
                      struct slice lane);

#endif
