#include "relay/accept/policy/recipient.h"

bool
policy_recipient_is_allowed(const struct config_credential *cr, struct slice address,
                            struct slice domain)
{
    return cr->recipient_count == 0 ||
           party_is_listed(cr->recipients, cr->recipient_count, address, domain);
}
