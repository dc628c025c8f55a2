/*
 * The supervisor: holds every listening socket, starts the other processes and
 * starts them again when they die, drains them at the end. It parses no
 * protocol. A worker's death is told to the other workers by the name of its
 * queue owner, so that they take its leases over at once.
 */
#ifndef STAGEPOST_PROC_SUPERVISOR_H
#define STAGEPOST_PROC_SUPERVISOR_H

#include "relay/sys/config/config.h"
#include "relay/sys/proc/rights.h"
#include "relay/sys/proc/sockets.h"
#include "relay/sys/proc/statedir.h"

struct supervisor_config {
    const struct config *config; /* with everything that children need */
    const struct statedir *dir;
    const struct sockets *sockets;
    const struct rights *rights;   /* NULL: children are who we are */
    void (*on_ready)(void *owner); /* all workers accept for the first time */
    /* SIGHUP: the configuration read again, of the generation given; NULL when
     * it will not do, which is logged there. It stays until on_reloaded(), which
     * says whether it replaces the one before. NULL: SIGHUP does nothing. */
    const struct config *(*reread)(void *owner, uint64_t generation);
    void (*on_reloaded)(void *owner, bool ok);
    void *owner;
};

/* Until supervisor_run() listens to them: SIGTERM and SIGINT end this process
 * with 0, since nothing is started yet; SIGHUP does nothing. */
void supervisor_leave_on_signals(void);

/* Runs until SIGTERM or SIGINT, drains and returns an exit code. A second
 * signal ends the children at once. SIGHUP reloads (reload.h). */
int supervisor_run(const struct supervisor_config *cfg);

#endif
