#include "relay/sys/base/bug.h"

#include <stdlib.h>

#include "relay/sys/base/log.h"

void
bug_abort(const char *file, int line, const char *cond)
{
    LOG(LOG_ERROR, "bug", LF_STR("file", file), LF_U("line", line), LF_STR("condition", cond));
    abort();
}
