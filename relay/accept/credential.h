/*
 * Who may submit. Passwords are crypt(5) hashes, verified on the work pool and
 * remembered for some minutes under a keyed hash; API keys are random and found
 * by SHA-256. A failed and an unknown user cost the same time.
 *
 * An API key is a password too, under any user name that is not another
 * credential's of its tenant: what it is configured for in many clients has one
 * field for a key and one for a name that they want filled.
 */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_H
#define STAGEPOST_ACCEPT_CREDENTIAL_H

#include "relay/accept/scram.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"

struct credentials;
struct queue;

struct credentials *credentials_new(struct loop *l, const struct config *c);
/* From now on credentials of the registry count too (credential_registry.h); and
 * failures are counted, by network and by account: who has failed too often has to
 * wait, but for development mode. */
void credentials_use_queue(struct credentials *cs, struct queue *q);
/* Whether the credentials of the registry, and which ones are frozen, are known: not
 * before the queue was up for a moment. Until then nobody is told that a secret is
 * wrong, and nobody gets in. */
bool credentials_are_known(const struct credentials *cs);
/* Asks the queue nothing more by itself: before the queue is closed. */
void credentials_close(struct credentials *cs);
void credentials_free(struct credentials *cs);

/* Which of its secrets somebody has shown: SHA-256 of the stored hash. */
struct credential_proof {
    uint8_t digest[32];
};

struct credential_check_op {
    void (*done)(struct credential_check_op *op);
    const struct net_address *from; /* in: the client, copied; NULL: not known */
    enum credential_result {
        CREDENTIAL_OK,
        CREDENTIAL_WRONG,
        CREDENTIAL_BUSY, /* too many hashes under way, nobody counts failures, or the
                          * credentials are not known yet: 454 4.7.0 */
        CREDENTIAL_WAIT, /* too many failures; wait_s */
    } result;
    unsigned wait_s;                            /* out */
    const struct config_credential *credential; /* out, when OK */
    struct credential_proof proof;              /* out, when OK */
    struct credential_check_state *state;
};
/* user and password are copied and wiped when done. WRONG, too, where the right
 * password may not be used: from another network, or expired. */
void credential_check_start(struct credential_check_op *op, struct credentials *cs,
                            struct slice user, struct slice password);
void credential_check_cancel(struct credential_check_op *op);

/* SCRAM-SHA-256 and -PLUS (scram.h): one exchange. Of somebody who is not known, or
 * has no keys for it, it goes on like one with a wrong password, with a salt that is
 * always the same for this name. */
struct credential_scram {
    struct credentials *cs;
    struct scram *exchange;
    struct buf last; /* what the server ends with, once the check was OK */
};
/* Whether anybody could succeed with it. Clients take the strongest mechanism that
 * they see, and fail with it where only a hash of the password is stored. */
bool credentials_offer_scram(const struct credentials *cs);
/* binding: of the connection, NULL: none. plus: the client chose -PLUS. */
void credential_scram_init(struct credential_scram *x, struct credentials *cs,
                           const struct stream_binding *binding, bool plus);
void credential_scram_fini(struct credential_scram *x); /* zeroed is fine, twice too */
/* The client's first message; the answer to it is appended when SCRAM_GO_ON. */
enum scram_outcome credential_scram_first(struct credential_scram *x, struct slice message,
                                          struct buf *answer);
/* As credential_check_start(), with the client's last message, copied, instead of a
 * password. x stays in place until done. */
void credential_check_scram_start(struct credential_check_op *op, struct credential_scram *x,
                                  struct slice message);

/* What an earlier answer is in the configuration in force; NULL: it was removed,
 * has expired, or the secret that was shown is none of its any more. */
const struct config_credential *credential_renew(const struct credentials *cs,
                                                 const struct config_credential *old,
                                                 const struct credential_proof *proof,
                                                 const struct net_address *from);

/* NULL when no credential has this key, or it may not be used now or from there. A
 * frozen one is found, so that it can be told why. Constant time for a given length. */
const struct config_credential *credential_by_key(const struct credentials *cs, struct slice key,
                                                  const struct net_address *from);
/* Whether what is in force under this name is frozen, wherever it is kept. */
bool credential_is_frozen(const struct credentials *cs, struct slice user);
/* By user name alone, for an operator who needs no password; NULL: none. */
const struct config_credential *credential_by_user(const struct credentials *cs, struct slice user);

#endif
