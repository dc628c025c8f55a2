/*
 * For relay/sys/net/ only: connections from proxies until their header
 * (relay/sys/net/proxy.h) was read. Not an octet behind it is taken from the
 * socket, so that a TLS handshake may follow at once.
 */
#ifndef STAGEPOST_NET_PROXY_WAIT_H
#define STAGEPOST_NET_PROXY_WAIT_H

#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"

struct proxy_waits {
    struct loop *loop;
    struct list waiting;
    unsigned count;
    /* Takes the descriptor over. `peer` is the client that the proxy named, or
     * the proxy itself. May call proxy_waits_close(). */
    void (*on_client)(struct proxy_waits *w, int fd, const struct net_address *peer);
};

void proxy_waits_init(struct proxy_waits *w, struct loop *l,
                      void (*on_client)(struct proxy_waits *w, int fd,
                                        const struct net_address *peer));
/* Takes the descriptor over. It is closed when no header came within
 * PROXY_HEADER_TIMEOUT_MS, when something else came, or when PROXY_WAITS_MAX
 * connections wait already. */
void proxy_wait_start(struct proxy_waits *w, int fd, const struct net_address *proxy);
/* Closes all that wait. */
void proxy_waits_close(struct proxy_waits *w);

#endif
