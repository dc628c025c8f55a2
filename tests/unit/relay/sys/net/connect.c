#include "tests/unit/relay/sys/net/net_test.h"

#include <netinet/tcp.h>

#include "relay/sys/net/stream_internal.h"

/* A socket that is bound but does not listen yet keeps its port to itself. */
static int
bound_socket(struct net_address *at)
{
    struct err err;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(net_bound_address(fd, at, &err), 0);
    return fd;
}

/* A listening socket whose backlog is full: the kernel drops further SYNs. */
struct full {
    int listening, in_backlog[16];
    struct net_address at;
};

static void
full_open(struct full *f)
{
    f->listening = bound_socket(&f->at);
    assert_int_equal(listen(f->listening, 0), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(f->at.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < ARRAY_LEN(f->in_backlog); i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        assert_true(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EINPROGRESS);
        f->in_backlog[i] = fd;
    }
}

static void
full_close(struct full *f)
{
    for (size_t i = 0; i < ARRAY_LEN(f->in_backlog); i++)
        close(f->in_backlog[i]);
    close(f->listening);
}

static bool
has_nodelay(struct stream *s)
{
    uv_os_fd_t fd;
    int on = 0;
    socklen_t n = sizeof on;
    assert_int_equal(uv_fileno(&s->uv.any, &fd), 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
    return on != 0;
}

static void
a_connection_is_handed_over(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    assert_true(net_address_is_loopback(stream_peer(s)));
    assert_int_equal(stream_peer(s)->kind, NET_IPV4);
    assert_false(stream_is_tls(s));
    assert_string_equal(stream_tls_version(s), "");
    assert_true(has_nodelay(s));
    stream_abort(s);
    close(fd);
    loop_free(l);
}

static void
unix_sockets_connect(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct err err;
    struct net_address at = {.kind = NET_UNIX};
    char dir[] = "/tmp/stagepost-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(at.path, sizeof at.path, "%s/s", dir);
    struct connecting c;
    connecting_start(&c, l, &at);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_IO);
    assert_null(c.op.stream);
    assert_non_null(strstr(c.op.err.text, "no such file"));
    assert_non_null(strstr(c.op.err.text, at.path));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    connecting_start(&c, l, &at);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_NONE);
    assert_string_equal(stream_peer(c.op.stream)->path, at.path);
    stream_abort(c.op.stream);
    loop_free(l);
    close(fd);
    unlink(at.path);
    rmdir(dir);
}

static void
a_refused_connection_says_so(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct net_address at;
    int fd = bound_socket(&at);
    struct connecting c;
    connecting_start(&c, l, &at);
    assert_false(c.done);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_IO);
    assert_null(c.op.stream);
    assert_non_null(strstr(c.op.err.text, "connect to 127.0.0.1:"));
    assert_non_null(strstr(c.op.err.text, "connection refused"));
    close(fd);
    loop_free(l);
}

static void
a_silent_host_times_out(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct full f;
    full_open(&f);
    struct connecting c = {.op = {.done = connecting_done}};
    connect_start(&c.op, l, &f.at, 50, TEST_INPUT_MAX);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_TIMEOUT);
    assert_null(c.op.stream);
    full_close(&f);
    loop_free(l);
}

enum cancel_when { CANCEL_AT_ONCE, CANCEL_WHILE_WAITING, CANCEL_WHEN_CONNECTED, CANCEL_FAILED };

/* In each state of the attempt: before the loop turned, while the kernel waits,
 * when the connection stands but was not reported, when it failed already. */
static void
cancel_in(enum cancel_when when)
{
    struct loop *l = loop_new();
    struct full f;
    struct err err;
    struct net_address at = loopback_any_port(), nowhere;
    int listening = net_listen(&at, false, false, &err), closed = bound_socket(&nowhere);
    assert_int_equal(net_bound_address(listening, &at, &err), 0);
    full_open(&f);
    struct connecting c;
    connecting_start(&c, l,
                     when == CANCEL_WHILE_WAITING ? &f.at
                     : when == CANCEL_FAILED      ? &nowhere
                                                  : &at);
    if (when == CANCEL_WHILE_WAITING)
        run_turns(l, 3);
    assert_false(c.done);
    connect_cancel(&c.op);
    assert_false(c.done); /* not inside the call */
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_CANCELLED);
    assert_null(c.op.stream);
    run_turns(l, 3); /* a second done would fail in connecting_done() */
    full_close(&f);
    close(listening);
    close(closed);
    loop_free(l);
}

static void
cancel_works_in_each_state(void **state)
{
    (void)state;
    cancel_in(CANCEL_AT_ONCE);
    cancel_in(CANCEL_WHILE_WAITING);
    cancel_in(CANCEL_WHEN_CONNECTED);
    cancel_in(CANCEL_FAILED);
}

static void
restart_in_done(struct connect_op *op)
{
    struct connecting *c = container_of(op, struct connecting, op);
    assert_int_equal(op->err.code, ERR_CANCELLED);
    c->op.done = connecting_done;
}

static void
the_operation_is_the_owners_inside_done(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct net_address at;
    int fd = bound_socket(&at);
    struct connecting c = {.op = {.done = restart_in_done}};
    connect_start(&c.op, l, &at, TEST_LIMIT_MS, TEST_INPUT_MAX);
    connect_cancel(&c.op);
    run_turns(l, 3);
    assert_ptr_equal(c.op.done, connecting_done);
    close(fd);
    loop_free(l);
}

/* The last test of this program: the switch cannot be turned back. */
static void
development_mode_stays_on_this_machine(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct net_address outside, at;
    int fd = bound_socket(&at);
    net_only_loopback();
    assert_true(net_address_parse(SLICE("192.0.2.1:25"), &outside));
    struct connecting c;
    connecting_start(&c, l, &outside);
    assert_false(c.done);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_REFUSED);
    connecting_start(&c, l, &at); /* allowed, and nobody there */
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_IO);
    connecting_start(&c, l, &outside);
    connect_cancel(&c.op);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_CANCELLED);
    close(fd);
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_handed_over),
        cmocka_unit_test(unix_sockets_connect),
        cmocka_unit_test(a_refused_connection_says_so),
        cmocka_unit_test(a_silent_host_times_out),
        cmocka_unit_test(cancel_works_in_each_state),
        cmocka_unit_test(the_operation_is_the_owners_inside_done),
        cmocka_unit_test(development_mode_stays_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
