/*
 * Base64 (RFC 4648 4), strict: no white space, padding required, no bits left
 * over. Also base64 in lines for MIME parts is not here but in GMime.
 */
#ifndef STAGEPOST_BASE_BASE64_H
#define STAGEPOST_BASE_BASE64_H

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* Appends the decoded bytes; false (nothing appended) on bad input or when the
 * buffer's maximum would be passed. */
bool base64_decode(struct slice text, struct buf *out);
bool base64_encode(struct slice bytes, struct buf *out);

#endif
