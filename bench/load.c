/*
 * Load generator: SESSIONS persistent, authenticated SMTP sessions over TLS
 * (implicit), each sending one message after the other, until MESSAGES are
 * accepted. Prints one JSON object: rate of the 250 and its latency from the
 * final dot. Each message carries the time of its final dot for the sink.
 *
 * usage: load ADDR:PORT CA-FILE SESSIONS MESSAGES BYTES
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/latency.h"
#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/net/tls.h"

enum { INPUT_MAX = 16384, CONNECT_MS = 30000, LINE_WIDTH = 76 };

struct load;

struct session {
    struct load *load;
    struct stream_user user;
    struct connect_op connect;
    struct tls_op tls;
    struct stream *stream;
    /* Replies still to come before the next step. */
    enum { GREETING, EHLO, AUTH, ENVELOPE, FINAL_REPLY } step;
    unsigned replies_due;
    uint64_t dot_us;
};

struct load {
    struct loop *loop;
    struct tls_context *tls;
    struct net_address to;
    struct buf body;
    unsigned sessions, messages, started, accepted, refused;
    struct latencies latency;
    uint64_t start_us, end_us;
    struct session *all;
};

static void
fail(const char *what, struct slice detail)
{
    fprintf(stderr, "load: %s: %.*s\n", what, SLICE_FMT(detail));
    exit(1);
}

static void
send_str(struct session *s, const char *text)
{
    stream_send(s->stream, slice_str(text));
}

static void
next_message(struct session *s)
{
    struct load *l = s->load;
    if (l->started == l->messages)
        return;
    char mail[200];
    snprintf(mail, sizeof mail,
             "MAIL FROM:<bench@example.com>\r\nRCPT TO:<r%u@d%u.example>\r\nDATA\r\n", l->started,
             l->started % 10);
    l->started++;
    s->step = ENVELOPE;
    s->replies_due = 3;
    send_str(s, mail);
}

static void
send_body(struct session *s)
{
    char head[256];
    s->dot_us = clock_mono_us();
    snprintf(head, sizeof head,
             "From: bench@example.com\r\nTo: someone@example.net\r\nSubject: bench\r\n"
             "X-Bench-Sent: %" PRIu64 "\r\n\r\n",
             s->dot_us);
    send_str(s, head);
    stream_send(s->stream, buf_slice(&s->load->body));
    send_str(s, ".\r\n");
    s->step = FINAL_REPLY;
    s->replies_due = 1;
}

static void
final_reply(struct session *s, struct slice line)
{
    struct load *l = s->load;
    if (line.p[0] == '2') {
        latencies_add(&l->latency, clock_mono_us() - s->dot_us);
        l->accepted++;
    } else {
        l->refused++;
        fprintf(stderr, "load: %.*s\n", SLICE_FMT(line));
    }
    if (l->accepted + l->refused == l->messages) {
        l->end_us = clock_mono_us();
        loop_stop(l->loop);
    }
    next_message(s);
}

static void
send_auth(struct session *s)
{
    struct buf b;
    buf_init(&b, 256);
    buf_add_str(&b, "AUTH PLAIN ");
    base64_encode(SLICE("\0dev\0dev"), &b);
    buf_add_str(&b, "\r\n");
    stream_send(s->stream, buf_slice(&b));
    buf_fini(&b);
}

static void
step_done(struct session *s, struct slice line)
{
    s->replies_due = 1;
    switch (s->step) {
    case GREETING:
        s->step = EHLO;
        send_str(s, "EHLO bench.example\r\n");
        break;
    case EHLO:
        s->step = AUTH;
        send_auth(s);
        break;
    case AUTH:
        next_message(s);
        break;
    case ENVELOPE:
        send_body(s);
        break;
    case FINAL_REPLY:
        final_reply(s, line);
        break;
    }
}

