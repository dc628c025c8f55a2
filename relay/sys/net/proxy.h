/*
 * The header by which a proxy says whose connection it passes on: the PROXY
 * protocol, versions 1 (a line) and 2 (binary), as HAProxy's proxy-protocol.txt
 * describes them. Pure parsing; relay/sys/net/proxy_wait.h reads it from a socket.
 */
#ifndef STAGEPOST_NET_PROXY_H
#define STAGEPOST_NET_PROXY_H

#include "relay/sys/net/stream.h"

struct proxy_header {
    size_t bytes;              /* of the header; the client's own begin behind it */
    bool proxied;              /* false: the connection is the proxy's own (LOCAL, UNKNOWN) */
    struct net_address client; /* when proxied; IPv4-mapped addresses are IPv4 */
};

/* PARSE_MORE only while `in` may still become a header of at most
 * PROXY_HEADER_MAX octets. */
enum parse proxy_header_parse(struct slice in, struct proxy_header *out);

#endif
