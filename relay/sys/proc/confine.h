/*
 * What a process may ask of the kernel once it runs: a system-call filter
 * (seccomp(2), by libseccomp) and a view of the file system (landlock(7)) for
 * each role. Calls are refused with an error and not punished: a library that
 * tries something and can do without goes on.
 *
 * Every process: no core file, no new privileges by exec, nobody of the same
 * user looks into its memory; no tracing, mounting, namespaces, io_uring, BPF,
 * key rings, kernel modules, other socket families than unix and IP.
 *
 *   keeper, Redis   no network; writes into the dataset and the run directory only
 *   worker          starts no process and signals none; reads what libraries need,
 *                   and neither keys nor the configuration; writes nothing
 *   signer, checker as the worker, no network, no file at all
 *   sandbox         as every process
 *
 * A kernel without Landlock (before 5.13, or 5.19 for Redis) leaves that part
 * out. Builds with a sanitizer are not confined: it needs what is refused here.
 */
#ifndef STAGEPOST_PROC_CONFINE_H
#define STAGEPOST_PROC_CONFINE_H

#include "relay/sys/base/err.h"
#include "relay/sys/config/config.h"

enum confine_role {
    CONFINE_SUPERVISOR,
    CONFINE_KEEPER,
    CONFINE_SANDBOX,
    CONFINE_WORKER,
    CONFINE_SIGNER,
    CONFINE_CHECKER
};

/* For good, and for all that this process starts; before it has threads. c: of a
 * keeper and a worker, the paths in it. -1: the filter could not be made, and
 * the process must not go on; a kernel that has none is said in the log and is
 * no error.
 *
 * In the test build STAGEPOST_SECCOMP=kill in the environment makes a refused
 * call end the process, with the number of the call in the log. */
int confine(enum confine_role role, const struct config *c, struct err *err);

/* The view of the file system. A path that is not there is left out. */
struct confine_path {
    const char *path;
    enum { CONFINE_READ, CONFINE_WRITE } rights;
};
/* least_version: of Landlock, for what the caller does with files; with an older
 * one nothing happens. 0 also then. */
int confine_files(const struct confine_path *paths, unsigned count, int least_version,
                  struct err *err);

#endif
