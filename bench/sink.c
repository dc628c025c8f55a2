/*
 * Sink: an SMTP server that takes every message, forgets it, and answers at
 * once. After MESSAGES final dots it prints one JSON object: when the last one
 * came and the latency from the client's final dot (X-Bench-Sent) to ours.
 * Prints its port first.
 *
 * usage: sink MESSAGES
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/latency.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/err.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/loop.h"

enum { INPUT_MAX = 262144 };

struct sink {
    struct loop *loop;
    struct listener *listener;
    unsigned wanted, messages, connections;
    struct latencies latency;
    uint64_t last_us;
};

struct session {
    struct sink *sink;
    struct stream_user user;
    struct stream *stream;
    bool in_data, in_header;
};

static void
reply(struct session *s, const char *text)
{
    stream_send(s->stream, slice_str(text));
}

static void
message_done(struct session *s)
{
    struct sink *k = s->sink;
    s->in_data = false;
    reply(s, "250 2.0.0 taken\r\n");
    k->last_us = clock_mono_us();
    if (++k->messages == k->wanted)
        loop_stop(k->loop);
}

static void
data_line(struct session *s, struct slice line)
{
    struct slice mark = SLICE("X-Bench-Sent: ");
    uint64_t sent;
    if (slice_eq(line, SLICE(".\r")))
        message_done(s);
    else if (line.n == 1)
        s->in_header = false;
    else if (s->in_header && slice_starts(line, mark) &&
             slice_to_u64(slice_trim(slice_skip(line, mark.n)), &sent))
        latencies_add(&s->sink->latency, clock_mono_us() - sent);
}

static void
command(struct session *s, struct slice line)
{
    if (slice_starts_nocase(line, SLICE("EHLO")))
        reply(s, "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n"
                 "250 ENHANCEDSTATUSCODES\r\n");
    else if (slice_starts_nocase(line, SLICE("QUIT")))
        reply(s, "221 2.0.0 bye\r\n");
    else if (slice_starts_nocase(line, SLICE("DATA"))) {
        s->in_data = s->in_header = true;
        reply(s, "354 go on\r\n");
    } else
        reply(s, "250 2.0.0 ok\r\n");
}

static void
on_input(struct stream_user *u)
{
    struct session *s = container_of(u, struct session, user);
    struct slice in = stream_input(s->stream);
    size_t taken = 0;
    for (size_t at; (at = slice_find(in, '\n')) < in.n;) {
        struct slice line = slice_from(in.p, at);
        if (s->in_data)
            data_line(s, line);
        else
            command(s, line);
        in = slice_skip(in, at + 1);
        taken += at + 1;
    }
    stream_consume(s->stream, taken);
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    struct session *s = container_of(u, struct session, user);
    (void)why;
    stream_abort(s->stream);
    free(s);
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct session *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    *s = (struct session){
        .sink = owner, .stream = stream, .user = {.on_input = on_input, .on_end = on_end}};
    s->sink->connections++;
    stream_set_user(stream, &s->user);
    reply(s, "220 sink.example ESMTP\r\n");
}

int
main(int argc, char **argv)
{
    struct err err = {0};
    struct sink k = {.loop = loop_new()};
    struct net_address at;
    uint64_t wanted = 0;
    if (argc != 2 || !slice_to_u64(slice_str(argv[1]), &wanted) || wanted > 100000000)
        return 64;
    k.wanted = (unsigned)wanted;
    latencies_init(&k.latency, k.wanted);
    net_address_from_ip(SLICE("127.0.0.1"), 0, &at);
    int fd = net_listen(&at, false, false, &err);
    if (fd < 0 || net_bound_address(fd, &at, &err) != 0 ||
        (k.listener = listener_open(k.loop, fd, INPUT_MAX, on_accept, &k, &err)) == NULL) {
        fprintf(stderr, "sink: %s\n", err.text);
        return 1;
    }
    printf("%u\n", at.port);
    fflush(stdout);
    loop_run(k.loop);
    printf("{\"messages\":%u,\"connections\":%u,\"last_us\":%" PRIu64 ",\"p50_us\":%" PRIu64
           ",\"p99_us\":%" PRIu64 "}\n",
           k.messages, k.connections, k.last_us, latencies_percentile_us(&k.latency, 50),
           latencies_percentile_us(&k.latency, 99));
    fflush(stdout);
    return 0; /* connections and all: the process ends here */
}
