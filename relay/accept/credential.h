/*
 * Who may submit. Passwords are crypt(5) hashes, verified on the work pool and
 * remembered for some minutes under a keyed hash; API keys are random and found
 * by SHA-256. A failed and an unknown user cost the same time.
 */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_H
#define STAGEPOST_ACCEPT_CREDENTIAL_H

#include "relay/sys/base/slice.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct credentials;

struct credentials *credentials_new(struct loop *l, const struct config *c);
void credentials_free(struct credentials *cs);

struct credential_check_op {
    void (*done)(struct credential_check_op *op);
    enum credential_result {
        CREDENTIAL_OK,
        CREDENTIAL_WRONG,
        CREDENTIAL_BUSY, /* too many hashes under way: 454 4.7.0 */
    } result;
    const struct config_credential *credential; /* out, when OK */
    struct credential_check_state *state;
};
/* user and password are copied and wiped when done. */
void credential_check_start(struct credential_check_op *op, struct credentials *cs,
                            struct slice user, struct slice password);
void credential_check_cancel(struct credential_check_op *op);

/* What an earlier answer is in the configuration in force; NULL: it was removed,
 * or has another password now. */
const struct config_credential *credential_renew(const struct credentials *cs,
                                                 const struct config_credential *old);

/* NULL when no credential has this key. Constant time for a given length. */
const struct config_credential *credential_by_key(const struct credentials *cs, struct slice key);
/* By user name alone, for an operator who needs no password; NULL: none. */
const struct config_credential *credential_by_user(const struct credentials *cs, struct slice user);

#endif
