/*
 * JSON out, into a buffer: places the commas and escapes the strings. The
 * caller gives keys in objects and none in arrays, and closes what it opened.
 * Invalid UTF-8 becomes U+FFFD, so the result is always JSON. When the buffer
 * is full its `overflowed` says so.
 */
#ifndef STAGEPOST_API_JSON_WRITER_H
#define STAGEPOST_API_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

struct writer {
    struct buf *out;
    bool comma; /* before the next value */
};

void writer_init(struct writer *w, struct buf *out);
/* key: NULL inside an array and at the top. */
void writer_open(struct writer *w, const char *key, char bracket); /* '{' or '[' */
void writer_close(struct writer *w, char bracket);                 /* '}' or ']' */
void writer_string(struct writer *w, const char *key, struct slice value);
void writer_number(struct writer *w, const char *key, uint64_t value);
void writer_bool(struct writer *w, const char *key, bool value);
void writer_null(struct writer *w, const char *key);
/* The empty slice becomes null. */
void writer_string_or_null(struct writer *w, const char *key, struct slice value);
void writer_time(struct writer *w, const char *key, int64_t unix_ms); /* RFC 3339 */
/* `json` must be a JSON value already. */
void writer_raw(struct writer *w, const char *key, struct slice json);

#endif
