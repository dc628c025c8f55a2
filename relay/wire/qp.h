/* Quoted-printable (RFC 2045 6.7) for the parts of reports that hold UTF-8. */
#ifndef STAGEPOST_WIRE_QP_H
#define STAGEPOST_WIRE_QP_H

#include <stdbool.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

enum { QP_LINE_MAX = 76 }; /* without CRLF */

/* Appends text with CRLF line ends; a bare CR or LF is encoded, not a line
 * end. False (nothing appended) when it does not fit. */
bool qp_encode(struct slice text, struct buf *out);

#endif
