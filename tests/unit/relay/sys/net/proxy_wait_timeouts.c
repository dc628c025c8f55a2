/* Proxies that do not finish their header; time limits are a hundredth. */
#include "tests/unit/relay/sys/net/net_test.h"

static void
on_accept(void *owner, struct stream *s)
{
    (void)owner;
    (void)s;
    fail_msg("accepted without a header");
}

static bool
gone_holds(void *arg)
{
    char byte;
    return recv(*(int *)arg, &byte, 1, MSG_DONTWAIT) == 0;
}

static int
knock(const struct net_address *at, struct slice bytes)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(at->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(send(fd, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
    return fd;
}

static void
a_late_header_is_no_header(void **state)
{
    (void)state;
    struct err err;
    struct net_prefix from;
    struct net_address at = loopback_any_port();
    struct loop *l = loop_new();
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &at, &err), 0);
    struct listener *ln = listener_open(l, fd, TEST_INPUT_MAX, on_accept, NULL, &err);
    assert_non_null(ln);
    assert_true(net_prefix_parse(SLICE("127.0.0.1"), &from));
    listener_trust_proxies(ln, &(struct net_proxies){&from, 1});
    int silent = knock(&at, SLICE_NONE), half = knock(&at, SLICE("PROXY TCP4 192.0.2.7"));
    run_until(l, gone_holds, &silent);
    run_until(l, gone_holds, &half);
    close(silent);
    close(half);
    listener_close(ln);
    loop_free(l);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "100", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_header_is_no_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
