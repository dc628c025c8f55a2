/*
 * Captured mail: one file per capture in one directory, which is all that the
 * sandbox (the writer) and the workers (readers, for the HTTP API) share.
 *
 *   <sequence, 16 hex digits>-<id>.eml      a capture
 *   <sequence, 16 hex digits>-<id>.tmp      being written; removed at open
 *
 * The first line of a capture is one JSON object
 *   {"id","message","from","to":[],"subject","size","received_at"}
 * where "message" is the gateway's own id, out of the topmost Received field
 * (or null), "size" the bytes of the message and "received_at" RFC 3339; the
 * message follows exactly as it was received.
 *
 * A capture appears whole or not at all: it is written under the temporary
 * name, fsynced and renamed, and the directory is fsynced before done. A crash
 * leaves at worst a temporary file, or a capture whose sender got no 250.
 */
#ifndef STAGEPOST_SANDBOX_STORE_H
#define STAGEPOST_SANDBOX_STORE_H

#include <stdint.h>

#include "relay/sandbox/capture.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"

/* ---- the writer: one per directory ---- */

struct store;

/* Makes the directory when it is missing, removes temporary files and the
 * oldest captures beyond captures_max (at least 1). */
struct store *store_open(struct loop *l, const char *dir, unsigned captures_max, struct err *err);
/* No put may be pending. NULL is fine. */
void store_close(struct store *s);

/* One message to keep. start cannot fail; done comes exactly once, on a later
 * turn, with err.code ERR_NONE when the capture is on disk. There is no cancel:
 * an owner that goes away first leaves the memory to done. */
struct store_put {
    void (*done)(struct store_put *op);
    struct err err;    /* out */
    struct msg_id id;  /* out, from start on */
    struct buf file;   /* the store's, until done */
    uint64_t sequence; /* the store's */
    struct list_node node;
};

/* Copies what it needs of `what`, whose id and time are filled in by the store.
 * Addresses are bare; at most SMTP_RECIPIENTS_MAX of them, of path length. */
void store_put_start(struct store_put *op, struct store *s, const struct capture *what,
                     void (*done)(struct store_put *op));

/* ---- readers: any process, blocking, for the work pool ---- */

/* Appends a JSON array of the objects of the newest `limit` captures, newest
 * first; a directory that is missing has none. -1: `out` is full or the
 * directory cannot be read. */
int store_list(const char *dir, unsigned limit, struct buf *out, struct err *err);

/* Opens a capture's message: the descriptor stands at its first byte, and the
 * caller closes it. ERR_NOT_FOUND: no such capture (any more). */
int store_open_raw(const char *dir, struct msg_id id, uint64_t *size_bytes, struct err *err);
/* As store_open_raw(), but appends the whole message to `out`; -1 also when it
 * does not fit. */
int store_read_raw(const char *dir, struct msg_id id, struct buf *out, struct err *err);

#endif
