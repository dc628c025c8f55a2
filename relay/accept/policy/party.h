/* Whether an address is one of a list of domains and addresses, as senders and
 * recipients of a credential are written. */
#ifndef STAGEPOST_ACCEPT_POLICY_PARTY_H
#define STAGEPOST_ACCEPT_POLICY_PARTY_H

#include <stdbool.h>

#include "relay/sys/base/slice.h"

/* All in canonical form. An entry with an @ is one address, and its local part
 * counts without case: who owns `App@` owns `app@` too. Another one is a domain,
 * without those below it; "*" is everything. No domain: in no list. */
bool party_is_listed(const char *const *list, unsigned count, struct slice address,
                     struct slice domain);

#endif
