/*
 * What a server said it can do: the keywords of its reply to EHLO
 * (RFC 5321 4.1.1.1). Junk is skipped; at most EHLO_KEYWORDS_MAX lines are read.
 */
#ifndef STAGEPOST_WIRE_EHLO_H
#define STAGEPOST_WIRE_EHLO_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/wire/reply.h"

struct ehlo {
    bool pipelining;          /* RFC 2920 */
    bool eightbitmime;        /* RFC 6152 */
    bool smtputf8;            /* RFC 6531 */
    bool starttls;            /* RFC 3207 */
    bool dsn;                 /* RFC 3461 */
    bool chunking;            /* RFC 3030 */
    bool enhancedstatuscodes; /* RFC 2034 */
    bool auth;                /* RFC 4954; never used towards an MX */
    bool requiretls;          /* RFC 8689 */
    bool size;                /* RFC 1870: the parameter may be sent */
    uint64_t size_max_bytes;  /* 0: no limit told */
    unsigned rcpt_max;        /* RFC 9422 LIMITS RCPTMAX; 0: not told */
};

/* All false when the code is not 250. The first line is the greeting and no
 * keyword. Of a repeated SIZE the smallest limit counts. */
void ehlo_parse(const struct reply *reply, struct ehlo *out);

#endif
