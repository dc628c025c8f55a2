/*
 * The records that the queue keeps in Redis: a version byte, then fixed fields
 * and length-prefixed ones, integers big-endian. Every length, count and enum
 * is checked on reading; a record that does not fit exactly is broken, never
 * half understood. Pure: no I/O.
 *
 * Scripts look at the fixed places of a delivery record (revision, finished)
 * and of an attempt record (attempt id): README.md names them.
 */
#ifndef STAGEPOST_QUEUE_RECORD_H
#define STAGEPOST_QUEUE_RECORD_H

#include "queue/queue.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"

enum {
    RECORD_VERSION = 1,
    RECORD_MESSAGE_VERSION = 2, /* 1 had no submitter and is still read */
    RECORD_ATTEMPT_VERSION = 2, /* 1 had no lane and is still read */
    RECORD_REVISION_BYTES = 8,
    RECORD_ATTEMPT_ID_BYTES = 16,
};

/* How the bytes of a message are stored. */
struct record_body {
    uint64_t stored_bytes; /* over all chunks */
    uint32_t chunks;
    bool compressed; /* zstd, one frame over the whole message */
};

/* The message without its deliveries; delivery_count is part of it. */
bool record_add_message(struct buf *b, const struct queue_message *m,
                        const struct record_body *body);
/* Fills everything but m->deliveries. Slices point into `rec`. */
bool record_read_message(struct slice rec, struct queue_message *m, struct record_body *body);

/* A delivery, with `revision` as its revision. */
bool record_add_delivery(struct buf *b, const struct queue_delivery *d, uint64_t revision);
/* Slices point into `rec`, the targets are in the arena. index is the caller's
 * to set. false: broken, or the arena's budget is used up. */
bool record_read_delivery(struct slice rec, struct arena *a, struct queue_delivery *d);

void record_put_revision(uint64_t revision, char out[RECORD_REVISION_BYTES]);

/* Every target is in a terminal state. */
bool record_is_finished(const struct queue_delivery *d);
/* Some target is held. */
bool record_is_held(const struct queue_delivery *d);
/* Some target wants another attempt (queued or deferred: not held). */
bool record_is_schedulable(const struct queue_delivery *d);

/* What `inflight` holds for an attempt under way. */
struct record_attempt {
    uint8_t id[RECORD_ATTEMPT_ID_BYTES];
    uint8_t owner[QUEUE_OWNER_BYTES];
    uint64_t epoch, revision;
    int64_t started_unix_ms;
    struct slice lane; /* of its delivery; empty in records of version 1 */
};
enum {
    RECORD_ATTEMPT_BYTES = 1 + RECORD_ATTEMPT_ID_BYTES + QUEUE_OWNER_BYTES + 3 * 8, /* then lane */
    RECORD_ATTEMPT_MAX = RECORD_ATTEMPT_BYTES + 640,
};
bool record_add_attempt(struct buf *b, const struct record_attempt *a);
bool record_read_attempt(struct slice rec, struct record_attempt *a);

/* What `ndr` holds: the targets of one delivery for which a notice is owed, with
 * RECORD_DEBT_WAITING where the target is not terminal. */
enum { RECORD_DEBT_WAITING = 1 << 30 };
bool record_add_debt(struct buf *b, unsigned delivery, const struct queue_delivery *d,
                     const bool *owed);
/* targets: in the arena, with their marks. */
bool record_read_debt(struct slice rec, struct arena *a, unsigned *delivery, uint32_t **targets,
                      unsigned *count);

/*
 * A fact that came late. `mine` is what this process knows, `current` what the
 * record says now; current becomes the union: a terminal state replaces one
 * that is not; where both are terminal the recorded one stays, and the target
 * counts as sent twice (uncertain). Returns how many targets were both.
 * old[i]: that target was terminal before mine's attempt began: no news.
 * mine->targets[i].notice_owed is cleared where the record had decided already,
 * or has told of the same delay.
 * The two must have the same targets; otherwise -1 and nothing changed.
 */
int record_merge(struct queue_delivery *current, struct queue_delivery *mine, const bool *old,
                 struct arena *a);

#endif
