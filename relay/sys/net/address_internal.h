/*
 * For relay/sys/net/ only: addresses as the kernel wants them.
 */
#ifndef STAGEPOST_NET_ADDRESS_INTERNAL_H
#define STAGEPOST_NET_ADDRESS_INTERNAL_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "relay/sys/net/stream.h"

union net_sockaddr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

socklen_t net_address_to_sockaddr(const struct net_address *a, union net_sockaddr *out);
/* false when the family is none of ours. */
bool net_address_from_sockaddr(const union net_sockaddr *sa, socklen_t n, struct net_address *out);

/* false after net_only_loopback() for everything outside this machine. */
bool net_may_connect(const struct net_address *to);

#endif
