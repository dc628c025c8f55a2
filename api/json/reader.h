/*
 * JSON in, strictly, by jansson: one object, no duplicate keys (two readers
 * would take different ones), valid UTF-8, no lone surrogates. Depth and number
 * of values are bounded before jansson sees the text, because a tree costs a
 * hundred times the bytes of "[],[],[]". A NUL in a string (\u0000) is let
 * through, so that the field can be named in the refusal: look at lengths.
 */
#ifndef STAGEPOST_API_JSON_READER_H
#define STAGEPOST_API_JSON_READER_H

#include <jansson.h>
#include <stddef.h>

#include "relay/sys/base/slice.h"

/* A new reference, or NULL with a sentence for the client in `why`: syntax with
 * line and column, too deep (API_JSON_DEPTH_MAX), too many values
 * (API_JSON_VALUES_MAX), or not an object. */
json_t *reader_parse_object(struct slice text, char *why, size_t why_bytes);

/* The text of a JSON string, with its NULs. */
struct slice reader_string(const json_t *v);

#endif
