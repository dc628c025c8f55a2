#include "relay/event/provider.h"

#include <stddef.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/metrics.h"

_Static_assert((int)METRIC_ATTEMPTS_DELIVERED + (int)PROVIDER_COUNT ==
                   (int)METRIC_ATTEMPTS_DEFERRED,
               "a row for each provider");

static bool
is_below(struct slice host, struct slice domain)
{
    if (host.n <= domain.n || host.p[host.n - domain.n - 1] != '.')
        return false;
    return slice_eq_nocase(slice_skip(host, host.n - domain.n), domain);
}

enum provider
provider_of_mx(struct slice mx)
{
    static const struct {
        const char *domain;
        enum provider provider;
    } KNOWN[] = {
        {"google.com", PROVIDER_GOOGLE},      {"googlemail.com", PROVIDER_GOOGLE},
        {"outlook.com", PROVIDER_MICROSOFT},  {"hotmail.com", PROVIDER_MICROSOFT},
        {"mx.microsoft", PROVIDER_MICROSOFT}, {"yahoodns.net", PROVIDER_YAHOO},
        {"mail.icloud.com", PROVIDER_APPLE},  {"apple.com", PROVIDER_APPLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(KNOWN); i++)
        if (is_below(mx, slice_str(KNOWN[i].domain)))
            return KNOWN[i].provider;
    return PROVIDER_OTHER;
}
