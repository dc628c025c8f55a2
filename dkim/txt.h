/*
 * TXT records: the character-strings of one RDATA (RFC 1035 3.3.14) as one text.
 * Pure: every byte is hostile.
 */
#ifndef STAGEPOST_DKIM_TXT_H
#define STAGEPOST_DKIM_TXT_H

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* Appends the strings joined without a space between them, as RFC 7208 3.3 and
 * RFC 9989 want them. false (nothing appended): malformed, or no room in `out`. */
bool txt_join(struct slice rdata, struct buf *out);

/* A domain name in lower case without the trailing dot: LDH labels and
 * underscores of 1..63 bytes, at most ADDRESS_DOMAIN_MAX bytes. `out` holds
 * ADDRESS_DOMAIN_MAX + 1 bytes; false (and "") for anything else. */
bool txt_domain(struct slice name, char *out);
/* Any name that DNS can be asked for: likewise, but the labels may have all printable
 * characters except the backslash, which resolvers take for an escape. */
bool txt_name(struct slice name, char *out);

/* Whether `c` is one of the characters of `set`; a NUL never is. */
bool txt_is_one_of(char c, const char *set);

#endif
