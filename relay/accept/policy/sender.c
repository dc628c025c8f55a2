#include "relay/accept/policy/sender.h"

static bool
owns(const struct config_credential *cr, struct slice address, struct slice domain)
{
    return party_is_listed(cr->senders, cr->sender_count, address, domain);
}

bool
policy_sender_envelope(const struct config_credential *cr, struct slice path, struct slice domain)
{
    return path.n == 0 || owns(cr, path, domain);
}

bool
policy_sender_header(const struct config_credential *cr, const struct slice *addresses,
                     const struct slice *domains, unsigned count, struct slice *culprit)
{
    for (unsigned i = 0; i < count; i++)
        if (!owns(cr, addresses[i], domains[i])) {
            *culprit = addresses[i];
            return false;
        }
    return true;
}
