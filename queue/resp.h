/*
 * RESP2, the protocol of Redis: what a reply's error means, and a guard in
 * front of hiredis' reader. The reader believes every length that it is told;
 * the guard sees each header line first and refuses what no Redis of ours
 * would say, before memory is reserved for it. Pure: no I/O.
 */
#ifndef STAGEPOST_QUEUE_RESP_H
#define STAGEPOST_QUEUE_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

struct redisReply;

enum resp_class {
    RESP_OK,         /* not an error */
    RESP_NO_ROOM,    /* refused: memory or disk is full; nothing was written */
    RESP_AWAY,       /* refused for now: loading, busy, read only, not enough replicas */
    RESP_NO_SCRIPT,  /* EVALSHA of a script that is not loaded */
    RESP_FORBIDDEN,  /* not authenticated or not permitted */
    RESP_UNEXPECTED, /* anything else: our bug, or somebody wrote to our keys */
};
/* What the text of an error reply means (without the leading '-'). */
enum resp_class resp_classify(struct slice error);

/* Reading replies; all of them answer for a NULL or unfit reply too. */
struct slice resp_text(const struct redisReply *r); /* string or status; else empty */
bool resp_is(const struct redisReply *r, const char *text);
bool resp_is_nil(const struct redisReply *r);
int64_t resp_int(const struct redisReply *r, int64_t otherwise); /* integer or decimal text */
/* Element i of an array; NULL when there is none. */
const struct redisReply *resp_at(const struct redisReply *r, size_t i);
size_t resp_count(const struct redisReply *r);

/* Checks a stream of replies, in pieces as they come. */
struct resp_guard {
    char line[32]; /* of the header now being read; only its number matters */
    size_t line_n, line_bytes;
    uint64_t skip; /* bytes of a bulk string and its CRLF still to come */
};
void resp_guard_init(struct resp_guard *g);
/* false: close the connection. Limits: QUEUE_BULK_REPLY_MAX,
 * QUEUE_REPLY_ELEMENTS_MAX, QUEUE_REPLY_LINE_MAX. */
bool resp_guard_feed(struct resp_guard *g, struct slice bytes);

/* Appends one bulk string argument: "$<n>\r\n<bytes>\r\n". */
void resp_add_bulk(struct buf *b, struct slice s);

#endif
