/*
 * Happy path: connect, READY; CHECK; each ASK becomes a question to the
 * resolver and its answer an ANSWER; VERDICT; the next check.
 * Ways it ends: the connection ends or breaks the protocol: the check goes back
 * to the front once, and after a rest the client connects again; the limit of
 * the check or its cancelling: the connection is given up with it, as the
 * checker may hang; checker_client_free().
 */
#include "dkim/checker_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "dkim/check_protocol.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/stream.h"

enum {
    CONNECT_TIMEOUT_MS = 5000, /* a unix socket: only a full backlog takes time */
    REST_MS = 50,
    INPUT_BYTES = 8192, /* frames of the checker are below 1 KB */
    DEATHS_MAX = 2,
};

struct checker_client {
    struct loop *loop;
    struct resolver *resolver;
    struct net_address address;
    struct connect_op connect;
    struct stream *stream; /* NULL: connecting or resting */
    struct stream_user user;
    struct timer rest;
    bool connecting, ready, closing;
    struct list waiting;
    struct check_op *current;
    uint64_t request;
    struct dns_query query;
    bool asking;         /* the query is under way */
    bool query_is_stale; /* its check is gone */
    struct deferred end;
};

static void advance(struct checker_client *c);

/* --- checks --- */

static void
on_finish(struct deferred *d)
{
    struct check_op *op = container_of(d, struct check_op, finish);
    op->state = CHECK_IDLE;
    op->done(op);
}

static void
finish(struct check_op *op)
{
    struct checker_client *c = op->client;
    if (c->current == op)
        c->current = NULL;
    list_remove(&op->node);
    timer_cancel(&op->limit);
    op->state = CHECK_FINISHED;
    deferred_schedule(&op->finish);
}

static void
finish_temp(struct check_op *op, enum err_code code, const char *text)
{
    err_set(&op->err, code, "%s", text);
    op->verdict = (struct spf_verdict){.result = SPF_TEMPERROR};
    snprintf(op->verdict.text, sizeof op->verdict.text, "%s", text);
    finish(op);
}

/* --- the connection --- */

static void
reconnect_later(struct checker_client *c)
{
    c->ready = false;
    timer_start(&c->rest, REST_MS);
}

static void
drop_stream(struct checker_client *c)
{
    stream_abort(c->stream);
    c->stream = NULL;
    if (c->asking) {
        c->query_is_stale = true;
        dns_query_cancel(&c->query);
    }
    if (!c->closing)
        reconnect_later(c);
}

static void
lose(struct checker_client *c, const struct err *why)
{
    struct check_op *op = c->current;
    LOG(LOG_WARN, "check.connection-lost", LF_B("in_check", op != NULL), LF_ERR(why));
    drop_stream(c);
    if (op == NULL)
        return;
    c->current = NULL;
    if (++op->deaths == DEATHS_MAX) {
        finish_temp(op, ERR_AWAY, "the checker died twice on this check");
        return;
    }
    op->state = CHECK_WAITING;
    list_push_front(&c->waiting, &op->node);
}

static void
on_rested(struct timer *t)
{
    struct checker_client *c = container_of(t, struct checker_client, rest);
    c->connecting = true;
    connect_start(&c->connect, c->loop, &c->address, CONNECT_TIMEOUT_MS, INPUT_BYTES);
}

static void
free_now(struct deferred *d)
{
    struct checker_client *c = container_of(d, struct checker_client, end);
    if (!c->connecting && !c->asking)
        free(c);
}

static void
on_connected(struct connect_op *op)
{
    struct checker_client *c = container_of(op, struct checker_client, connect);
    c->connecting = false;
    if (c->closing) {
        if (op->stream != NULL)
            stream_abort(op->stream);
        deferred_schedule(&c->end);
        return;
    }
    if (op->stream == NULL) {
        reconnect_later(c);
        return;
    }
    c->stream = op->stream;
    stream_set_user(c->stream, &c->user);
}

/* --- questions of the checker --- */

static void
send_answer(struct checker_client *c, const struct dns_query *q)
{
    struct buf records, frame;
    buf_init(&records, CHECK_FRAME_MAX - 2 * FRAME_HEADER_BYTES);
    buf_init(&frame, CHECK_FRAME_MAX);
    enum dns_status status = q->status;
    for (unsigned i = 0; status == DNS_OK && i < q->count; i++)
        if (!frame_add_bytes(&records, q->records[i])) {
            status = DNS_TEMP; /* no honest answer is as long */
            buf_clear(&records);
        }
    bool fits = check_add_answer(&frame, c->request, status, buf_slice(&records));
    BUG_ON(!fits);
    stream_send(c->stream, buf_slice(&frame));
    buf_fini(&records);
    buf_fini(&frame);
}

