/* When a credential ends. Asked at AUTH, at each MAIL and at each HTTP request. Pure. */
#ifndef STAGEPOST_ACCEPT_POLICY_EXPIRY_H
#define STAGEPOST_ACCEPT_POLICY_EXPIRY_H

#include <stdbool.h>

#include "relay/sys/config/config.h"

/* now: the schedule clock. A message that is already accepted is not concerned. */
bool policy_expiry_is_over(const struct config_credential *cr, int64_t now_unix_ms);

#endif
