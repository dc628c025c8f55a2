/*
 * MIME out of a validated draft, by GMime: 7-bit clean, CRLF, lines short.
 *
 *   text or html alone          the part itself
 *   text and html               multipart/alternative
 *   html with inline content    multipart/related around it
 *   attachments                 multipart/mixed around everything
 *
 * What GMime 3.2 does that is not wanted here, and how it is kept from it:
 * it encodes long words of any header value, so custom fields are written raw
 * and folded here; it picks iso-8859-1 for names and texts, so the charset is
 * always given; its line ends are LF unless asked.
 */
#ifndef STAGEPOST_API_MIME_H
#define STAGEPOST_API_MIME_H

#include "api/draft.h"
#include "relay/sys/base/buf.h"

/* Once in a process, before the first mime_build(). */
void mime_setup(void);

/* Fills `out` (initialised by this call) with the message; false when the
 * draft's arena is used up. Empties the attachments of the draft. */
bool mime_build(struct draft *d, struct buf *out);

#endif