static void
on_dns(struct dns_query *q)
{
    struct checker_client *c = container_of(q, struct checker_client, query);
    c->asking = false;
    if (!c->query_is_stale)
        send_answer(c, q);
    dns_query_fini(q);
    if (c->closing)
        deferred_schedule(&c->end);
    else if (c->query_is_stale)
        advance(c);
}

static bool
on_ask(struct checker_client *c, const struct check_message *m)
{
    if (c->current == NULL || c->asking || m->request != c->request)
        return false;
    c->asking = true;
    c->query_is_stale = false;
    dns_query_start(&c->query, c->resolver, m->ask_name, m->ask_type,
                    clock_scaled_ms(CHECK_DNS_TIMEOUT_MS), on_dns);
    return true;
}

static bool
on_verdict(struct checker_client *c, const struct check_message *m)
{
    if (c->current == NULL || c->asking || m->request != c->request)
        return false;
    c->current->verdict = m->verdict;
    finish(c->current);
    advance(c);
    return true;
}

/* false: a breach of the protocol. */
static bool
on_message(struct checker_client *c, const struct check_message *m)
{
    switch (m->type) {
    case CHECK_FRAME_READY:
        if (c->ready)
            return false;
        c->ready = true;
        advance(c);
        return true;
    case CHECK_FRAME_ASK:
        return on_ask(c, m);
    case CHECK_FRAME_VERDICT:
        return on_verdict(c, m);
    default:
        return false;
    }
}

static void
on_input(struct stream_user *u)
{
    struct checker_client *c = container_of(u, struct checker_client, user);
    struct check_message m;
    for (;;) {
        struct slice input = stream_input(c->stream), rest = input;
        enum parse p = check_message_cut(&rest, &m);
        if (p == PARSE_MORE)
            return;
        if (p == PARSE_BAD || !on_message(c, &m)) {
            struct err err;
            err_set(&err, ERR_BAD, "the checker broke the protocol");
            lose(c, &err);
            return;
        }
        stream_consume(c->stream, input.n - rest.n);
    }
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    lose(container_of(u, struct checker_client, user), why);
}

/* Gives the next check to the checker when it can take one. */
static void
advance(struct checker_client *c)
{
    struct buf b;
    struct list_node *n;
    if (!c->ready || c->current != NULL || c->asking || (n = list_pop(&c->waiting)) == NULL)
        return;
    struct check_op *op = container_of(n, struct check_op, node);
    c->current = op;
    op->state = CHECK_RUNNING;
    buf_init(&b, CHECK_FRAME_MAX);
    bool fits = check_add_check(&b, ++c->request, &op->mail);
    BUG_ON(!fits);
    stream_send(c->stream, buf_slice(&b));
    buf_fini(&b);
}

/* --- the interface --- */

struct checker_client *
checker_client_new(struct loop *l, struct resolver *r, const char *socket_path)
{
    struct checker_client *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->loop = l;
    c->resolver = r;
    c->address.kind = NET_UNIX;
    snprintf(c->address.path, sizeof c->address.path, "%s", socket_path);
    c->connect.done = on_connected;
    c->user = (struct stream_user){.on_input = on_input, .on_end = on_end};
    list_init(&c->waiting);
    timer_init(&c->rest, l, on_rested);
    deferred_init(&c->end, l, free_now);
    on_rested(&c->rest);
    return c;
}

void
checker_client_free(struct checker_client *c)
{
    if (c == NULL)
        return;
    BUG_ON(c->current != NULL || !list_empty(&c->waiting));
    c->closing = true;
    timer_cancel(&c->rest);
    if (c->connecting)
        connect_cancel(&c->connect);
    if (c->stream != NULL)
        drop_stream(c);
    deferred_schedule(&c->end);
}

static void
give_up(struct check_op *op, enum err_code code, const char *text)
{
    struct checker_client *c = op->client;
    if (op->state == CHECK_RUNNING)
        drop_stream(c);
    finish_temp(op, code, text);
}

static void
on_limit(struct timer *t)
{
    struct check_op *op = container_of(t, struct check_op, limit);
    give_up(op, ERR_TIMEOUT, "the check took too long");
}

void
check_start(struct check_op *op, struct checker_client *c)
{
    BUG_ON(op->state != CHECK_IDLE);
    op->client = c;
    op->state = CHECK_WAITING;
    op->deaths = 0;
    err_clear(&op->err);
    list_node_init(&op->node);
    timer_init(&op->limit, c->loop, on_limit);
    deferred_init(&op->finish, c->loop, on_finish);
    timer_start(&op->limit, clock_scaled_ms(CHECK_WAIT_MS));
    list_push(&c->waiting, &op->node);
    advance(c);
}

void
check_cancel(struct check_op *op)
{
    if (op->state == CHECK_WAITING || op->state == CHECK_RUNNING)
        give_up(op, ERR_CANCELLED, "cancelled");
}
