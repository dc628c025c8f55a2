/*
 * The signer: the only process that holds DKIM private keys, and one without
 * network. It answers requests (dkim/protocol.h) on a unix socket; the
 * supervisor runs several, each on a socket of its own, and starts another one
 * when one dies.
 */
#ifndef STAGEPOST_DKIM_SIGNER_H
#define STAGEPOST_DKIM_SIGNER_H

#include "dkim/keys.h"
#include "relay/sys/config/config.h"

struct signer_config {
    int listen_fd;               /* listening unix socket bound by the supervisor; taken over */
    int control_fd;              /* pipe or socket; its end means: drain and return; taken over */
    const struct key_spec *keys; /* borrowed until signer_run() returns */
    unsigned key_count;
    /* Reload (relay/sys/config/follow.h): the keys of the next configuration.
     * NULL: they never change. Messages begun are signed with the keys that
     * they began with. */
    struct keyset *(*load)(const struct config *next, struct err *err);
};

/* Runs until control_fd ends: then no new request is begun, those begun are
 * answered for at most SIGNER_DRAIN_MS, and it returns 0. An exit code of
 * sysexits.h when it cannot start: 78 for a bad key, 70 otherwise; the log
 * says why. The process becomes non-dumpable. */
int signer_run(const struct signer_config *cfg);

#endif
