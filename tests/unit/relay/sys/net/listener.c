#include "tests/unit/relay/sys/net/net_test.h"

#include <sys/resource.h>
#include <sys/un.h>

struct door {
    struct loop *loop;
    struct listener *listener;
    struct net_address at;
    unsigned accepted;
    unsigned pause_after, close_after;
};

static void
door_on_accept(void *owner, struct stream *s)
{
    struct door *d = owner;
    d->accepted++;
    stream_abort(s);
    if (d->accepted == d->pause_after)
        listener_pause(d->listener);
    if (d->accepted == d->close_after) {
        listener_close(d->listener);
        d->listener = NULL;
    }
}

static void
door_open(struct door *d, const struct net_address *at)
{
    struct err err;
    *d = (struct door){.loop = loop_new()};
    int fd = net_listen(at, at->kind != NET_UNIX, true, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(net_bound_address(fd, &d->at, &err), 0);
    d->listener = listener_open(d->loop, fd, TEST_INPUT_MAX, door_on_accept, d, &err);
    assert_non_null(d->listener);
}

static void
door_close(struct door *d)
{
    listener_close(d->listener);
    loop_free(d->loop);
}

static int
knock(const struct door *d)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(d->at.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

struct count {
    struct door *door;
    unsigned want;
};

static bool
accepted_holds(void *arg)
{
    struct count *c = arg;
    return c->door->accepted >= c->want;
}

static void
expect_accepted(struct door *d, unsigned want)
{
    run_until(d->loop, accepted_holds, &(struct count){d, want});
    run_turns(d->loop, 3);
    assert_int_equal(d->accepted, want);
}

static void
a_paused_listener_leaves_connections_waiting(void **state)
{
    (void)state;
    struct door d;
    struct net_address at = loopback_any_port();
    door_open(&d, &at);
    assert_true(d.at.port != 0);
    listener_pause(d.listener);
    int first = knock(&d), second = knock(&d);
    run_turns(d.loop, 5);
    assert_int_equal(d.accepted, 0);
    d.pause_after = 1;
    listener_resume(d.listener);
    expect_accepted(&d, 1);
    listener_resume(d.listener);
    expect_accepted(&d, 2);
    close(first);
    close(second);
    door_close(&d);
}

static void
a_listener_may_close_inside_accept(void **state)
{
    (void)state;
    struct door d;
    struct net_address at = loopback_any_port();
    door_open(&d, &at);
    d.close_after = 1;
    int first = knock(&d), second = knock(&d);
    expect_accepted(&d, 1);
    close(first);
    close(second);
    door_close(&d);
}

static void
many_connections_are_all_accepted(void **state)
{
    (void)state;
    struct door d;
    struct net_address at = loopback_any_port();
    int fd[100];
    door_open(&d, &at);
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        fd[i] = knock(&d);
    expect_accepted(&d, ARRAY_LEN(fd));
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        close(fd[i]);
    door_close(&d);
}

/* Out of descriptors: the connection waits and is accepted later, not closed. */
static void
without_descriptors_connections_wait(void **state)
{
    (void)state;
    struct door d;
    struct net_address at = loopback_any_port();
    struct rlimit before, tight;
    door_open(&d, &at);
    int warm = knock(&d);
    expect_accepted(&d, 1); /* whatever opens lazily is open now */
    int waiting = knock(&d);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)waiting + 1;
    int filler[64];
    size_t fillers = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int fd; fillers < ARRAY_LEN(filler) && (fd = dup(warm)) >= 0;)
        filler[fillers++] = fd;
    run_turns(d.loop, 250); /* longer than the pause between two attempts */
    assert_int_equal(d.accepted, 1);
    char byte;
    assert_int_equal(recv(waiting, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_accepted(&d, 2);
    while (fillers > 0)
        close(filler[--fillers]);
    close(warm);
    close(waiting);
    door_close(&d);
}

static void
a_second_start_on_a_port_fails(void **state)
{
    (void)state;
    struct err err;
    struct net_address at = loopback_any_port();
    int first = net_listen(&at, true, true, &err);
    assert_true(first >= 0);
    assert_int_equal(net_bound_address(first, &at, &err), 0);
    int sibling = net_listen(&at, true, false, &err);
    assert_true(sibling >= 0);
    assert_int_equal(net_listen(&at, true, true, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "Address already in use"));
    assert_non_null(strstr(err.text, "127.0.0.1:"));
    close(first);
    close(sibling);
    int again = net_listen(&at, true, true, &err);
    assert_true(again >= 0);
    close(again);
}

static void
unix_paths_of_the_dead_are_taken_over(void **state)
{
    (void)state;
    struct err err;
    char dir[] = "/tmp/stagepost-test-XXXXXX";
    struct net_address at = {.kind = NET_UNIX}, bound;
    assert_non_null(mkdtemp(dir));
    snprintf(at.path, sizeof at.path, "%s/s", dir);
    int first = net_listen(&at, false, true, &err);
    assert_true(first >= 0);
    assert_int_equal(net_bound_address(first, &bound, &err), 0);
    assert_string_equal(bound.path, at.path);
    assert_int_equal(net_listen(&at, false, true, &err), -1); /* alive */
    assert_int_equal(err.code, ERR_IO);
    close(first);
    int second = net_listen(&at, false, true, &err);
    assert_true(second >= 0);
    close(second);
    unlink(at.path);
    int file = open(at.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(net_listen(&at, false, true, &err), -1); /* not ours to remove */
    assert_int_equal(access(at.path, F_OK), 0);
    close(file);
    unlink(at.path);
    rmdir(dir);
}

static void
peers_have_their_address(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct pair p;
    struct recorder server, client;
    pair_open(&p, l, TEST_INPUT_MAX);
    recorder_init(&server, p.server);
    recorder_init(&client, p.client);
    char text[64];
    net_address_format_ip(stream_peer(p.server), text);
    assert_string_equal(text, "127.0.0.1");
    assert_true(stream_peer(p.server)->port != 0);
    assert_int_not_equal(stream_peer(p.server)->port, stream_peer(p.client)->port);
    recorder_fini(&server);
    recorder_fini(&client);
    stream_abort(p.server);
    stream_abort(p.client);
    listener_close(NULL);
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_listener_leaves_connections_waiting),
        cmocka_unit_test(a_listener_may_close_inside_accept),
        cmocka_unit_test(many_connections_are_all_accepted),
        cmocka_unit_test(without_descriptors_connections_wait),
        cmocka_unit_test(a_second_start_on_a_port_fails),
        cmocka_unit_test(unix_paths_of_the_dead_are_taken_over),
        cmocka_unit_test(peers_have_their_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
