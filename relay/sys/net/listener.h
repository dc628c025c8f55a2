/*
 * Accepting connections on a socket that the supervisor bound and this process
 * inherited. One SO_REUSEPORT socket per worker and address.
 */
#ifndef STAGEPOST_NET_LISTENER_H
#define STAGEPOST_NET_LISTENER_H

#include "relay/sys/net/prefix.h"
#include "relay/sys/net/stream.h"

struct listener;

/* Binds and listens; for the supervisor and for tests. port 0 picks one. The
 * descriptor is close-on-exec. With `reuseport` a plain bind probes first, so
 * that a second start on the same port fails instead of stealing connections;
 * further sockets of the same supervisor pass probe = false. A unix path on which
 * nobody listens any more is taken over; any other file there is an error.
 * Returns -1 with ERR_IO. */
int net_listen(const struct net_address *at, bool reuseport, bool probe, struct err *err);
/* The address a listening descriptor is bound to. */
int net_bound_address(int fd, struct net_address *out, struct err *err);

/* Accepts from fd (taken over, unless NULL is returned). on_accept gets each new
 * stream; it must set its user, or close it. input_max: as in connect_start().
 * Out of descriptors or memory, connections wait in the backlog. */
struct listener *listener_open(struct loop *l, int fd, size_t input_max,
                               void (*on_accept)(void *owner, struct stream *s), void *owner,
                               struct err *err);
/* Networks of proxies, whose word on the client's address is taken. */
struct net_proxies {
    const struct net_prefix *from;
    unsigned count;
};
/* From now on a connection from one of them must begin with a header of the PROXY
 * protocol, version 1 or 2, and is accepted when that was read; stream_peer() is
 * then the client that it names. Anybody else's header is no header. Right after
 * listener_open(); the networks are copied. NULL or none: no effect. */
void listener_trust_proxies(struct listener *l, const struct net_proxies *proxies);
/* While paused, connections wait in the kernel's backlog. */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
void listener_close(struct listener *l); /* NULL is fine */

#endif
