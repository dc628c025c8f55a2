#include "tests/unit/relay/sys/net/net_test.h"

#include <signal.h>
#include <sys/wait.h>

#include "relay/sys/net/process.h"

struct child {
    struct process *process;
    bool exited, frees;
    int code, signal;
    unsigned exits;
};

static void
on_exit_record(void *owner, int code, int signo)
{
    struct child *c = owner;
    c->exits++;
    c->exited = true;
    c->code = code;
    c->signal = signo;
    if (c->frees)
        process_free(c->process);
}

static void
child_start(struct child *c, struct loop *l, const char *script, const int *fds, int fd_count)
{
    struct err err;
    char *argv[] = {"sh", "-c", (char *)(uintptr_t)script, NULL};
    struct process_spec spec = {.file = "/bin/sh", .argv = argv, .fds = fds, .fd_count = fd_count};
    *c = (struct child){.process = NULL};
    c->process = process_start(l, &spec, on_exit_record, c, &err);
    assert_non_null(c->process);
    assert_true(process_pid(c->process) > 0);
    assert_false(c->exited);
}

static const int NOTHING[3] = {-1, -1, -1};

static void
the_exit_code_comes_once(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c;
    child_start(&c, l, "exit 75", NOTHING, 3);
    run_until_flag(l, &c.exited);
    assert_int_equal(c.code, 75);
    assert_int_equal(c.signal, 0);
    process_kill(c.process, SIGKILL); /* no effect after its end */
    run_turns(l, 3);
    assert_int_equal(c.exits, 1);
    process_free(c.process);
    process_free(NULL);
    loop_free(l);
}

static void
a_killed_child_names_its_signal(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c;
    child_start(&c, l, "while :; do sleep 1; done", NOTHING, 3);
    c.frees = true; /* inside on_exit */
    process_kill(c.process, SIGKILL);
    run_until_flag(l, &c.exited);
    assert_int_equal(c.signal, SIGKILL);
    assert_int_equal(c.code, 0);
    loop_free(l);
}

static void
read_all(struct loop *l, struct child *c, int fd, char *out, size_t cap)
{
    run_until_flag(l, &c->exited);
    ssize_t n = read(fd, out, cap - 1);
    assert_true(n >= 0);
    out[n] = '\0';
}

/* The child has what it was given and nothing else, even where this process
 * forgot close-on-exec, and descriptors may change places. */
static void
descriptors_are_exactly_those_asked_for(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c;
    int out[2], given[2], leak = dup(STDERR_FILENO);
    char text[1000];
    assert_true(leak >= 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(given, O_CLOEXEC), 0);
    int fds[] = {-1, out[1], -1, given[1], -1, out[1]};
    child_start(&c, l,
                "echo three >&3; echo five >&5; echo >&4; cd /proc/self/fd; "
                "for i in *; do test -e $i && echo $i; done; readlink 4",
                fds, 6);
    read_all(l, &c, out[0], text, sizeof text);
    assert_string_equal(text, "five\n0\n1\n2\n3\n4\n5\n/dev/null\n");
    ssize_t n = read(given[0], text, sizeof text);
    assert_int_equal(n, 6);
    assert_memory_equal(text, "three\n", 6);
    process_free(c.process);
    close(leak);
    for (int i = 0; i < 2; i++) {
        close(out[i]);
        close(given[i]);
    }
    loop_free(l);
}

static void
the_child_has_a_session_of_its_own_and_default_signals(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c;
    int out[2];
    char text[1000], want[64];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    int fds[] = {-1, out[1], -1};
    /* The last eight digits are signals 1 to 32; 32 is the C library's own. */
    child_start(&c, l, "cut -d' ' -f5,6 /proc/$$/stat; grep SigIgn /proc/$$/status", fds, 3);
    read_all(l, &c, out[0], text, sizeof text);
    snprintf(want, sizeof want, "%d %d\nSigIgn:\t", (int)process_pid(c.process),
             (int)process_pid(c.process));
    assert_memory_equal(text, want, strlen(want));
    assert_int_equal(strtoull(text + strlen(want), NULL, 16) & 0x7fffffff, 0);
    process_free(c.process);
    close(out[0]);
    close(out[1]);
    loop_free(l);
}

static void
the_environment_is_the_one_given(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c = {.process = NULL};
    struct err err;
    int out[2];
    char text[1000];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    int fds[] = {-1, out[1], -1};
    char *argv[] = {"env", NULL}, *env[] = {"ONE=1", NULL};
    struct process_spec spec = {
        .file = "/usr/bin/env", .argv = argv, .env = env, .fds = fds, .fd_count = 3};
    c.process = process_start(l, &spec, on_exit_record, &c, &err);
    assert_non_null(c.process);
    read_all(l, &c, out[0], text, sizeof text);
    assert_string_equal(text, "ONE=1\n");
    process_free(c.process);
    close(out[0]);
    close(out[1]);
    loop_free(l);
}

static void
a_missing_program_is_an_error(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct err err;
    struct child c = {.process = NULL};
    char *argv[] = {"x", NULL};
    struct process_spec spec = {
        .file = "/proc/none/x", .argv = argv, .fds = NOTHING, .fd_count = 3};
    assert_null(process_start(l, &spec, on_exit_record, &c, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "/proc/none/x: no such file"));
    run_turns(l, 5);
    assert_int_equal(c.exits, 0);
    loop_free(l);
}

static bool
is_reaped(void *arg)
{
    return kill(*(pid_t *)arg, 0) != 0 && errno == ESRCH;
}

static void
a_forgotten_child_goes_on_and_is_reaped(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct child c;
    int hold[2];
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    int fds[] = {hold[0], -1, -1};
    child_start(&c, l, "read line", fds, 3);
    close(hold[0]);
    pid_t pid = process_pid(c.process);
    process_free(c.process);
    loop_run(l); /* returns: nobody waits for it */
    assert_int_equal(kill(pid, 0), 0);
    close(hold[1]);
    run_until(l, is_reaped, &pid);
    assert_int_equal(c.exits, 0);
    child_start(&c, l, "read line", NOTHING, 3);
    process_free(c.process); /* the loop goes before the child does */
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exit_code_comes_once),
        cmocka_unit_test(a_killed_child_names_its_signal),
        cmocka_unit_test(descriptors_are_exactly_those_asked_for),
        cmocka_unit_test(the_child_has_a_session_of_its_own_and_default_signals),
        cmocka_unit_test(the_environment_is_the_one_given),
        cmocka_unit_test(a_missing_program_is_an_error),
        cmocka_unit_test(a_forgotten_child_goes_on_and_is_reaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
