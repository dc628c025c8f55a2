/*
 * The bytes of a message on their way to and from Redis: compressed as one zstd
 * frame where that pays, cut into chunks of QUEUE_CHUNK_BYTES. Large ones are
 * compressed and expanded off the loop.
 */
#ifndef STAGEPOST_QUEUE_BODY_H
#define STAGEPOST_QUEUE_BODY_H

#include "queue/core.h"
#include "queue/record.h"
#include "relay/sys/net/work.h"

/* What compressing on the loop needs, once for all of a queue's messages. */
void body_open(struct queue *q);
void body_close(struct queue *q);

struct body {
    struct content content; /* a reference */
    struct buf zipped;      /* empty: stored as it is */
    struct record_body info;
    struct work_op work;
    void (*packed)(struct body *b);
};

/* Takes a reference. true: packed now; false: packed() comes on a later turn,
 * and the body must stay until then. */
bool body_pack(struct body *b, struct queue *q, const struct content *content,
               void (*packed)(struct body *b));
/* The one or two pieces of chunk k; valid while the body is. */
void body_chunk(const struct body *b, unsigned k, struct slice out[2]);
/* The command that writes chunk k of the message, for a while: the script that commits it
 * makes it last. Borrows from the body. */
void body_chunk_cmd(const struct body *b, unsigned k, struct queue *q, struct msg_id id,
                    struct link_cmd *c, void (*done)(struct link_cmd *c));
void body_fini(struct body *b);

/* Reads a message's bytes back. The memory stays until done. */
struct body_load {
    void (*done)(struct body_load *l);
    struct content content; /* out, the caller's reference */
    struct err err;         /* out: ERR_NONE, ERR_AWAY, ERR_STALE (no such message), ERR_BAD */
    struct queue *q;
    struct msg_id id;
    struct record_body info;
    uint64_t size_bytes;
    unsigned chunk;
    struct buf bytes, plain;
    struct link_cmd cmd;
    struct work_op work;
    bool bad;
};
void body_load_start(struct body_load *l, struct queue *q, const struct queue_message *m,
                     const struct record_body *info);

#endif
