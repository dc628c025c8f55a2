/*
 * Credentials that operators make while the gateway runs: records in the queue's
 * registry, in memory in every worker, asked for once a second. So a change is in
 * force everywhere a second later, and in the worker that made it at once. A user
 * of the configuration file goes before one of the registry.
 */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_REGISTRY_H
#define STAGEPOST_ACCEPT_CREDENTIAL_REGISTRY_H

#include "relay/accept/credential.h"
#include "relay/sys/base/list.h"

#define CREDENTIAL_KIND "credential" /* in the registry */

/* The stored record of a user; false: the registry has none. The text is the
 * caller's to free(). */
bool credential_record(const struct credentials *cs, struct slice user, char **text);
/* A record as it is stored; the caller's to free(). */
char *credential_record_text(const struct config_credential *cr);
/* Asks now, after a change of one's own. */
void credentials_refresh(struct credentials *cs);

/* The same, and waits for the answer: what another worker changed before the start
 * is known when done comes. It always comes; there is no cancel. */
struct credentials_refresh_op {
    void (*done)(struct credentials_refresh_op *op);
    bool is_fresh; /* out; false: Redis is away, and what was known is what there is */
    struct list_node waiting;
};
void credentials_refresh_start(struct credentials_refresh_op *op, struct credentials *cs);

/* All there are: those of the file first. NULL at the end. */
const struct config_credential *credential_at(const struct credentials *cs, unsigned i);
bool credential_is_of_file(const struct credentials *cs, const struct config_credential *cr);

/* The generation that the credential's memory belongs to, to be held by who keeps
 * the pointer (config_hold()). */
struct config_generation *credential_memory(const struct credentials *cs,
                                            const struct config_credential *cr);

#endif
