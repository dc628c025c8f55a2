/*
 * Happy path: a datagram is answered in the turn that reads it. A TCP client
 * sends any number of length-prefixed queries, each answered in order.
 * Ways a TCP session ends: the client's end, silence, a length that no query
 * has, bytes that are no query.
 */
#include "relay/sandbox/dns.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sandbox/dns_packet.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/dns_wire.h"
#include "relay/sys/net/fd_watch.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/stream.h"

enum {
    DATAGRAMS_PER_TURN = 64,
    QUERY_MAX = 4096, /* one question and OPT; padding may be long */
    TCP_PREFIX_BYTES = 2,
    TCP_INPUT_MAX = TCP_PREFIX_BYTES + QUERY_MAX,
};

struct sandbox_dns {
    struct loop *loop;
    int udp_fd;
    struct fd_watch *udp;
    struct listener *tcp;
    struct list sessions;
    unsigned session_count;
    const struct sandbox_dkim *dkim;
    size_t dkim_count;
    struct buf response;
};

struct session {
    struct sandbox_dns *dns;
    struct stream *stream;
    struct stream_user user;
    struct timer idle;
    struct list_node node;
};

/* ---- UDP ---- */

static bool
respond(struct sandbox_dns *d, struct slice query, enum dns_transport transport)
{
    buf_clear(&d->response);
    return dns_respond(query, transport, d->dkim, d->dkim_count, &d->response);
}

/* A response that cannot be sent at once is dropped: the client asks again. */
static void
on_datagrams(void *owner, int fd)
{
    struct sandbox_dns *d = owner;
    char query[QUERY_MAX];
    struct sockaddr_storage from;
    for (int i = 0; i < DATAGRAMS_PER_TURN; i++) {
        socklen_t from_bytes = sizeof(from);
        ssize_t n =
            recvfrom(fd, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_bytes);
        if (n < 0)
            return;
        if (!respond(d, slice_from(query, (size_t)n), DNS_OVER_UDP))
            continue;
        struct slice out = buf_slice(&d->response);
        (void)sendto(fd, out.p, out.n, MSG_DONTWAIT, (struct sockaddr *)&from, from_bytes);
    }
}

/* ---- TCP ---- */

static void
session_end(struct session *s)
{
    timer_cancel(&s->idle);
    list_remove(&s->node);
    s->dns->session_count--;
    stream_close(s->stream);
    free(s);
}

/* One query, when it is there whole. PARSE_BAD: end the session. */
static enum parse
session_answer_one(struct session *s)
{
    struct slice in = stream_input(s->stream);
    uint16_t bytes;
    if (!dns_cut_u16(&in, &bytes))
        return PARSE_MORE;
    if (bytes > QUERY_MAX)
        return PARSE_BAD;
    if (in.n < bytes)
        return PARSE_MORE;
    if (!respond(s->dns, slice_from(in.p, bytes), DNS_OVER_TCP))
        return PARSE_BAD;
    struct slice out = buf_slice(&s->dns->response);
    char prefix[TCP_PREFIX_BYTES] = {(char)(out.n >> 8), (char)(out.n & 0xff)};
    stream_send(s->stream, slice_from(prefix, sizeof(prefix)));
    stream_send(s->stream, out);
    stream_consume(s->stream, TCP_PREFIX_BYTES + (size_t)bytes);
    return PARSE_OK;
}

static void
session_go_on(struct session *s)
{
    enum parse p = PARSE_OK;
    while (p == PARSE_OK && stream_unsent_bytes(s->stream) < stream_output_high_water())
        p = session_answer_one(s);
    if (p == PARSE_BAD)
        session_end(s);
    else
        timer_start(&s->idle, clock_scaled_ms(SANDBOX_DNS_TCP_IDLE_MS));
}

static void
on_input(struct stream_user *u)
{
    session_go_on(container_of(u, struct session, user));
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    (void)why;
    session_end(container_of(u, struct session, user));
}

static void
on_idle(struct timer *t)
{
    session_end(container_of(t, struct session, idle));
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct sandbox_dns *d = owner;
    if (d->session_count >= SANDBOX_DNS_TCP_MAX) {
        stream_abort(stream);
        return;
    }
    struct session *s = calloc(1, sizeof(*s));
    BUG_ON(s == NULL);
    s->dns = d;
    s->stream = stream;
    s->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_input};
    list_node_init(&s->node);
    list_push(&d->sessions, &s->node);
    d->session_count++;
    timer_init(&s->idle, d->loop, on_idle);
    timer_start(&s->idle, clock_scaled_ms(SANDBOX_DNS_TCP_IDLE_MS));
    stream_set_user(stream, &s->user);
}

/* ---- opening ---- */

struct sandbox_dns *
sandbox_dns_open(struct loop *l, int udp_fd, int tcp_fd, const struct sandbox_dkim *dkim,
                 size_t dkim_count, struct err *err)
{
    struct sandbox_dns *d = calloc(1, sizeof(*d));
    BUG_ON(d == NULL);
    d->loop = l;
    d->udp_fd = udp_fd;
    d->dkim = dkim;
    d->dkim_count = dkim_count;
    list_init(&d->sessions);
    buf_init(&d->response, DNS_RESPONSE_MAX);
    d->tcp = listener_open(l, tcp_fd, TCP_INPUT_MAX, on_accept, d, err);
    if (d->tcp != NULL)
        d->udp = fd_watch_open(l, udp_fd, on_datagrams, d, err);
    if (d->udp == NULL) {
        sandbox_dns_close(d);
        err_context(err, "sandbox DNS");
        return NULL;
    }
    return d;
}

void
sandbox_dns_close(struct sandbox_dns *d)
{
    if (d == NULL)
        return;
    listener_close(d->tcp);
    fd_watch_close(d->udp);
    close(d->udp_fd);
    LIST_EACH(&d->sessions, node)
    session_end(container_of(node, struct session, node));
    buf_fini(&d->response);
    free(d);
}
