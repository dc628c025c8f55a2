/*
 * Outcome events. An event record is one or more JSON objects, one on a line;
 * the queue makes it durable together with the outcome and hands it back at
 * least once. Then it is logged and counted, so that log and metrics never tell
 * of what a crash could take back.
 *
 *   {"type":"delivery.succeeded","at":...,"message":"<id>","tenant":"...",
 *    "created_at":...,"recipients":["a@b"],"attempts":1,"code":250,
 *    "enhanced":"2.0.0","text":"...","mx":"...","phase":"...",
 *    "uncertain":false,"next_attempt_at":...,"double_bounce":true}
 * Types: delivery.succeeded, .deferred, .bounced, .expired, .uncertain, .held.
 */
#ifndef STAGEPOST_EVENT_EVENT_H
#define STAGEPOST_EVENT_EVENT_H

#include "queue/queue.h"
#include "relay/wire/envelope.h"

enum event_type {
    EVENT_SUCCEEDED,
    EVENT_DEFERRED,
    EVENT_BOUNCED,
    EVENT_EXPIRED,
    EVENT_UNCERTAIN,
    EVENT_HELD,
    EVENT_TYPES,
};

/* What became of some recipients of one attempt. */
struct event_set {
    enum event_type type;
    const struct queue_message *message;
    const struct verdict *verdict;
    const struct slice *recipients; /* addresses */
    unsigned count;
    uint32_t attempts;
    bool uncertain;     /* some attempt may have delivered it */
    bool double_bounce; /* given up, and there is no sender to tell (RFC 5321 6.1) */
    int64_t at_unix_ms;
    int64_t next_attempt_unix_ms; /* 0: none */
};

/* Appends one record; false (nothing appended) when it does not fit. */
bool event_add(struct buf *out, const struct event_set *set);
/* Logs and counts every record of an event; what cannot be read is logged as
 * such. */
void event_report(struct slice event_id, struct slice event);

#endif
