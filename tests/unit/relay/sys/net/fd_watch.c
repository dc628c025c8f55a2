/* Readable, the end of file, and nothing after close. */
#include "relay/sys/net/fd_watch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

struct seen {
    struct loop *loop;
    unsigned times;
    ssize_t last; /* what read() said */
};

static void
on_readable(void *owner, int fd)
{
    struct seen *s = owner;
    char c;
    s->times++;
    s->last = read(fd, &c, 1);
    loop_stop(s->loop);
}

static void
bytes_then_the_end(void **state)
{
    (void)state;
    int fds[2];
    struct err err = {0};
    struct seen s = {.loop = loop_new()};
    assert_int_equal(pipe(fds), 0);
    struct fd_watch *w = fd_watch_open(s.loop, fds[0], on_readable, &s, &err);
    assert_non_null(w);
    assert_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    loop_run(s.loop);
    loop_run(s.loop); /* what was left is told again */
    assert_int_equal(s.times, 2);
    assert_int_equal(s.last, 1);
    close(fds[1]);
    loop_run(s.loop);
    assert_int_equal(s.times, 3);
    assert_int_equal(s.last, 0);
    fd_watch_close(w);
    loop_run(s.loop); /* nothing is left to wait for */
    assert_int_equal(s.times, 3);
    close(fds[0]);
    loop_free(s.loop);
}

static void
close_is_final(void **state)
{
    (void)state;
    int fds[2];
    struct err err = {0};
    struct seen s = {.loop = loop_new()};
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    struct fd_watch *w = fd_watch_open(s.loop, fds[0], on_readable, &s, &err);
    assert_non_null(w);
    fd_watch_close(w);
    fd_watch_close(NULL);
    loop_run(s.loop);
    assert_int_equal(s.times, 0);
    close(fds[0]);
    close(fds[1]);
    loop_free(s.loop);
}

static void
plain_files_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct seen s = {.loop = loop_new()};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_null(fd_watch_open(s.loop, fd, on_readable, &s, &err));
    assert_int_equal(err.code, ERR_IO);
    close(fd);
    loop_free(s.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_then_the_end),
        cmocka_unit_test(close_is_final),
        cmocka_unit_test(plain_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
