/*
 * The Lua scripts (queue/scripts/), as they are sent to Redis: each is its
 * first line (flags), the helpers of common.lua, then its own text. Called by
 * SHA-1; sent whole when Redis has forgotten it.
 */
#ifndef STAGEPOST_QUEUE_SCRIPTS_H
#define STAGEPOST_QUEUE_SCRIPTS_H

#include "relay/sys/base/slice.h"

/* What each does, its keys and arguments: at the top of its file. */
enum script_name {
    SCRIPT_CALL_COMMIT,
    SCRIPT_CALL_CANCEL,
    SCRIPT_CALL_INTEND,
    SCRIPT_CALL_UNINTEND,
    SCRIPT_CALL_FINISH,
    SCRIPT_CALL_RECOVER,
    SCRIPT_CALL_ACT,
    SCRIPT_CALL_NOTICE,
    SCRIPT_CALL_LEASE_TAKE,
    SCRIPT_CALL_LEASE_RENEW,
    SCRIPT_CALL_LEASE_RELEASE,
    SCRIPT_CALL_QUARANTINE,
    SCRIPT_CALL_TRIM,
    SCRIPT_CALL_DEPTH,
    SCRIPT_CALL_LANES,
    SCRIPT_CALL_SUPPRESS,
    SCRIPT_CALL_UNSUPPRESS,
    SCRIPT_CALL_SHAPE,
    SCRIPT_CALL_DATASET,
    SCRIPT_CALL_ALLOW,
    SCRIPT_CALL_ALLOW_BACK,
    SCRIPT_CALL_GUARD,
    SCRIPT_CALL_REGISTRY_READ,
    SCRIPT_CALL_REGISTRY_PUT,
    SCRIPT_COUNT,
};

struct script {
    const char *name;
    struct slice source; /* whole */
    char sha1[41];       /* lower-case hex */
};

struct scripts {
    struct script of[SCRIPT_COUNT];
};

struct scripts *scripts_new(void);
void scripts_free(struct scripts *s); /* NULL is fine */

#endif
