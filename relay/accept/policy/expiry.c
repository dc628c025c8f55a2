#include "relay/accept/policy/expiry.h"

bool
policy_expiry_is_over(const struct config_credential *cr, int64_t now_unix_ms)
{
    return cr->expires_unix_ms > 0 && now_unix_ms >= (int64_t)cr->expires_unix_ms;
}
