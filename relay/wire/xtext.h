/*
 * xtext (RFC 3461 4) and the original recipient address of DSN: `type;xtext`
 * (RFC 3461 4.2), with the type utf-8 and its \x{HEX} form (RFC 6533 3).
 * Decoded values hold printable characters only: RFC 3461 wants that of ENVID
 * and ORCPT, and it keeps +00, +0D and +0A out of headers and reports.
 */
#ifndef STAGEPOST_WIRE_XTEXT_H
#define STAGEPOST_WIRE_XTEXT_H

#include <stdbool.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* The decoded text borrows `in` when nothing was encoded, else it is in the
 * arena. PARSE_BAD: not xtext (hex digits are upper case), a decoded octet
 * outside 32..126, or the arena is used up. */
enum parse xtext_decode(struct slice in, struct arena *arena, struct slice *out);
/* Appends; octets outside 33..126, `+` and `=` as +HH. */
bool xtext_encode(struct slice text, struct buf *out);

struct orcpt {
    struct slice type;    /* an atom as it was written, "rfc822"; empty: no ORCPT */
    struct slice address; /* decoded; UTF-8 when the type is utf-8 */
};
/* At most ORCPT_MAX octets as written. PARSE_BAD as xtext_decode(). */
enum parse orcpt_decode(struct slice in, struct arena *arena, struct orcpt *out);
/* Appends `type;encoded`, always ASCII (RFC 6533's utf-8-addr-xtext). */
bool orcpt_encode(const struct orcpt *o, struct buf *out);
/* The same value as it stands in a DSN field, `rfc822; user@example.org`:
 * not xtext, utf-8 as \x{HEX} (RFC 6533 3). */
bool orcpt_add_field(const struct orcpt *o, struct buf *out);

#endif
