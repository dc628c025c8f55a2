/*
 * Which Host a request may name. A browser that was lured to another name
 * (DNS rebinding) sends that name here; it gets 421 (RFC 9110 15.5.20).
 */
#ifndef STAGEPOST_API_HTTP_HOST_H
#define STAGEPOST_API_HTTP_HOST_H

#include <stdbool.h>

#include "relay/sys/base/slice.h"
#include "relay/sys/net/stream.h"

enum host_answer { HOST_OURS, HOST_FOREIGN, HOST_MALFORMED };

/* Ours are "localhost", 127.0.0.1, [::1], the bound address and `hostname`
 * (NULL: none), each with the bound port; without a port only when that is 80. */
enum host_answer host_check(struct slice host, const struct net_address *bound,
                            const char *hostname);

#endif
