/*
 * Header fields of a built message: folded (RFC 5322 2.2.3), 7-bit (RFC 2047) but
 * for addresses, which no encoding has (RFC 6532), CRLF line ends. Input is checked already: one
 * line of UTF-8 without control characters and without spaces at its ends. What a reader gets back
 * is exactly what was given; so text that looks like an encoded word is encoded itself.
 */
#ifndef STAGEPOST_API_MIME_HEADER_H
#define STAGEPOST_API_MIME_HEADER_H

#include "api/draft.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* "Subject: text": any text. */
void mime_add_text_field(struct buf *out, struct slice name, struct slice text);
/* A field whose syntax is the client's (List-Unsubscribe, X-...): ASCII stays
 * as it is, other text is encoded. No word longer than API_TOKEN_MAX. */
void mime_add_custom_field(struct buf *out, struct slice name, struct slice value);
/* "To: Name <address>, ..."; nothing when the list is empty. */
void mime_add_address_field(struct buf *out, struct slice name, const struct draft_list *list);

#endif