static void
on_input(struct stream_user *u)
{
    struct session *s = container_of(u, struct session, user);
    struct slice in = stream_input(s->stream);
    size_t at = slice_find(in, '\n');
    while (at < in.n) {
        char text[1024];
        slice_to_cstr(slice_trim(slice_from(in.p, at < 1000 ? at : 1000)), text, sizeof text);
        stream_consume(s->stream, at + 1);
        if (s->step != FINAL_REPLY && text[0] >= '4')
            fail("refused", slice_str(text));
        if (strlen(text) < 4 || text[3] != '-') { /* the last line of a reply */
            BUG_ON(s->replies_due == 0);
            if (--s->replies_due == 0)
                step_done(s, slice_str(text));
        }
        in = stream_input(s->stream);
        at = slice_find(in, '\n');
    }
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    (void)u;
    fail("connection lost", slice_str(why->text));
}

static void
tls_done(struct tls_op *op)
{
    if (op->err.code != ERR_NONE)
        fail("TLS", slice_str(op->err.text));
}

static void
connected(struct connect_op *op)
{
    struct session *s = container_of(op, struct session, connect);
    if (op->stream == NULL)
        fail("connect", slice_str(op->err.text));
    s->stream = op->stream;
    stream_set_user(s->stream, &s->user);
    stream_start_tls(s->stream, &s->tls, s->load->tls, SLICE("localhost"), CONNECT_MS, tls_done);
}

static void
open_sessions(struct load *l)
{
    l->all = calloc(l->sessions, sizeof *l->all);
    BUG_ON(l->all == NULL);
    for (unsigned i = 0; i < l->sessions; i++) {
        struct session *s = &l->all[i];
        *s = (struct session){.load = l,
                              .user = {.on_input = on_input, .on_end = on_end},
                              .connect = {.done = connected},
                              .replies_due = 1};
        connect_start(&s->connect, l->loop, &l->to, CONNECT_MS, INPUT_MAX);
    }
}

static unsigned
number(const char *text)
{
    uint64_t n;
    if (!slice_to_u64(slice_str(text), &n) || n == 0 || n > 100000000)
        fail("not a number", slice_str(text));
    return (unsigned)n;
}

/* Lines of words that differ, so that compression has real work. */
static void
make_body(struct buf *b, unsigned bytes)
{
    uint64_t seed = 0x9e3779b97f4a7c15u;
    buf_init(b, bytes + 256u);
    while (b->len < bytes) {
        char word[32];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int n = snprintf(word, sizeof word, "%" PRIx64 " ", seed >> (seed >> 58));
        buf_add(b, slice_from(word, (size_t)n));
        if (b->len % LINE_WIDTH < (size_t)n)
            buf_add_str(b, "\r\n");
    }
    buf_add_str(b, "\r\n");
}

static void
report(struct load *l)
{
    double seconds = (double)(l->end_us - l->start_us) / 1e6;
    printf("{\"accepted\":%u,\"refused\":%u,\"seconds\":%.3f,\"rate\":%.1f,"
           "\"start_us\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 "}\n",
           l->accepted, l->refused, seconds, l->accepted / seconds, l->start_us,
           latencies_percentile_us(&l->latency, 50), latencies_percentile_us(&l->latency, 99));
}

int
main(int argc, char **argv)
{
    struct err err = {0};
    struct load l = {.loop = loop_new()};
    if (argc != 6 || !net_address_parse(slice_str(argv[1]), &l.to))
        fail("usage", SLICE("load ADDR:PORT CA-FILE SESSIONS MESSAGES BYTES"));
    l.tls = tls_client_verifying_new(argv[2], &err);
    if (l.tls == NULL)
        fail("CA", slice_str(err.text));
    l.sessions = number(argv[3]);
    l.messages = number(argv[4]);
    make_body(&l.body, number(argv[5]));
    latencies_init(&l.latency, l.messages);
    l.start_us = clock_mono_us();
    open_sessions(&l);
    loop_run(l.loop);
    report(&l);
    for (unsigned i = 0; i < l.sessions; i++)
        stream_abort(l.all[i].stream);
    free(l.all);
    tls_context_free(l.tls);
    buf_fini(&l.body);
    latencies_fini(&l.latency);
    loop_free(l.loop);
    return l.refused == 0 ? 0 : 1;
}
