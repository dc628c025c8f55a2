/*
 * Query strings: name=value pairs joined by '&', percent-decoded strictly
 * (RFC 3986 2.1). A '+' stays a '+': the values here are addresses, in which it
 * is common and a space never occurs.
 */
#ifndef STAGEPOST_API_HTTP_QUERY_H
#define STAGEPOST_API_HTTP_QUERY_H

#include "relay/sys/base/arena.h"
#include "relay/sys/base/slice.h"

struct query_pair {
    struct slice name, value; /* decoded, in the arena */
};

struct query {
    struct query_pair *pairs;
    unsigned count;
};

/* Percent-decoding of one name, value or segment of a path, into the arena; never
 * longer than the text. False: a broken escape, a NUL, or the arena is used up. */
bool query_decode(struct slice text, struct arena *arena, struct slice *out);

/* PARSE_OK or PARSE_BAD: a broken escape, a NUL, more than HTTP_QUERY_PAIRS_MAX
 * pairs, or the arena is used up. Empty parts ("a=1&&b") are skipped. */
enum parse query_parse(struct slice text, struct arena *arena, struct query *out);

/* The value of the first pair of that name; false: there is none. */
bool query_find(const struct query *q, struct slice name, struct slice *value);

#endif
