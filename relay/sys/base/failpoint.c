#include "relay/sys/base/failpoint.h"

#ifdef STAGEPOST_TEST_BUILD

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/log.h"

static void
act(struct slice action)
{
    if (slice_eq(action, SLICE("kill")))
        kill(getpid(), SIGKILL);
    else if (slice_eq(action, SLICE("stop")))
        kill(getpid(), SIGSTOP);
    else if (slice_eq(action, SLICE("exit")))
        _exit(99);
    else
        abort();
}

void
failpoint_pass(const char *name)
{
    static uint64_t passed;
    const char *text = getenv("FAILPOINT");
    if (text == NULL)
        return;
    struct slice spec = slice_str(text);
    if (!slice_eq(slice_cut_at(&spec, ':'), slice_str(name)))
        return;
    struct slice action = slice_cut_at(&spec, ':');
    uint64_t nth = 1;
    if (spec.n > 0 && !slice_to_u64(spec, &nth))
        abort();
    if (++passed != nth)
        return;
    LOG(LOG_WARN, "failpoint", LF_STR("name", name), LF_S("action", action));
    act(action);
}

#else
typedef int failpoint_is_empty_in_release_builds;
#endif
