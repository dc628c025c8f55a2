/*
 * Credentials that operators make while the gateway runs: records in the queue's
 * registry, in memory in every worker, asked for once a second. So a change is in
 * force everywhere a second later, and in the worker that made it at once. A user
 * of the configuration file goes before one of the registry.
 *
 * What freezes a credential of the file is an entry of its own, a mark: named as
 * credential_mark_name() says, with CREDENTIAL_MARK as value. It says nothing about
 * a credential of the registry, and nothing at all when the file has none.
 */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_REGISTRY_H
#define STAGEPOST_ACCEPT_CREDENTIAL_REGISTRY_H

#include "relay/accept/credential.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/list.h"

#define CREDENTIAL_KIND "credential" /* in the registry */
#define CREDENTIAL_MARK "{\"frozen\":true,\"kept_in\":\"file\"}"

/* The stored record of a user; false: the registry has none. The text is the
 * caller's to free(). */
bool credential_record(const struct credentials *cs, struct slice user, char **text);
/* A record as it is stored; the caller's to free(). */
char *credential_record_text(const struct config_credential *cr);
/* A NUL and the user's name: no user can have it as name. Appended. */
void credential_mark_name(struct slice user, struct buf *name);
/* Whether a credential of the file with this user would be frozen by a mark. */
bool credential_is_marked(const struct credentials *cs, const char *user);
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
