/*
 * The trace of a message: what happened to its targets, kept with it by the
 * scripts that record outcomes, until the history forgets the message. One
 * record tells of one attempt or one operator's change of one delivery. The
 * scripts bound its bytes: the first two records stay, behind them the oldest
 * go. What the message itself says (accepted, suppressed at once, notices sent)
 * is not written again. Pure: no I/O.
 */
#ifndef STAGEPOST_QUEUE_TRACE_H
#define STAGEPOST_QUEUE_TRACE_H

#include "queue/operate.h"
#include "relay/sys/base/buf.h"

struct trace_record {
    int64_t at_unix_ms, retry_at_unix_ms; /* 0: not tried again */
    uint32_t delivery, attempt;
};

/* Writes one record into `b`, which the owner has made with QUEUE_TRACE_RECORD_MAX. */
struct trace_writer {
    struct buf *b;
    struct slice last; /* reply */
    unsigned left;     /* entries that may still come */
};
void trace_begin(struct trace_writer *w, struct buf *b, const struct trace_record *r,
                 unsigned entries_max);
/* What became of one target. Equal replies in a row are stored once; when room
 * is short the reply is left out. */
void trace_add(struct trace_writer *w, enum queue_event_kind kind, unsigned target,
               const struct queue_target *t);

/* Reads: cuts the next record from the whole trace; its entries follow. false:
 * the end, or broken (nothing behind can be read). */
bool trace_cut_record(struct slice *trace, struct trace_record *r, struct slice *entries);
/* The next entry; begin a record with a zeroed one, and pass it on. */
struct trace_entry {
    enum queue_event_kind kind;
    uint32_t target;
    bool uncertain;
    struct slice reply;
    struct slice last; /* reply that was stored: equal ones refer to it */
};
bool trace_cut_entry(struct slice *entries, struct trace_entry *e);

#endif
