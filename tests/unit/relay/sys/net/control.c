/* Lines with and without descriptors, in whatever pieces they come. */
#include "relay/sys/net/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

struct rig {
    struct loop *loop;
    int far, near;
    struct control *control;
    struct control_user user;
    char said[2048]; /* lines, with '|' behind each */
    bool ended, close_at_line;
};

static void
on_line(struct control_user *u, struct slice line)
{
    struct rig *r = container_of(u, struct rig, user);
    size_t n = strlen(r->said);
    snprintf(r->said + n, sizeof r->said - n, "%.*s|", SLICE_FMT(line));
    if (r->close_at_line) {
        control_close(r->control);
        r->control = NULL;
    }
}

static void
on_end(struct control_user *u)
{
    struct rig *r = container_of(u, struct rig, user);
    r->ended = true;
    control_close(r->control);
    r->control = NULL;
}

static void
rig_init(struct rig *r)
{
    int pair[2];
    struct err err = {0};
    *r = (struct rig){.loop = loop_new(), .user = {.on_line = on_line, .on_end = on_end}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    r->far = pair[0];
    r->near = pair[1];
    r->control = control_open(r->loop, r->near, &r->user, &err);
    assert_non_null(r->control);
}

/* Until the other side's end has been seen. */
static void
run_to_end(struct rig *r)
{
    close(r->far);
    loop_run(r->loop);
    close(r->near);
    loop_free(r->loop);
}

static void
lines_come_whole(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    assert_true(control_send(r.far, SLICE("one\n"), -1));
    assert_int_equal(write(r.far, "tw", 2), 2);
    assert_int_equal(write(r.far, "o\nthree\n\nno end", 15), 15);
    run_to_end(&r);
    assert_string_equal(r.said, "one|two|three||");
    assert_true(r.ended);
}

static void
a_descriptor_that_nobody_takes_is_closed(void **state)
{
    struct rig r;
    int ends[2];
    char c = 0;
    (void)state;
    rig_init(&r);
    assert_int_equal(pipe(ends), 0);
    assert_true(control_send(r.far, SLICE("plain\n"), -1));
    assert_true(control_send(r.far, SLICE("with\n"), ends[1]));
    assert_int_equal(control_take_fd(r.control), -1);
    close(ends[1]);
    run_to_end(&r);
    assert_string_equal(r.said, "plain|with|");
    assert_int_equal(read(ends[0], &c, 1), 0); /* not taken: closed with the control */
    close(ends[0]);
}

static int taken_fd;

static void
take_at_line(struct control_user *u, struct slice line)
{
    struct rig *r = container_of(u, struct rig, user);
    if (slice_eq(line, SLICE("take")))
        taken_fd = control_take_fd(r->control);
}

static void
a_descriptor_is_the_takers(void **state)
{
    struct rig r;
    int ends[2];
    char c = 0;
    (void)state;
    rig_init(&r);
    r.user.on_line = take_at_line;
    taken_fd = -1;
    assert_int_equal(pipe(ends), 0);
    assert_true(control_send(r.far, SLICE("first\n"), -1));
    assert_true(control_send(r.far, SLICE("take\n"), ends[1]));
    close(ends[1]);
    run_to_end(&r);
    assert_true(taken_fd >= 0);
    assert_int_equal(write(taken_fd, "x", 1), 1);
    close(taken_fd);
    assert_int_equal(read(ends[0], &c, 1), 1);
    close(ends[0]);
}

static void
a_line_without_end_is_the_end(void **state)
{
    struct rig r;
    char junk[CONTROL_LINE_MAX];
    (void)state;
    rig_init(&r);
    memset(junk, 'x', sizeof junk);
    for (int i = 0; i < 64; i++)
        (void)!write(r.far, junk, sizeof junk);
    loop_run(r.loop); /* ends although the other side is open */
    assert_true(r.ended);
    assert_string_equal(r.said, "");
    run_to_end(&r);
}

static void
a_pipe_says_that_its_other_end_is_open(void **state)
{
    struct rig r = {.loop = loop_new(), .user = {.on_line = on_line, .on_end = on_end}};
    struct err err = {0};
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    r.near = ends[0];
    r.far = ends[1];
    r.control = control_open(r.loop, r.near, &r.user, &err);
    assert_non_null(r.control);
    run_to_end(&r);
    assert_true(r.ended);
}

static void
closed_inside_a_line(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    r.close_at_line = true;
    assert_true(control_send(r.far, SLICE("one\ntwo\n"), -1));
    run_to_end(&r);
    assert_string_equal(r.said, "one|");
    assert_false(r.ended);
}

static void
nobody_there(void **state)
{
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    assert_false(control_send(pair[0], SLICE("x\n"), -1));
    close(pair[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_whole),
        cmocka_unit_test(a_descriptor_that_nobody_takes_is_closed),
        cmocka_unit_test(a_descriptor_is_the_takers),
        cmocka_unit_test(a_line_without_end_is_the_end),
        cmocka_unit_test(a_pipe_says_that_its_other_end_is_open),
        cmocka_unit_test(closed_inside_a_line),
        cmocka_unit_test(nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
