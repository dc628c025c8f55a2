/*
 * A network: an address and how many of its first bits count (RFC 4632 3.1,
 * RFC 4291 2.3). For lists of who may do something, by address.
 *
 * An IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) is the IPv4 address in it, on
 * both sides: a client does not leave its network by the kind of socket that it
 * came in on.
 */
#ifndef STAGEPOST_NET_PREFIX_H
#define STAGEPOST_NET_PREFIX_H

#include "relay/sys/net/stream.h"

struct net_prefix {
    bool ipv6;
    uint8_t bits;   /* 0 to 32, or to 128 */
    uint8_t ip[16]; /* network order; the first 4 for IPv4; 0 behind `bits` */
};

enum { NET_PREFIX_TEXT = 64 };

/* "192.0.2.0/24", "2001:db8::/32"; an address alone is a network of one. An
 * address with bits behind the prefix ("192.0.2.1/24") is refused: one of the
 * two numbers is a mistake. */
bool net_prefix_parse(struct slice text, struct net_prefix *out);
void net_prefix_format(const struct net_prefix *p, char out[NET_PREFIX_TEXT]);
/* A unix socket is in no network. */
bool net_prefix_contains(const struct net_prefix *p, const struct net_address *a);
/* Whether one of `count` networks contains the address. */
bool net_prefixes_contain(const struct net_prefix *p, unsigned count, const struct net_address *a);

#endif
