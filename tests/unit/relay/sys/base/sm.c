#include "relay/sys/base/sm.h"

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

enum { IDLE, BUSY, DONE };

static const struct sm_row ROWS[] = {
    [IDLE] = {.name = "IDLE", .doing = "waiting", .next = SM_TO(BUSY)},
    [BUSY] = {.name = "BUSY", .doing = "working", .next = SM_TO(DONE) | SM_TO(IDLE)},
    [DONE] = {.name = "DONE", .doing = "resting", .may_be_delivered = true},
};

static unsigned last_from;

static void
note(struct sm *sm, unsigned from)
{
    (void)sm;
    last_from = from;
}

static void
moves_along_the_table(void **state)
{
    (void)state;
    struct sm sm;
    sm_init(&sm, ROWS, 3, IDLE, note);
    sm_move(&sm, BUSY);
    assert_int_equal(last_from, IDLE);
    assert_string_equal(sm_row(&sm)->doing, "working");
    sm_move(&sm, DONE);
    assert_int_equal(last_from, BUSY);
    assert_true(sm_row(&sm)->may_be_delivered);
}

static void
a_move_that_is_not_in_the_table_aborts(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct sm sm;
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        sm_init(&sm, ROWS, 3, IDLE, NULL);
        sm_move(&sm, DONE);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_along_the_table),
        cmocka_unit_test(a_move_that_is_not_in_the_table_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
