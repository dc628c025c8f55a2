/*
 * Refuses what libopendkim 2.11 would sign wrongly without an error: its
 * signature would then fail at every receiver. Pure: no library, no I/O.
 *   - header fields above HEADER_FIELD_MAX, more than HEADER_FIELDS_MAX of them,
 *     a section above HEADER_SECTION_MAX, more than SIGN_FIELDS_MAX to be signed
 *   - bare CR, bare LF, NUL; lines above 998 bytes (RFC 5322 2.1.1)
 *   - "Name :", names above HEADER_NAME_MAX, lines that are no field
 *   - VT or FF in a field to be signed
 *   - no From, or two
 *   - a body that does not end in CRLF
 */
#ifndef STAGEPOST_DKIM_GUARD_H
#define STAGEPOST_DKIM_GUARD_H

#include "relay/sys/base/err.h"
#include "relay/sys/base/slice.h"

/* Lines of a message that comes in pieces cut anywhere. */
struct guard_lines {
    size_t line_bytes; /* of the present line, without CR LF */
    bool after_cr;
};

/* 0, or -1 with err ERR_BAD. `g` starts zeroed. */
int guard_lines_feed(struct guard_lines *g, struct slice piece, struct err *err);
/* The message ends here: 0 at the end of a line. */
int guard_lines_end(const struct guard_lines *g, struct err *err);

/* Cuts one header field (all its lines, with the last CRLF left out) from a header
 * section whose lines have passed guard_lines_feed(). PARSE_BAD: not a field,
 * or above a limit; err has the text. PARSE_MORE: `section` is empty. */
enum parse guard_field_cut(struct slice *section, struct slice *field, struct slice *name,
                           struct err *err);

/* Checks a whole header section (up to the empty line, which is not in it) and
 * counts the fields for which `is_signed` says true. */
int guard_section(struct slice section, bool (*is_signed)(struct slice name),
                  unsigned *signed_fields, struct err *err);

#endif
