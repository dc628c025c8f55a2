#include "relay/sys/proc/descriptors.h"

#include <sys/resource.h>

#include "relay/sys/base/log.h"

enum {
    DESCRIPTORS_USEFUL = 16384, /* twice what limits.h lets one worker open */
    DESCRIPTORS_LEAST = 4096,   /* below it strangers can use up all: worth a warning */
    DELIVERY_SHARE = 4,         /* a quarter; as many for what comes in, DNS, Redis */
};

unsigned
descriptors_raise(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return DESCRIPTORS_LEAST;
    if (r.rlim_cur < DESCRIPTORS_USEFUL) {
        rlim_t before = r.rlim_cur;
        r.rlim_cur = r.rlim_max < DESCRIPTORS_USEFUL ? r.rlim_max : DESCRIPTORS_USEFUL;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            r.rlim_cur = before;
    }
    if (r.rlim_cur < DESCRIPTORS_LEAST)
        LOG(LOG_WARN, "supervisor.few-descriptors", LF_U("limit", r.rlim_cur));
    return r.rlim_cur < DESCRIPTORS_USEFUL ? (unsigned)r.rlim_cur : DESCRIPTORS_USEFUL;
}

unsigned
descriptors_for_delivery(unsigned limit, unsigned wanted)
{
    unsigned share = limit / DELIVERY_SHARE;
    if (share >= wanted)
        return wanted;
    return share > 0 ? share : 1;
}
