/*
 * A whole message as its hash holds it: the message record, all deliveries, and
 * the notices that were enqueued for it.
 */
#ifndef STAGEPOST_QUEUE_MESSAGE_H
#define STAGEPOST_QUEUE_MESSAGE_H

#include "queue/core.h"
#include "queue/record.h"

/* A field of such a hash; empty when it is not there. */
struct slice message_field(const struct redisReply *hash, const char *name);

enum message_read { MESSAGE_OK, MESSAGE_ABSENT, MESSAGE_BROKEN, MESSAGE_TOO_LARGE };

/* hash: the reply to HGETALL. Everything is copied into the arena. */
enum message_read message_read(const struct redisReply *hash, struct arena *a,
                               struct queue_message *m, struct record_body *body);

#endif
