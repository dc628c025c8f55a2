/* Each role tries, in a process of its own, what it may and what it may not. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/proc/confine.h"
#include "tests/unit/support/temp_dir.h"

static struct temp_dir dir;
static char state_dir[160], run_dir[200], dataset[200], secret[200];

static const struct config CONFIG = {
    .state_dir = state_dir, .run_dir = run_dir, .sandbox_dir = "", .redis_ca_path = ""};

/* The exit code of `attempt`, made as this role; -SIGNAL when it was killed. */
static int
as(enum confine_role role, int (*attempt)(void))
{
    struct err err = {0};
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(confine(role, &CONFIG, &err) == 0 ? attempt() : 100);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The number of the first that was not refused as it should be; 0: all were. */
static int
what_nobody_may(void)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 || errno != EPERM)
        return 1;
    if (syscall(SYS_unshare, 0) == 0 || errno != EPERM) /* would be allowed to everybody */
        return 2;
    if (syscall(SYS_io_uring_setup, 0, NULL) == 0 || errno != EPERM)
        return 3;
    if (syscall(SYS_bpf, 0, NULL, 0) == 0 || errno != EPERM)
        return 4;
    if (syscall(SYS_keyctl, 0, 0, 0, 0, 0) >= 0 || errno != EPERM)
        return 5;
    if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0 || errno != EAFNOSUPPORT)
        return 6;
    if (syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0) == 0 || errno != EPERM)
        return 7;
    struct rlimit core = {1, 1};
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0)
        return 8;
    if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 9;
    return 0;
}

static void *
thread(void *given)
{
    return given;
}

static int
what_everybody_needs(void)
{
    pthread_t t;
    int pair[2];
    void *got = NULL;
    if (pthread_create(&t, NULL, thread, pair) != 0 || pthread_join(t, &got) != 0 || got != pair)
        return 1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || socket(AF_UNIX, SOCK_STREAM, 0) < 0)
        return 2;
    return kill(getpid(), 0) == 0 && raise(0) == 0 ? 0 : 3;
}

static int
starts_processes(void)
{
    char *argv[] = {(char *)(uintptr_t) "true", NULL};
    pid_t pid = fork();
    if (pid < 0)
        return execv("/bin/true", argv) < 0 && errno == EPERM && kill(1, 0) < 0 && errno == EPERM
                   ? 0
                   : 2;
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return 1;
}

static int
has_network(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_INET6, SOCK_DGRAM, 0) >= 0;
}

static int
opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    return fd >= 0;
}

static int
reads_libraries(void)
{
    return opens("/usr/bin/env", O_RDONLY) && opens("/dev/null", O_RDWR);
}

static int
reads_secrets(void)
{
    return opens(secret, O_RDONLY) || opens("/etc/passwd", O_RDONLY);
}

static int
writes_somewhere(void)
{
    char path[220];
    snprintf(path, sizeof path, "%s/new", state_dir);
    return opens(path, O_WRONLY | O_CREAT) || opens(secret, O_WRONLY) || unlink(secret) == 0;
}

/* As Redis at a rewrite: a file is made, moved into another directory, removed. */
static int
keeps_a_dataset(void)
{
    char made[220], folder[220], moved[240];
    snprintf(made, sizeof made, "%s/made", dataset);
    snprintf(folder, sizeof folder, "%s/folder", dataset);
    snprintf(moved, sizeof moved, "%s/moved", folder);
    return opens(made, O_RDWR | O_CREAT) && mkdir(folder, 0700) == 0 && rename(made, moved) == 0 &&
           unlink(moved) == 0 && rmdir(folder) == 0;
}

static void
test_nobody_may(void **state)
{
    (void)state;
    for (int role = CONFINE_SUPERVISOR; role <= CONFINE_CHECKER; role++) {
        assert_int_equal(as((enum confine_role)role, what_nobody_may), 0);
        assert_int_equal(as((enum confine_role)role, what_everybody_needs), 0);
    }
}

