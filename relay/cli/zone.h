/*
 * What commands about DNS have in common: a domain as a person types it, and a
 * record as it stands in a zone file. Pure: no I/O.
 */
#ifndef STAGEPOST_CLI_ZONE_H
#define STAGEPOST_CLI_ZONE_H

#include <stdbool.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"

/* Puts the domain into `out`, lower case, U-labels as A-labels, a dot at its end
 * dropped. False: it is none that mail can come from, which has two labels. */
bool zone_read_domain(const char *text, char out[ADDRESS_CANONICAL_MAX]);

/* Appends "  NAME. TXT "VALUE"" and a line end; a value of more than 255 bytes
 * as several strings (RFC 1035 3.3.14), quotes and backslashes escaped (5.1). */
void zone_add_txt(struct buf *out, const char *name, const char *value);

#endif
