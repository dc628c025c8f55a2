/*
 * The large mailbox providers, by the name of the MX host that was spoken to:
 * few enough to be a label of metrics. Never an error: what is not known is
 * "other".
 */
#ifndef STAGEPOST_EVENT_PROVIDER_H
#define STAGEPOST_EVENT_PROVIDER_H

#include "relay/sys/base/slice.h"

/* In the order of METRICS_ATTEMPTS in relay/sys/base/metrics.h. */
enum provider {
    PROVIDER_OTHER,
    PROVIDER_GOOGLE,
    PROVIDER_MICROSOFT,
    PROVIDER_YAHOO,
    PROVIDER_APPLE,
    PROVIDER_COUNT,
};

/* mx: a host name without a dot at its end, any case; may be empty. */
enum provider provider_of_mx(struct slice mx);

#endif
