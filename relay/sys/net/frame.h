/*
 * Frames on the channels between our own processes (worker and signer, worker
 * and supervisor). On the wire, big-endian:
 *   u32 length of what follows | u8 version (1) | u8 type | u64 request | payload
 * A frame is at most FRAME_BYTES_MAX long. Pure: no I/O.
 */
#ifndef STAGEPOST_NET_FRAME_H
#define STAGEPOST_NET_FRAME_H

#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

enum { FRAME_VERSION = 1, FRAME_HEADER_BYTES = 14 };

struct frame {
    uint8_t type;
    uint64_t request; /* chosen by who asks, repeated in the answer */
    struct slice payload;
};

/* Cuts one frame from the front of `in`. PARSE_BAD: wrong version or length. */
enum parse frame_cut(struct slice *in, struct frame *out);
/* Appends a frame's header; `payload_bytes` of payload must follow. */
bool frame_add_header(struct buf *b, uint8_t type, uint64_t request, size_t payload_bytes);

/* Fields inside a payload: u32 length and bytes; integers big-endian. */
bool frame_add_u32(struct buf *b, uint32_t v);
bool frame_add_u64(struct buf *b, uint64_t v);
bool frame_add_bytes(struct buf *b, struct slice s);
bool frame_cut_u32(struct slice *in, uint32_t *out);
bool frame_cut_u64(struct slice *in, uint64_t *out);
bool frame_cut_bytes(struct slice *in, struct slice *out);

#endif
