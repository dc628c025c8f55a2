/*
 * From the JSON of POST /v1/messages/batch to messages: {"messages":[DRAFT...],
 * "mode":"strict"|"permissive"}. Each draft is what POST /v1/messages takes and
 * may have an "idempotency_key" besides. Pure, as message_compile() is.
 *
 * A strict batch with one malformed draft is refused whole, before anything is
 * given to the door. A permissive one goes on without it.
 */
#ifndef STAGEPOST_API_BATCH_H
#define STAGEPOST_API_BATCH_H

#include <stdint.h>

#include "api/message.h"

enum { BATCH_DIGEST_BYTES = 32, BATCH_KEY_BYTES = 96 };

struct batch_item {
    struct message message;             /* result, errors: what is wrong with this draft */
    struct slice key;                   /* idempotency; empty: none. In the message's arena */
    uint8_t digest[BATCH_DIGEST_BYTES]; /* with a key: what a replay must repeat */
};

struct batch {
    /* In. */
    struct slice json;
    size_t bytes_max;       /* of all MIME messages together */
    struct slice batch_key; /* of the request; empty: none. Items get keys made of it */
    int64_t now_unix_ms;    /* as in a message */
    /* Out. */
    enum message_result result; /* not MESSAGE_OK: the whole batch is refused */
    char detail[200];
    struct arena arena; /* of errors */
    struct field_errors errors;
    bool permissive;
    struct batch_item *items;
    unsigned count;
};

void batch_init(struct batch *b, struct slice json, size_t bytes_max, struct slice batch_key);
void batch_compile(struct batch *b);
void batch_fini(struct batch *b);

#endif
