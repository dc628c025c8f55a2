/* Becoming somebody else for good. The rest is in tests/system/test_rights.py. */
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/proc/rights.h"

static void
test_what_is_no_user_is_refused(void **state)
{
    static const char *const BAD[] = {"",
                                      ":",
                                      "0:0",
                                      "0:5",
                                      "5:0",
                                      "5",
                                      "a:b",
                                      "-5:5",
                                      "5:5:5",
                                      "4294967295:5",
                                      "5:",
                                      "5: 5",
                                      "stagepost:stagepost"};
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct err err = {0};
        uid_t before = geteuid();
        assert_int_equal(rights_become(BAD[i], &err), -1);
        assert_int_equal(geteuid(), before);
    }
}

static void
test_staying_is_a_dash(void **state)
{
    char as[RIGHTS_AS_MAX];
    struct rights r = {.separate = false};
    struct err err = {0};
    (void)state;
    rights_format(NULL, true, as);
    assert_string_equal(as, "-");
    rights_format(&r, false, as);
    assert_string_equal(as, "-");
    assert_int_equal(rights_become("-", &err), 0);
    r = (struct rights){.separate = true, .gateway = {"a", 7, 8}, .signer = {"b", 9, 10}};
    rights_format(&r, false, as);
    assert_string_equal(as, "7:8");
    rights_format(&r, true, as);
    assert_string_equal(as, "9:10");
}

/* In a process of its own: there is no way back. */
static int
become_in_child(const char *as)
{
    struct err err = {0};
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        bool done = rights_become(as, &err) == 0;
        bool so = getuid() == 12345 && getgid() == 12346 && getgroups(0, NULL) == 0;
        _exit(!done ? 1 : so && setuid(0) != 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_there_is_no_way_back(void **state)
{
    (void)state;
    assert_int_equal(become_in_child("12345:12346"), geteuid() == 0 ? 0 : 1);
}

static void
give_up_cap_kill(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    if (syscall(SYS_capget, &head, caps) != 0)
        _exit(10);
    caps[0].effective &= ~(1u << CAP_KILL);
    caps[0].permitted &= ~(1u << CAP_KILL);
    if (syscall(SYS_capset, &head, caps) != 0)
        _exit(11);
}

/* As the supervisor does without CAP_KILL; an exit code. */
static int
kill_another_users(void)
{
    const struct rights r = {
        .separate = true, .gateway = {"a", 12345, 12345}, .signer = {"b", 12346, 12346}};
    struct err err = {0};
    int ready[2], status = 0;
    char c;
    if (pipe(ready) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        bool done = rights_become("12346:12346", &err) == 0 && write(ready[1], "", 1) == 1;
        for (; done; pause()) {
        }
        _exit(1);
    }
    give_up_cap_kill();
    if (read(ready[0], &c, 1) != 1 || kill(pid, SIGKILL) == 0 || errno != EPERM)
        return 2;
    if (rights_kill(&r, false, pid, SIGKILL) || rights_kill(NULL, true, pid, SIGKILL))
        return 3; /* by the wrong user, and by nobody */
    if (!rights_kill(&r, true, pid, SIGKILL) || waitpid(pid, &status, 0) != pid)
        return 4;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 5;
}

static void
test_children_are_killed_without_cap_kill(void **state)
{
    (void)state;
    int status = -1;
    pid_t pid = geteuid() == 0 ? fork() : -1;
    if (pid == 0)
        _exit(kill_another_users());
    if (pid < 0)
        return; /* only root has other users' children */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_user_is_refused),
        cmocka_unit_test(test_staying_is_a_dash),
        cmocka_unit_test(test_there_is_no_way_back),
        cmocka_unit_test(test_children_are_killed_without_cap_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
