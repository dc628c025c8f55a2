/* Dates in header fields (RFC 5322 3.3). */
#ifndef STAGEPOST_WIRE_DATE_H
#define STAGEPOST_WIRE_DATE_H

#include <stdint.h>

enum { DATE_TEXT_BYTES = 31 };

/* "Mon, 23 Nov 2026 02:46:51 +0000", always UTC. Years outside 1900..9999 are
 * clamped to those ends. */
void date_format(int64_t unix_ms, char out[DATE_TEXT_BYTES + 1]);

#endif
