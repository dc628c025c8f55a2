/*
 * Signers as processes of their own, for tests: this process keeps the
 * listening socket, as the supervisor does, so that a signer can be killed
 * and started again on it.
 */
#ifndef STAGEPOST_TESTS_SIGNER_SUPPORT_H
#define STAGEPOST_TESTS_SIGNER_SUPPORT_H

#include "tests/unit/support/dkim_support.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "dkim/signer.h"
#include "relay/sys/net/listener.h"

struct test_signer {
    char path[108];
    int listen_fd, control_fd; /* ours */
    pid_t pid;                 /* 0: not running */
};

static inline void
test_signer_listen(struct test_signer *s, const struct dkim_dir *dir, const char *name)
{
    struct net_address at = {.kind = NET_UNIX};
    struct err err = {0};
    *s = (struct test_signer){.control_fd = -1};
    snprintf(s->path, sizeof s->path, "%s/%s", dir->path, name);
    snprintf(at.path, sizeof at.path, "%s", s->path);
    s->listen_fd = net_listen(&at, false, false, &err);
    if (s->listen_fd < 0)
        fail_msg("%s", err.text);
}

/* The keys of a reload. */
static inline struct keyset *
load_keys(const struct config *next, struct err *err)
{
    struct key_spec specs[8];
    for (unsigned i = 0; i < next->dkim_key_count && i < 8; i++)
        specs[i] = (struct key_spec){.domain = next->dkim_keys[i].domain,
                                     .selector = next->dkim_keys[i].selector,
                                     .pem_path = next->dkim_keys[i].path};
    return keyset_load(specs, next->dkim_key_count, err);
}

/* Nothing of this process but the two descriptors reaches the child. */
_Noreturn static inline void
be_signer(int listen_fd, int control_fd, const struct dkim_dir *dir, const char *failpoint)
{
    enum { LISTEN = 100, CONTROL = 101 };
    dup2(listen_fd, LISTEN);
    dup2(control_fd, CONTROL);
    close_range(3, LISTEN - 1, 0);
    close_range(CONTROL + 1, ~0U, 0);
    if (failpoint != NULL)
        setenv("FAILPOINT", failpoint, 1);
    const struct signer_config cfg = {LISTEN, CONTROL, dir->specs, dir->spec_count, load_keys};
    _exit(signer_run(&cfg));
}

static inline void
test_signer_start(struct test_signer *s, const struct dkim_dir *dir, const char *failpoint)
{
    int control[2];
    assert_int_equal(s->pid, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        be_signer(s->listen_fd, control[0], dir, failpoint);
    close(control[0]);
    s->control_fd = control[1];
}

/* Waits for its end; the exit code, or minus the signal. */
static inline int
test_signer_wait(struct test_signer *s)
{
    int status = 0;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    s->pid = 0;
    close(s->control_fd);
    s->control_fd = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline int
test_signer_drain(struct test_signer *s)
{
    close(s->control_fd);
    return test_signer_wait(s);
}

static inline void
test_signer_kill(struct test_signer *s)
{
    kill(s->pid, SIGKILL);
    assert_int_equal(test_signer_wait(s), -SIGKILL);
}

static inline void
test_signer_fini(struct test_signer *s)
{
    if (s->pid > 0)
        test_signer_kill(s);
    close(s->listen_fd);
}

#endif
