#include "relay/sys/base/failpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* FAILPOINT=... in the environment of a child that passes `passes` points. */
static int
child_with(const char *spec, int passes)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        setenv("FAILPOINT", spec, 1);
        for (int i = 0; i < passes; i++)
            FAILPOINT("test.point");
        _exit(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
acts_at_its_name_and_count_only(void **state)
{
    (void)state;
    int s = child_with("test.point:kill", 1);
    assert_true(WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL);
    s = child_with("test.point:kill:3", 2);
    assert_true(WIFEXITED(s) && WEXITSTATUS(s) == 7);
    s = child_with("test.point:kill:3", 3);
    assert_true(WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL);
    s = child_with("other.point:kill", 5);
    assert_true(WIFEXITED(s) && WEXITSTATUS(s) == 7);
    s = child_with("test.point:exit", 1);
    assert_true(WIFEXITED(s) && WEXITSTATUS(s) == 99);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acts_at_its_name_and_count_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
