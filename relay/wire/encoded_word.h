/*
 * Encoded words (RFC 2047) in unstructured text, for text that means something to us:
 * strict, so that nothing is half decoded. Text for people only may be decoded by GMime.
 */
#ifndef STAGEPOST_WIRE_ENCODED_WORD_H
#define STAGEPOST_WIRE_ENCODED_WORD_H

#include <stdbool.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* Appends the text, on one line already, as UTF-8: encoded words decoded, white space
 * between two of them left out, everything else as it is. Charsets: UTF-8, US-ASCII,
 * ISO-8859-1. False (nothing appended): what looks like an encoded word is none, has
 * another charset, or the result is not UTF-8 or does not fit. */
bool encoded_word_decode(struct slice text, struct buf *out);

#endif
