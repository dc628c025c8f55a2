/*
 * The supervisor: holds every listening socket, starts the other processes and
 * starts them again when they die, drains them at the end. It parses no
 * protocol. A worker's death is told to the other workers by the name of its
 * queue owner, so that they take its leases over at once.
 */
#ifndef STAGEPOST_PROC_SUPERVISOR_H
#define STAGEPOST_PROC_SUPERVISOR_H

#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/proc/rights.h"
#include "relay/sys/proc/statedir.h"

enum { WORKERS_MAX = 32, SIGNERS_MAX_HERE = 32 };

/* Sockets bound before anything is started, so that a taken port is an answer
 * and not a restart loop. All are close-on-exec. */
struct sockets {
    int listen[WORKERS_MAX][CONFIG_LISTENERS_MAX];
    struct net_address at[CONFIG_LISTENERS_MAX]; /* with the ports that were found */
    unsigned workers, listeners;
    int operators; /* run/control.sock, for all workers; see sockets_operators_path() */
    int signer[SIGNERS_MAX_HERE];
    char signer_paths[SIGNERS_MAX_HERE][256];
    unsigned signers;
    int checker;
    char checker_path[256];
    int dns_udp, dns_tcp, mx; /* -1: no sandbox */
    struct net_address dns_at, mx_at;
};

/* ports 0: any. ERR_REFUSED or ERR_IO when one is taken. */
struct socket_wishes {
    struct net_address listeners[CONFIG_LISTENERS_MAX];
    unsigned listener_count;
    uint16_t dns_port;
    unsigned workers, signers;
    bool sandbox;
};
void sockets_init(struct sockets *s); /* with none open */
int sockets_bind(struct sockets *s, const struct socket_wishes *w, const struct statedir *dir,
                 struct err *err);
void sockets_close(struct sockets *s);
/* Where operators' commands reach a gateway with this state directory. False:
 * the path is longer than a unix socket's may be. */
bool sockets_operators_path(struct slice state_dir, struct net_address *out);

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
