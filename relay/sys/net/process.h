/*
 * Child processes of the supervisor: fork and exec of a binary with chosen
 * descriptors, a process group and session of its own, and news of its end.
 */
#ifndef STAGEPOST_NET_PROCESS_H
#define STAGEPOST_NET_PROCESS_H

#include <sys/types.h>

#include "relay/sys/base/err.h"
#include "relay/sys/net/loop.h"

struct process;

struct process_spec {
    const char *file;  /* absolute path */
    char *const *argv; /* NULL-terminated */
    char *const *env;  /* NULL: the parent's */
    const int *fds;    /* descriptor i of the child is a copy of fds[i]; -1: /dev/null */
    int fd_count;      /* at least 3 */
};

/* Every descriptor of this process from 3 up becomes close-on-exec: the child
 * gets those in the spec and no other.
 * on_exit: exactly once, with the exit code (0..255) and signal (0: none). The
 * process may be freed inside it. */
struct process *process_start(struct loop *l, const struct process_spec *spec,
                              void (*on_exit)(void *owner, int code, int signal), void *owner,
                              struct err *err);
pid_t process_pid(const struct process *p);
void process_kill(struct process *p, int signo); /* no effect after its end */
void process_free(struct process *p);            /* does not kill; on_exit comes no more */

#endif
