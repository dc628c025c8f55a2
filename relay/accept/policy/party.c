#include "relay/accept/policy/party.h"

bool
party_is_listed(const char *const *list, unsigned count, struct slice address, struct slice domain)
{
    if (domain.n == 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct slice entry = slice_str(list[i]);
        bool is_address = slice_find(entry, '@') < entry.n;
        if (slice_eq_nocase(entry, is_address ? address : domain) || slice_eq(entry, SLICE("*")))
            return true;
    }
    return false;
}
