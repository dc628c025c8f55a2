/*
 * The head of an HTTP/1.1 answer of the gateway (RFC 9112 4), as the commands
 * read it. Pure. Only what the gateway sends is understood: a Content-Length, no
 * chunks, nothing before the end of the body.
 */
#ifndef STAGEPOST_CLI_ANSWER_H
#define STAGEPOST_CLI_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

struct answer_head {
    unsigned status; /* 100..599 */
    uint64_t body_bytes;
    uint64_t retry_after_s; /* 0: not said */
};

/* Cuts the head with its empty line. PARSE_MORE: not all of it is there yet
 * (the caller bounds how long it may be); PARSE_BAD: not such an answer. */
enum parse answer_cut_head(struct slice *in, struct answer_head *out);

#endif
