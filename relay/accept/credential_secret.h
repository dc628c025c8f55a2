/* New secrets for a credential: shown once, stored as hashes. Slow (yescrypt): for
 * the work pool. */
#ifndef STAGEPOST_ACCEPT_CREDENTIAL_SECRET_H
#define STAGEPOST_ACCEPT_CREDENTIAL_SECRET_H

#include <stdbool.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/config/scram_key.h"

struct credential_secret {
    char password[32];                   /* 26 letters and digits: 130 random bits */
    char key[80];                        /* "sp_" and 64 hex digits: 256 */
    char password_hash[CONFIG_HASH_MAX]; /* yescrypt */
    char scram[SCRAM_KEY_TEXT_MAX];      /* of the password too */
    char key_sha256[65];
};

/* like: SCRAM key that the new one stands beside, so that it has its salt; NULL or "":
 * none. */
void credential_secret_make(struct credential_secret *s, const char *like);
void credential_secret_wipe(struct credential_secret *s);

#endif
