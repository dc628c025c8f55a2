/*
 * What receivers, and the door, will say of a message: a list of findings, each
 * with a stable id. Pure; for POST /v1/messages/validate and for `stagepost lint`,
 * which knows less. What is not known (NULL, 0) is not judged.
 *
 * Errors are what makes the door refuse or large receivers reject; warnings what
 * costs trust; infos what the gateway does by itself, and what is only usual.
 */
#ifndef STAGEPOST_ACCEPT_LINT_H
#define STAGEPOST_ACCEPT_LINT_H

#include "relay/accept/policy/believed.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/config/config.h"

enum lint_severity { LINT_INFO, LINT_WARNING, LINT_ERROR };
const char *lint_severity_name(enum lint_severity s); /* "info", "warning", "error" */

struct lint_finding {
    const char *id; /* constant, "bulk-without-one-click" */
    enum lint_severity severity;
    const char *field; /* constant, of the header, "" when it is about none */
    char detail[LINT_DETAIL_MAX];
};

struct lint_report {
    struct lint_finding v[LINT_FINDINGS_MAX];
    unsigned count; /* more are not kept */
    bool errors;    /* one of them is an error */
};

struct lint_facts {
    bool bulk;
    int64_t now_unix_ms;                        /* schedule clock: what send-at is measured by */
    const struct config *config;                /* sizes, and which domains have DKIM keys */
    const struct config_credential *credential; /* which senders it owns */
    const struct believed_verdict *believed;    /* of the preflight */
    const struct slice *recipients;             /* `recipient_count` of them */
    const bool *suppressed;                     /* for each */
    unsigned recipient_count;
};

/* message: header section, empty line, body; lines may end in CRLF only. */
void lint_message(struct blob *message, const struct lint_facts *f, struct lint_report *out);

/* The domain that signs, and that is asked about: of the first address in From,
 * canonical. False: there is none that can be read. */
bool lint_from_domain(struct slice message, struct arena *arena, struct slice *out);

#endif
