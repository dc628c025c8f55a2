/* A listener that trusts proxies on loopback. */
#include "tests/unit/relay/sys/net/net_test.h"

#include <netinet/tcp.h>

#include "relay/sys/base/limits.h"

struct door {
    struct loop *loop;
    struct listener *listener;
    struct net_address at;
    struct recorder recorder; /* of the last connection */
    struct stream *stream;
    unsigned accepted;
    bool close_inside;
};

static void
on_accept(void *owner, struct stream *s)
{
    struct door *d = owner;
    d->accepted++;
    if (d->stream != NULL)
        stream_abort(d->stream);
    recorder_fini(&d->recorder);
    d->stream = s;
    recorder_init(&d->recorder, s);
    if (d->close_inside) {
        listener_close(d->listener);
        d->listener = NULL;
    }
}

static void
door_open(struct door *d, const char *proxies)
{
    struct err err;
    struct net_prefix from;
    struct net_address at = loopback_any_port();
    *d = (struct door){.loop = loop_new()};
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &d->at, &err), 0);
    d->listener = listener_open(d->loop, fd, TEST_INPUT_MAX, on_accept, d, &err);
    assert_non_null(d->listener);
    assert_true(net_prefix_parse(slice_str(proxies), &from));
    listener_trust_proxies(d->listener, &(struct net_proxies){&from, 1});
    memset(&from, 0, sizeof from); /* it was copied */
}

static void
door_close(struct door *d)
{
    if (d->stream != NULL)
        stream_abort(d->stream);
    recorder_fini(&d->recorder);
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

static void
say(int fd, struct slice bytes)
{
    assert_int_equal(send(fd, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
}

static bool
accepted_holds(void *arg)
{
    return ((struct door *)arg)->stream != NULL;
}

static void
expect_peer(struct door *d, const char *peer, struct slice input)
{
    char text[64];
    run_until(d->loop, accepted_holds, d);
    net_address_format_ip(stream_peer(d->stream), text);
    assert_string_equal(text, peer);
    expect_bytes(d->loop, &d->recorder, input);
}

struct gone {
    int fd;
};

static bool
gone_holds(void *arg)
{
    char byte;
    ssize_t n = recv(((struct gone *)arg)->fd, &byte, 1, MSG_DONTWAIT);
    assert_true(n <= 0);
    return n == 0 || errno != EAGAIN;
}

static void
expect_gone(struct door *d, int fd)
{
    run_until(d->loop, gone_holds, &(struct gone){fd});
    assert_int_equal(d->accepted, 0);
    close(fd);
}

static const struct {
    struct slice header;
    const char *peer;
} HEADERS[] = {
    {SLICE("PROXY TCP4 192.0.2.7 10.0.0.1 4242 587\r\n"), "192.0.2.7"},
    {SLICE("PROXY UNKNOWN\r\n"), "127.0.0.1"},
    {SLICE("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x10\x92\x02\x4b"),
     "192.0.2.7"},
    {SLICE("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), "127.0.0.1"},
};

/* What follows the header in the same segment is the client's, whole. */
static void
the_client_is_the_one_that_the_proxy_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(HEADERS); i++) {
        struct door d;
        struct buf b;
        door_open(&d, "127.0.0.0/8");
        int fd = knock(&d);
        buf_init(&b, PROXY_HEADER_MAX);
        buf_add(&b, HEADERS[i].header);
        buf_add_str(&b, "EHLO x\r\n");
        say(fd, buf_slice(&b));
        expect_peer(&d, HEADERS[i].peer, SLICE("EHLO x\r\n"));
        buf_fini(&b);
        close(fd);
        door_close(&d);
    }
}

static void
headers_come_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(HEADERS); i++) {
        struct door d;
        door_open(&d, "127.0.0.1");
        int fd = knock(&d), on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        for (size_t k = 0; k < HEADERS[i].header.n; k++) {
            assert_int_equal(d.accepted, 0);
            say(fd, slice_from(HEADERS[i].header.p + k, 1));
            run_turns(d.loop, 1);
        }
        say(fd, SLICE("x"));
        expect_peer(&d, HEADERS[i].peer, SLICE("x"));
        close(fd);
        door_close(&d);
    }
}

/* A TLS handshake right behind the header finds all its octets. */
static void
tls_may_follow_at_once(void **state)
{
    (void)state;
    struct door d;
    door_open(&d, "127.0.0.1");
    int fd = knock(&d);
    say(fd, SLICE("PROXY TCP4 192.0.2.7 10.0.0.1 4242 465\r\n\x16\x03\x01"));
    run_until(d.loop, accepted_holds, &d);
    assert_int_equal(stream_input(d.stream).n, 0); /* still in the socket */
    expect_bytes(d.loop, &d.recorder, SLICE("\x16\x03\x01"));
    close(fd);
    door_close(&d);
}

static void
no_header_no_connection(void **state)
{
    (void)state;
    static const struct slice WRONG[] = {
        SLICE("EHLO x\r\n"),
        SLICE("PROXY TCP4 192.0.2.7 10.0.0.1 4242\r\n"),
        SLICE("\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"),
    };
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        struct door d;
        door_open(&d, "127.0.0.1");
        int fd = knock(&d);
        say(fd, WRONG[i]);
        expect_gone(&d, fd);
        door_close(&d);
    }
}

static void
proxies_that_leave(void **state)
{
    (void)state;
    struct door d;
    door_open(&d, "127.0.0.1");
    int silent = knock(&d), cut = knock(&d);
    say(cut, SLICE("PROXY TCP4"));
    shutdown(silent, SHUT_WR);
    shutdown(cut, SHUT_WR);
    expect_gone(&d, silent);
    expect_gone(&d, cut);
    door_close(&d);
}

/* From anybody else the header is the client's own text. */
static void
others_are_not_believed(void **state)
{
    (void)state;
    struct door d;
    door_open(&d, "10.0.0.0/8");
    int fd = knock(&d);
    say(fd, SLICE("PROXY UNKNOWN\r\n"));
    expect_peer(&d, "127.0.0.1", SLICE("PROXY UNKNOWN\r\n"));
    close(fd);
    door_close(&d);
}

static void
closing_ends_those_that_wait(void **state)
{
    (void)state;
    struct door d;
    door_open(&d, "127.0.0.1");
    int waiting = knock(&d);
    say(waiting, SLICE("PROXY"));
    run_turns(d.loop, 3);
    listener_close(d.listener);
    d.listener = NULL;
    expect_gone(&d, waiting);
    door_close(&d);
}

static void
a_listener_may_close_when_a_header_came(void **state)
{
    (void)state;
    struct door d;
    door_open(&d, "127.0.0.1");
    d.close_inside = true;
    int waiting = knock(&d);
    say(waiting, SLICE("PROXY"));
    run_turns(d.loop, 3);
    int fd = knock(&d);
    say(fd, SLICE("PROXY UNKNOWN\r\nx"));
    expect_peer(&d, "127.0.0.1", SLICE("x"));
    run_until(d.loop, gone_holds, &(struct gone){waiting});
    close(waiting);
    close(fd);
    door_close(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_is_the_one_that_the_proxy_names),
        cmocka_unit_test(headers_come_in_pieces),
        cmocka_unit_test(tls_may_follow_at_once),
        cmocka_unit_test(no_header_no_connection),
        cmocka_unit_test(proxies_that_leave),
        cmocka_unit_test(others_are_not_believed),
        cmocka_unit_test(closing_ends_those_that_wait),
        cmocka_unit_test(a_listener_may_close_when_a_header_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
