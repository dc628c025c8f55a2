/*
 * For tests of api/: a blocking HTTP client, and a loop that runs in a thread
 * of its own beside it. Everything that waits fails after CLIENT_LIMIT_S.
 */
#ifndef STAGEPOST_TESTS_HTTP_CLIENT_H
#define STAGEPOST_TESTS_HTTP_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/net/listener.h"

enum { CLIENT_LIMIT_S = 30, CLIENT_BYTES_MAX = 64 << 20 };

struct client {
    int fd;
    struct buf in;
};

struct answer {
    unsigned status;
    struct slice head, body; /* valid until the next read */
};

/* A listening descriptor on a free port of 127.0.0.1. */
static inline int
listen_anywhere(uint16_t *port)
{
    struct net_address at;
    struct err err = {0};
    assert_true(net_address_parse(SLICE("127.0.0.1:0"), &at));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &at, &err), 0);
    *port = at.port;
    return fd;
}

/* On a listening descriptor of a unix socket at `path`. */
static inline int
listen_at(const char *path)
{
    struct net_address at = {.kind = NET_UNIX};
    struct err err = {0};
    assert_true(slice_to_cstr(slice_str(path), at.path, sizeof at.path));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    return fd;
}

static inline struct client
client_connect(int family, const struct sockaddr *to, socklen_t n)
{
    struct client c = {.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct timeval limit = {.tv_sec = CLIENT_LIMIT_S};
    int one = 1;
    assert_true(c.fd >= 0);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not on a unix socket */
    assert_int_equal(connect(c.fd, to, n), 0);
    buf_init(&c.in, CLIENT_BYTES_MAX);
    return c;
}

static inline struct client
client_open(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return client_connect(AF_INET, (struct sockaddr *)&to, sizeof to);
}

static inline struct client
client_open_at(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    assert_true(slice_to_cstr(slice_str(path), to.sun_path, sizeof to.sun_path));
    return client_connect(AF_UNIX, (struct sockaddr *)&to, sizeof to);
}

static inline void
client_close(struct client *c)
{
    close(c->fd);
    buf_fini(&c->in);
}

/* Not an orderly end, after which somebody may still listen, but RST. */
static inline void
client_reset(struct client *c)
{
    struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    client_close(c);
}

static inline void
client_send(struct client *c, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
        assert_true(n > 0);
        s = slice_skip(s, (size_t)n);
    }
}

/* False at the end of the connection (or its reset). */
static inline bool
client_fill(struct client *c)
{
    char *to = buf_reserve(&c->in, 65536);
    assert_non_null(to);
    ssize_t n = recv(c->fd, to, 65536, 0);
    if (n > 0)
        buf_commit(&c->in, (size_t)n);
    return n > 0;
}

static inline bool
client_at_end(struct client *c)
{
    return c->in.len == 0 && !client_fill(c);
}

static inline bool
answer_field(const struct answer *a, const char *name, struct slice *value)
{
    struct slice head = a->head;
    while (head.n > 0) {
        struct slice line = slice_trim(slice_cut_at(&head, '\n'));
        if (slice_eq_nocase(slice_cut_at(&line, ':'), slice_str(name))) {
            *value = slice_trim(line);
            return true;
        }
    }
    return false;
}

static inline bool
answer_has(const struct answer *a, const char *name, const char *wanted)
{
    struct slice value;
    return answer_field(a, name, &value) && slice_eq(value, slice_str(wanted));
}

/* The next answer; `headless` for HEAD and 100. status 0: the connection ended. */
static inline struct answer
client_read(struct client *c, bool headless)
{
    struct answer a = {0};
    size_t end;
    while ((end = slice_find_slice(buf_slice(&c->in), SLICE("\r\n\r\n"))) == c->in.len)
        if (!client_fill(c))
            return a;
    a.head = slice_from(buf_slice(&c->in).p, end + 2);
    uint64_t length = 0;
    struct slice value;
    if (!headless && answer_field(&a, "content-length", &value))
        assert_true(slice_to_u64(value, &length));
    while (c->in.len < end + 4 + length)
        if (!client_fill(c))
            return (struct answer){0};
    struct slice all = buf_slice(&c->in);
    a.head = slice_from(all.p, end + 2);
    a.body = slice_from(all.p + end + 4, length);
    assert_int_equal(sscanf(a.head.p, "HTTP/1.1 %u", &a.status), 1);
    buf_consume(&c->in, end + 4 + length); /* the bytes stay where they are */
    return a;
}

static inline bool
body_has(const struct answer *a, const char *text)
{
    return slice_find_slice(a->body, slice_str(text)) < a->body.n;
}

#endif