static void
test_processes_and_network(void **state)
{
    (void)state;
    assert_int_equal(as(CONFINE_SUPERVISOR, starts_processes), 1);
    assert_int_equal(as(CONFINE_KEEPER, starts_processes), 1);
    assert_int_equal(as(CONFINE_WORKER, starts_processes), 0);
    assert_int_equal(as(CONFINE_SIGNER, starts_processes), 0);
    assert_int_equal(as(CONFINE_CHECKER, starts_processes), 0);
    assert_int_equal(as(CONFINE_SUPERVISOR, has_network), 1);
    assert_int_equal(as(CONFINE_WORKER, has_network), 1);
    assert_int_equal(as(CONFINE_KEEPER, has_network), 0);
    assert_int_equal(as(CONFINE_SIGNER, has_network), 0);
    assert_int_equal(as(CONFINE_CHECKER, has_network), 0);
}

static void
test_files(void **state)
{
    (void)state;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2)
        skip();
    assert_int_equal(as(CONFINE_WORKER, reads_libraries), 1);
    assert_int_equal(as(CONFINE_KEEPER, reads_libraries), 1);
    assert_int_equal(as(CONFINE_SIGNER, reads_libraries), 0);
    assert_int_equal(as(CONFINE_CHECKER, reads_libraries), 0);
    assert_int_equal(as(CONFINE_SUPERVISOR, reads_secrets), 1);
    for (int role = CONFINE_SUPERVISOR; role <= CONFINE_CHECKER; role++) {
        if (role == CONFINE_SUPERVISOR || role == CONFINE_SANDBOX)
            continue;
        assert_int_equal(as((enum confine_role)role, reads_secrets), 0);
        assert_int_equal(as((enum confine_role)role, writes_somewhere), 0);
    }
    assert_int_equal(as(CONFINE_KEEPER, keeps_a_dataset), 1);
    assert_int_equal(as(CONFINE_WORKER, keeps_a_dataset), 0);
}

static int
traces(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0) != 0 ? 1 : 0;
}

static void
test_a_refusal_can_be_made_deadly(void **state)
{
    enum { EXIT_REFUSED = 86 };
    (void)state;
    setenv("STAGEPOST_SECCOMP", "kill", 1);
    int ended = as(CONFINE_SIGNER, traces);
    unsetenv("STAGEPOST_SECCOMP");
    assert_int_equal(ended, EXIT_REFUSED);
    assert_int_equal(as(CONFINE_SIGNER, traces), 1);
}

static int
set_up(void **state)
{
    (void)state;
    temp_dir_make(&dir);
    snprintf(state_dir, sizeof state_dir, "%s/state", dir.path);
    snprintf(run_dir, sizeof run_dir, "%s/run", state_dir);
    snprintf(dataset, sizeof dataset, "%s/redis", state_dir);
    snprintf(secret, sizeof secret, "%s/secret", state_dir);
    if (mkdir(state_dir, 0700) != 0 || mkdir(run_dir, 0700) != 0 || mkdir(dataset, 0700) != 0)
        return -1;
    return opens(secret, O_WRONLY | O_CREAT) ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    unlink(secret);
    char made[220];
    snprintf(made, sizeof made, "%s/made", dataset);
    unlink(made);
    rmdir(dataset);
    rmdir(run_dir);
    rmdir(state_dir);
    temp_dir_remove(&dir);
    return 0;
}

/* See confine.h: a sanitizer needs what is refused. */
static void
test_a_sanitizer_is_not_confined(void **state)
{
    (void)state;
    for (int role = CONFINE_SUPERVISOR; role <= CONFINE_CHECKER; role++)
        assert_int_equal(as((enum confine_role)role, starts_processes), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_may),
        cmocka_unit_test(test_processes_and_network),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_a_refusal_can_be_made_deadly),
    };
    const struct CMUnitTest unconfined[] = {cmocka_unit_test(test_a_sanitizer_is_not_confined)};
#ifdef __SANITIZE_ADDRESS__
    bool is_confined = false;
#else
    bool is_confined = true;
#endif
    return is_confined ? cmocka_run_group_tests(tests, set_up, tear_down)
                       : cmocka_run_group_tests(unconfined, set_up, tear_down);
}
