/* Dates in header fields (RFC 5322 3.3), and times as APIs have them (RFC 3339). */
#ifndef STAGEPOST_WIRE_DATE_H
#define STAGEPOST_WIRE_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

enum { DATE_TEXT_BYTES = 31 };

/* "Mon, 23 Nov 2026 02:46:51 +0000", always UTC. Years outside 1900..9999 are
 * clamped to those ends. */
void date_format(int64_t unix_ms, char out[DATE_TEXT_BYTES + 1]);

/* The parsers know the years 1970 to 9999, and a leap second as the next one.
 * "Mon, 23 Nov 2026 02:46:51 +0000": the day's name may be missing and is not
 * compared; the zone is an offset, GMT or UT. No comments, nothing obsolete. */
bool date_parse(struct slice text, int64_t *unix_ms);
/* RFC 3339 5.6: "2026-11-23T08:15:30Z", with up to nine digits of a second and
 * with "+01:00" instead of "Z". */
bool date_parse_rfc3339(struct slice text, int64_t *unix_ms);

#endif
