/* RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers): what a
 * limited credential may send, and what of it is left. */
#ifndef STAGEPOST_API_RATELIMIT_H
#define STAGEPOST_API_RATELIMIT_H

#include "api/http/parser.h"
#include "relay/accept/submit.h"

enum { RATELIMIT_FIELDS = 2 };

struct ratelimit {
    struct head_field fields[RATELIMIT_FIELDS]; /* point into the texts */
    unsigned count;                             /* 0: the credential has no such limits */
    char policy[128], left[128];
};

/* After the door's answer. The struct may not be moved while the fields are used. */
void ratelimit_make(struct ratelimit *out, const struct submit_op *op);

#endif
