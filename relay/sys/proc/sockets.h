/*
 * The sockets of a gateway, bound before anything is started, so that a taken port
 * is an answer and not a restart loop. All are close-on-exec.
 */
#ifndef STAGEPOST_PROC_SOCKETS_H
#define STAGEPOST_PROC_SOCKETS_H

#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/proc/statedir.h"

enum { WORKERS_MAX = 32, SIGNERS_MAX_HERE = 32 };

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

#endif
