/*
 * Kill points for tests. FAILPOINT("accept.before-commit") does nothing in a
 * release build; in a test build it acts when the environment says
 *   FAILPOINT=name:action[:nth]
 * action: kill (SIGKILL), exit, stop (SIGSTOP), abort. nth: only the nth time
 * this process passes the point (default 1). Every point is listed in
 * tests/fault/README.md.
 */
#ifndef STAGEPOST_BASE_FAILPOINT_H
#define STAGEPOST_BASE_FAILPOINT_H

#ifdef STAGEPOST_TEST_BUILD
void failpoint_pass(const char *name);
#define FAILPOINT(name) failpoint_pass(name)
#else
#define FAILPOINT(name) ((void)0)
#endif

#endif
