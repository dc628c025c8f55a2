/*
 * How a capture is named and described: what the writer and the readers of
 * store.h share. Pure.
 */
#ifndef STAGEPOST_SANDBOX_CAPTURE_H
#define STAGEPOST_SANDBOX_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/slice.h"

enum { CAPTURE_NAME_BYTES = 16 + 1 + ID_TEXT_BYTES + 4 }; /* without the NUL */

struct capture_name {
    uint64_t sequence;
    struct msg_id id;
    bool temporary;
};

void capture_name_format(const struct capture_name *n, char out[CAPTURE_NAME_BYTES + 1]);
/* false: no file of ours. */
bool capture_name_parse(struct slice text, struct capture_name *out);

struct capture {
    struct msg_id id;
    struct slice from; /* "" for the null reverse-path */
    const struct slice *to;
    size_t to_count;
    struct slice message;
    int64_t received_at_unix_ms;
};

/* Appends the first line with its LF; false when it does not fit. GMime must be
 * initialised (store_open() does that). */
bool capture_add_line(const struct capture *c, struct buf *out);

/* The gateway's own id: the id clause (RFC 5321 4.4) of the topmost Received
 * field, when it is an id of ours. */
bool capture_find_message_id(struct slice message, struct msg_id *out);

#endif
