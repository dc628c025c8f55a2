/*
 * MIME out of a validated draft, by GMime: 7-bit clean but for addresses, CRLF,
 * lines short.
 *
 *   text or html alone          the part itself
 *   text and html               multipart/alternative
 *   html with inline content    multipart/related around it
 *   attachments                 multipart/mixed around everything
 *
 * The header fields are written by mime_header.c: GMime 3.2 lets text through
 * that looks like an encoded word, and encodes long words of fields in which
 * that destroys a URL. GMime builds the parts; it picks iso-8859-1 and LF where
 * it is not told otherwise, so charset and line ends are always given.
 */
#ifndef STAGEPOST_API_MIME_H
#define STAGEPOST_API_MIME_H

#include "api/draft.h"
#include "relay/sys/base/buf.h"

/* Once in a process, before the first mime_build(). */
void mime_setup(void);

/* Fills `out` (initialised by this call) with the message; false when the
 * draft's arena is used up or the header section too large. Empties the attachments of the draft.
 */
bool mime_build(struct draft *d, struct buf *out);

/* Appends the text of an unstructured field with its encoded words decoded, as
 * UTF-8; for people. */
void mime_add_decoded(struct buf *out, struct slice text);

#endif
