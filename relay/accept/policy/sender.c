#include "relay/accept/policy/sender.h"

bool
policy_sender_envelope(const struct config_credential *cr, struct slice domain)
{
    return domain.n == 0 || config_credential_owns(cr, domain);
}

bool
policy_sender_header(const struct config_credential *cr, const struct slice *domains,
                     unsigned count, struct slice *culprit)
{
    for (unsigned i = 0; i < count; i++)
        if (domains[i].n == 0 || !config_credential_owns(cr, domains[i])) {
            *culprit = domains[i];
            return false;
        }
    return true;
}
