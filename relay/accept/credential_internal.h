/* Shared by credential.c (who there is), credential_check.c (whether a password
 * is right) and credential_registry.c (who was added while we run). */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_INTERNAL_H
#define STAGEPOST_ACCEPT_CREDENTIAL_INTERNAL_H

#include <openssl/sha.h>

#include "relay/accept/credential_registry.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/list.h"

struct verified {
    uint8_t mac[SHA256_DIGEST_LENGTH]; /* of user, password and stored hash */
    uint64_t until_ms;                 /* clock_mono_ms(); 0: empty */
};

struct credentials {
    struct loop *loop;
    const struct config *config;
    uint8_t mac_key[32];  /* of this process, never stored */
    uint8_t name_key[32]; /* of what is invented for names that nobody has */
    struct verified verified[CREDENTIAL_CACHE_SLOTS];
    struct queue *queue;       /* NULL: failures are not counted */
    const struct config *held; /* of the registry; NULL: none were read */
    struct json_t *marks;      /* by user; NULL: none were read */
    struct credential_registry *registry;
    unsigned checks;     /* not done yet, or something of them still runs */
    unsigned hashes;     /* on the work pool */
    struct list hashing; /* their checks */
    bool freed;
};

struct credential_registry *credential_registry_new(struct credentials *cs, struct queue *q);
/* NULL is fine. It frees itself when its last question is answered. */
void credential_registry_close(struct credential_registry *r);

void credentials_free_when_idle(struct credentials *cs);

enum { PASSWORDS = 2 }; /* live at once */

/* "" for one that is not there. */
const char *credential_password_hash(const struct config_credential *cr, unsigned i);
const char *credential_scram_text(const struct config_credential *cr, unsigned i);
/* Whether it may be used at all, by whoever has its secret. */
bool credential_is_usable(const struct config_credential *cr, const struct net_address *from);
/* The credential whose API key this is, usable or not, and which one of its keys. */
const struct config_credential *credential_find_key(const struct credentials *cs, struct slice key,
                                                    const char **stored);
struct credential_proof credential_proof_of(const char *stored);
/* A keyed hash of a name, from which something follows that is invented for names that nobody
 * has: another one for each thing, since one of them is told. */
enum credential_invented { INVENTED_SALT, INVENTED_STAND_IN };
void credential_name_digest(const struct credentials *cs, enum credential_invented what,
                            struct slice user, uint8_t digest[SHA512_DIGEST_LENGTH]);
/* From now on the key of that hash is the dataset, which all workers have in common and
 * no stranger knows. "" changes nothing. */
void credential_use_dataset(struct credentials *cs, struct slice dataset);
/* One of those that have something, in whose place a name without it is checked: always the same
 * one for a name, in all workers, and no stranger can tell which. So what can be seen of
 * it, how long its hash takes for one, does not say whether the name is known. NULL:
 * none has it. */
const struct config_credential *
credential_standing_in(const struct credentials *cs, struct slice user,
                       bool (*has)(const struct config_credential *));

/* credential_scram.c. Judges the client's last message by the keys of this credential (NULL: of
 * nobody). The stored text of the right one; NULL: wrong. */
const char *credential_scram_judge(const struct credentials *cs, const struct config_credential *cr,
                                   struct credential_scram *x, struct slice final);

#endif
