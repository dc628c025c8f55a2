/*
 * The head of an HTTP/1.x request, cut from the front of what a client sent.
 * http-parser reads the grammar; the checks that it leaves out stand here, so
 * that two readers of the same bytes cannot disagree (RFC 9112 11.2):
 *   - every line ends in CRLF; a bare CR or LF is refused (2.2 allows to);
 *   - no obs-fold (5.2), no space before the colon (5.1), no control
 *     characters in values;
 *   - Host exactly once (3.2); Content-Length, Transfer-Encoding and the other
 *     fields that we act on at most once;
 *   - Content-Length together with Transfer-Encoding is refused (6.1), chunked
 *     is the only transfer coding, and not in HTTP/1.0.
 * Framing of the body is ours as well: api/http/chunked.h. Nothing else in the
 * program knows http-parser, so that llhttp can take its place in one file.
 */
#ifndef STAGEPOST_API_HTTP_PARSER_H
#define STAGEPOST_API_HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/slice.h"

/* What the head is refused for. The connection cannot go on after any of them. */
enum head_fault {
    HEAD_FINE,
    HEAD_BAD,            /* 400: not HTTP, or one of the checks above */
    HEAD_HOST_MISSING,   /* 400: RFC 9112 3.2 */
    HEAD_TARGET_LONG,    /* 414: HTTP_URL_MAX */
    HEAD_TOO_LARGE,      /* 431: HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX */
    HEAD_METHOD_UNKNOWN, /* 501: a method outside the table of http-parser */
    HEAD_CODING_UNKNOWN, /* 501: a transfer coding other than chunked */
    HEAD_VERSION,        /* 505: not HTTP/1.0 or HTTP/1.1 */
    HEAD_FAULT_COUNT,
};
unsigned head_fault_status(enum head_fault f);
const char *head_fault_code(enum head_fault f); /* "header_too_large" */
const char *head_fault_text(enum head_fault f); /* one sentence for the client */

struct head_field {
    struct slice name, value; /* value without white space at its ends */
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };

/* All slices live in the arena given to head_cut(). */
struct head {
    struct slice method; /* "GET"; case-sensitive */
    struct slice path;   /* begins with '/', not decoded */
    struct slice query;  /* behind '?', not decoded; empty when there is none */
    struct slice host;   /* of Host, or of an absolute-form target (3.2.2) */
    unsigned minor;      /* 0 or 1: HTTP/1.minor */
    struct head_field *fields;
    unsigned field_count;
    enum body_kind body;
    uint64_t content_length; /* BODY_LENGTH; 0 otherwise */
    bool keep_alive;         /* what the client asks for (RFC 9112 9.3) */
    bool expect_continue;    /* RFC 9110 10.1.1; an unknown expectation is no fault */
};

/* Cuts a whole head from `in`. `scanned` must be 0 for a new head and is kept
 * by the caller over PARSE_MORE, so that no byte is looked at again and again.
 * PARSE_MORE when the empty line is not there yet. PARSE_BAD sets *fault. An
 * arena of HTTP_REQUEST_ARENA_MAX always holds a head. */
enum parse head_cut(struct slice *in, size_t *scanned, struct arena *arena, struct head *out,
                    enum head_fault *fault);

/* The value of the first field of that name (any case); false: there is none. */
bool head_find(const struct head *h, struct slice name, struct slice *value);

#endif
