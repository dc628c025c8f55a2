/*
 * The header section of a message (RFC 5322 2.2, 3.6) with CRLF line ends:
 * iterate, find, unfold, and the checks that make sure that everybody who
 * reads the message later sees the same header.
 */
#ifndef STAGEPOST_WIRE_HEADER_H
#define STAGEPOST_WIRE_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"
#include "relay/wire/reply.h"

struct header_field {
    struct slice raw;   /* the whole field with its folds and final CRLF */
    struct slice name;  /* without the colon */
    struct slice value; /* behind the colon, folds included, without the final CRLF */
};

/* Splits a message: the section with the CRLF of its last field, and where the
 * body begins. Without an empty line the whole message is header section and
 * body_at is its length. */
struct slice header_section(struct slice message, size_t *body_at);

/* Cuts the first field of a header section. PARSE_MORE: nothing is left.
 * PARSE_BAD: not a field (no colon, a bad name, begins with white space). */
enum parse header_cut(struct slice *section, struct header_field *out);
/* The first field of that name (any case); false when there is none or the
 * section cannot be read up to it. */
bool header_find(struct slice section, struct slice name, struct header_field *out);
/* Appends the value on one line: CRLF of folds removed (RFC 5322 2.2.3), white
 * space at both ends stripped. */
bool header_unfold(struct slice value, struct buf *out);

enum header_fault {
    HEADER_FINE,
    HEADER_SECTION_TOO_LONG, /* HEADER_SECTION_MAX */
    HEADER_FIELD_TOO_LONG,   /* HEADER_FIELD_MAX */
    HEADER_TOO_MANY_FIELDS,  /* HEADER_FIELDS_MAX */
    HEADER_NAME_TOO_LONG,    /* HEADER_NAME_MAX */
    HEADER_LINE_TOO_LONG,    /* SMTP_TEXT_LINE_MAX */
    HEADER_NO_COLON,
    HEADER_BAD_NAME,
    HEADER_SPACE_BEFORE_COLON,
    HEADER_LEADING_SPACE, /* the first line is a continuation */
    HEADER_BLANK_FOLD,    /* a continuation of white space only (RFC 5322 4.2, obsolete) */
    HEADER_FROM_LINE,     /* an mbox separator, "From " */
    HEADER_BAD_OCTET,     /* NUL, bare CR or LF, other control characters */
    HEADER_EIGHT_BIT,     /* 8-bit without SMTPUTF8 */
    HEADER_BAD_UTF8,
    HEADER_DUPLICATE, /* a field that may stand once only, twice */
    HEADER_LOOP,      /* RECEIVED_FIELDS_MAX */
    HEADER_FAULT_COUNT,
};

/* Fields that may stand once only: RFC 5322 3.6, RFC 2045 3. */
enum header_known {
    HEADER_FROM,
    HEADER_SENDER,
    HEADER_REPLY_TO,
    HEADER_TO,
    HEADER_CC,
    HEADER_BCC,
    HEADER_DATE,
    HEADER_MESSAGE_ID,
    HEADER_IN_REPLY_TO,
    HEADER_REFERENCES,
    HEADER_SUBJECT,
    HEADER_MIME_VERSION,
    HEADER_CONTENT_TYPE,
    HEADER_CONTENT_TRANSFER_ENCODING,
    HEADER_KNOWN_COUNT,
};

struct header_facts {
    struct slice section; /* as header_section() */
    size_t body_at;
    unsigned fields, received;
    bool eight_bit;
    struct header_field known[HEADER_KNOWN_COUNT]; /* raw.n == 0: absent */
};

/* Walks the whole section of a message. Missing fields are no fault. `out` is
 * filled only when the answer is HEADER_FINE. */
enum header_fault header_check(struct slice message, bool smtputf8, struct header_facts *out);
/* What to say: 550 5.6.0 ..., 552 5.3.4 ..., 554 5.4.6 ... */
struct reply_text header_fault_reply(enum header_fault fault);

#endif
