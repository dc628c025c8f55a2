#include "relay/accept/policy/network.h"

#include "relay/sys/net/prefix.h"

bool
policy_network_admits(const struct config_credential *cr, const struct net_address *from)
{
    struct net_prefix network;
    for (unsigned i = 0; i < cr->network_count; i++)
        if (from != NULL && net_prefix_parse(slice_str(cr->networks[i]), &network) &&
            net_prefix_contains(&network, from))
            return true;
    return cr->network_count == 0;
}
