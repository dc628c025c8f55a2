/*
 * Message bytes. A blob is an immutable, counted run of bytes; a content is a
 * message as it is stored, signed and sent: a header section that we wrote and
 * the rest of what the client gave, without copying the body a second time.
 * The bytes held by all blobs are counted (blob_total_bytes), so that accepting
 * can push back before memory runs out.
 */
#ifndef STAGEPOST_BASE_BLOB_H
#define STAGEPOST_BASE_BLOB_H

#include <stddef.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

struct blob; /* opaque */

struct blob *blob_new_copy(struct slice s);
/* Takes the buffer's memory over and leaves the buffer empty. */
struct blob *blob_take_buf(struct buf *b);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob **b); /* clears *b; NULL is fine */
struct slice blob_slice(const struct blob *b);
size_t blob_total_bytes(void);

/* The message is head followed by rest[rest_at..]. `head` may be NULL. */
struct content {
    struct blob *head;
    struct blob *rest;
    size_t rest_at;
};

size_t content_bytes(const struct content *c);
/* The one or two pieces in order; returns how many are not empty. */
int content_pieces(const struct content *c, struct slice out[2]);
struct content content_ref(const struct content *c);
void content_unref(struct content *c);

#endif
