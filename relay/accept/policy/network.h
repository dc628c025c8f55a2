/*
 * From which networks a credential may be used: where its password or key is
 * good for nothing to a thief elsewhere. Asked at AUTH, at each MAIL and at each
 * HTTP request. Pure.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_NETWORK_H
#define STAGEPOST_ACCEPT_POLICY_NETWORK_H

#include <stdbool.h>

#include "relay/sys/config/config.h"
#include "relay/sys/net/stream.h"

/* Without a list from everywhere. A client at a unix socket is in no network, and
 * so is one whose address is not known (NULL). */
bool policy_network_admits(const struct config_credential *cr, const struct net_address *from);

#endif
