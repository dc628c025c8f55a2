/*
 * SMTP replies (RFC 5321 4.2) with enhanced status codes (RFC 2034, 3463):
 * read by the client, written by the server.
 */
#ifndef STAGEPOST_WIRE_REPLY_H
#define STAGEPOST_WIRE_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* class.subject.detail; class 0: none. */
struct enhanced {
    unsigned class_; /* 2, 4 or 5 */
    unsigned subject, detail;
};

enum { ENHANCED_TEXT_BYTES = 9 }; /* "5.999.999" */

/* "" for none. */
void enhanced_format(struct enhanced e, char out[ENHANCED_TEXT_BYTES + 1]);
/* The whole slice is a code: "5.1.1". */
bool enhanced_parse(struct slice text, struct enhanced *out);
/* What stands for a missing code: 550 -> 5.0.0, 421 -> 4.0.0, 250 -> 2.0.0;
 * none for other codes. */
struct enhanced enhanced_derive(unsigned code);

struct reply {
    unsigned code;            /* 200..599 */
    struct enhanced enhanced; /* of the first line that has one; class_ 0: none, or of
                                 another class than the code */
    struct slice text;        /* without codes; sanitised (text_add_safe); lines joined
                                 by '\n'; may be empty. Each line is cut at
                                 REPLY_LINE_KEPT_MAX */
    unsigned lines;
};

/*
 * Cuts one whole reply, all its lines, from the front of `in`.
 *   PARSE_OK    `in` begins behind it; the text was appended to `text` and
 *               out->text borrows from there (until `text` changes).
 *   PARSE_MORE  not complete yet: call again with more bytes, from the start.
 *   PARSE_BAD   not a reply, codes differ between lines, or REPLY_LINE_MAX,
 *               REPLY_LINES_MAX or REPLY_BYTES_MAX passed. The connection is
 *               out of step and must be closed.
 * Lines end at CRLF; a bare CR or LF is text and is replaced. What does not
 * fit into `text` is left out of it, never an error.
 */
enum parse reply_cut(struct slice *in, struct buf *text, struct reply *out);

/* A reply that a parser or policy wants to be said. `enhanced` may be NULL. */
struct reply_text {
    unsigned code;
    const char *enhanced; /* "5.5.4" */
    const char *text;     /* may hold '\n': more lines */
};

enum { REPLY_WRITTEN_LINE_MAX = 512 }; /* with CRLF, RFC 5321 4.5.3.1.5 */

/* Appends a reply, each line with code and enhanced code, at most 512 octets
 * (the text is cut), printable ASCII, CRLF. '\n' in the text begins a new line.
 * False (nothing appended) when it does not fit. */
bool reply_add(struct buf *out, const struct reply_text *r);
bool reply_addf(struct buf *out, unsigned code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
