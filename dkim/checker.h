/*
 * The checker: the process that lets libspf2 read what strangers publish. It has
 * no network and no keys; what it needs of DNS it asks of who asked it
 * (dkim/check_protocol.h), and its memory and its time for a check are limited. When a
 * record kills it, its starter starts another one, and dkim/checker_client.h
 * decides what becomes of the check.
 */
#ifndef STAGEPOST_DKIM_CHECKER_H
#define STAGEPOST_DKIM_CHECKER_H

struct checker_config {
    int listen_fd;  /* listening unix socket bound by who starts it; taken over */
    int control_fd; /* pipe or socket; its end means: return; taken over */
};

/* Runs until control_fd ends, then returns 0 at once: a check that is cut off is
 * asked again. An exit code of sysexits.h (70) when it cannot start. More than
 * CHECK_CPU_S of CPU time for one run of a check ends the process by SIGPROF. */
int checker_run(const struct checker_config *cfg);

#endif
