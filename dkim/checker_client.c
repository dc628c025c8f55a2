/*
 * Happy path: a lane connects, READY; CHECK; each ASK becomes a question to the
 * resolver and its answer an ANSWER; VERDICT; the lane's next check.
 * Ways it ends: a connection ends or breaks the protocol: all lanes are given up,
 * their checks go back to the front, and after a rest the client connects again;
 * the limit of a check or its cancelling: its lane is given up with it, as the
 * checker may hang; checker_client_free().
 */
#include "dkim/checker_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct check_lane {
    struct checker_client *client;
    struct connect_op connect;
    struct stream *stream; /* NULL: not connected */
    struct stream_user user;
    bool connecting, ready;
    struct check_op *current;
    uint64_t request;
    struct dns_query query;
    bool asking;         /* the query is under way */
    bool query_is_stale; /* its check is gone */
};

/* A domain whose record ended checkers. */
struct crash {
    char domain[ADDRESS_DOMAIN_MAX + 1];
    unsigned deaths; /* 0: the row is free */
    uint64_t last_ms;
};

struct checker_client {
    struct loop *loop;
    struct resolver *resolver;
    struct net_address address;
    struct check_lane lanes[CHECK_LANES];
    struct crash crashes[CHECK_CRASHED_MAX];
    struct timer rest;
    bool resting, closing;
    struct list waiting; /* those with a death behind them first, each kind in order */
    uint64_t next_order;
    struct deferred end;
};

static void advance(struct checker_client *c);

/* --- domains that end checkers --- */

static struct crash *
crash_find(struct checker_client *c, const char *domain)
{
    for (unsigned i = 0; i < CHECK_CRASHED_MAX; i++)
        if (c->crashes[i].deaths > 0 && strcmp(c->crashes[i].domain, domain) == 0)
            return &c->crashes[i];
    return NULL;
}

static struct crash *
crash_oldest(struct checker_client *c)
{
    struct crash *oldest = &c->crashes[0];
    for (unsigned i = 1; i < CHECK_CRASHED_MAX; i++)
        if (c->crashes[i].last_ms < oldest->last_ms)
            oldest = &c->crashes[i];
    return oldest;
}

static void
crash_note(struct checker_client *c, const char *domain)
{
    struct crash *k = crash_find(c, domain);
    if (k == NULL) {
        k = crash_oldest(c);
        snprintf(k->domain, sizeof k->domain, "%s", domain);
        k->deaths = 0;
    }
    k->deaths++;
    k->last_ms = clock_mono_ms();
    LOG(LOG_WARN, "check.crashed", LF_STR("domain", domain), LF_U("deaths", k->deaths));
}

static bool
crash_is_remembered(struct checker_client *c, const char *domain)
{
    struct crash *k = crash_find(c, domain);
    if (k != NULL && clock_mono_ms() - k->last_ms > CHECK_CRASHED_KEPT_MS)
        *k = (struct crash){.deaths = 0};
    return k != NULL && k->deaths >= CHECK_CRASHES_MAX;
}

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
    if (op->lane != NULL)
        op->lane->current = NULL;
    op->lane = NULL;
    list_remove(&op->node);
    timer_cancel(&op->limit);
    op->state = CHECK_FINISHED;
    deferred_schedule(&op->finish);
}

static void
finish_with(struct check_op *op, enum spf_result result, const char *text)
{
    op->verdict = (struct spf_verdict){.result = result};
    snprintf(op->verdict.text, sizeof op->verdict.text, "%s", text);
    finish(op);
}

static void
finish_temp(struct check_op *op, enum err_code code, const char *text)
{
    err_set(&op->err, code, "%s", text);
    finish_with(op, SPF_TEMPERROR, text);
}

static void
put_back(struct checker_client *c, struct check_op *op)
{
    struct list_node *at = &c->waiting.head;
    LIST_EACH(&c->waiting, node)
    {
        const struct check_op *other = container_of(node, struct check_op, node);
        bool behind =
            (op->deaths > 0) != (other->deaths > 0) ? op->deaths > 0 : op->order < other->order;
        if (behind) {
            at = node;
            break;
        }
    }
    op->lane = NULL;
    op->state = CHECK_WAITING;
    list_insert_before(at, &op->node);
}

/* --- the connections --- */

static void
rest(struct checker_client *c)
{
    c->resting = true;
    timer_start(&c->rest, REST_MS);
}

static void
drop_lane(struct check_lane *lane)
{
    if (lane->stream != NULL)
        stream_abort(lane->stream);
    lane->stream = NULL;
    lane->ready = false;
    lane->current = NULL;
    if (lane->connecting)
        connect_cancel(&lane->connect);
    if (lane->asking && !lane->query_is_stale) {
        lane->query_is_stale = true;
        dns_query_cancel(&lane->query);
    }
}

static bool
is_owed(const struct check_lane *lane)
{
    return lane->current != NULL && !lane->asking;
}

/* The lane's check, when its checker is gone; suspects: checks that it owed. */
static void
lose_check(struct check_lane *lane, unsigned suspects)
{
    struct checker_client *c = lane->client;
    struct check_op *op = lane->current;
    bool suspect = is_owed(lane);
    drop_lane(lane);
    if (op == NULL)
        return;
    op->lane = NULL;
    if (suspect && suspects == 1)
        crash_note(c, op->mail.domain);
    op->deaths += suspect;
    if (op->deaths < DEATHS_MAX)
        put_back(c, op);
    else
        finish_temp(op, ERR_AWAY, "the checker died twice on this check");
}

/* What ends one connection has ended the checker. */
static void
lose(struct checker_client *c, const struct err *why)
{
    unsigned suspects = 0;
    for (unsigned i = 0; i < CHECK_LANES; i++)
        suspects += is_owed(&c->lanes[i]);
    LOG(LOG_WARN, "check.connection-lost", LF_U("in_checks", suspects), LF_ERR(why));
    for (unsigned i = 0; i < CHECK_LANES; i++)
        lose_check(&c->lanes[i], suspects);
    rest(c);
}

static void
open_lane(struct check_lane *lane)
{
    struct checker_client *c = lane->client;
    lane->connecting = true;
    connect_start(&lane->connect, c->loop, &c->address, CONNECT_TIMEOUT_MS, INPUT_BYTES);
}

static void
free_now(struct deferred *d)
{
    struct checker_client *c = container_of(d, struct checker_client, end);
    for (unsigned i = 0; i < CHECK_LANES; i++)
        if (c->lanes[i].connecting || c->lanes[i].asking)
            return;
    free(c);
}

static void
on_connected(struct connect_op *op)
{
    struct check_lane *lane = container_of(op, struct check_lane, connect);
    struct checker_client *c = lane->client;
    lane->connecting = false;
    if (c->closing || c->resting) {
        if (op->stream != NULL)
            stream_abort(op->stream);
        if (c->closing)
            deferred_schedule(&c->end);
    } else if (op->stream == NULL) {
        rest(c);
    } else {
        lane->stream = op->stream;
        stream_set_user(lane->stream, &lane->user);
    }
}

/* --- questions of the checker --- */

static void
send_answer(struct check_lane *lane, const struct dns_query *q)
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
    bool fits = check_add_answer(&frame, lane->request, status, buf_slice(&records));
    BUG_ON(!fits);
    stream_send(lane->stream, buf_slice(&frame));
    buf_fini(&records);
    buf_fini(&frame);
}

static void
on_dns(struct dns_query *q)
{
    struct check_lane *lane = container_of(q, struct check_lane, query);
    struct checker_client *c = lane->client;
    lane->asking = false;
    if (!lane->query_is_stale)
        send_answer(lane, q);
    dns_query_fini(q);
    if (c->closing)
        deferred_schedule(&c->end);
    else if (lane->query_is_stale)
        advance(c);
}

static bool
on_ask(struct check_lane *lane, const struct check_message *m)
{
    if (!is_owed(lane) || m->request != lane->request)
        return false;
    lane->asking = true;
    lane->query_is_stale = false;
    dns_query_start(&lane->query, lane->client->resolver, m->ask_name, m->ask_type,
                    clock_scaled_ms(CHECK_DNS_TIMEOUT_MS), on_dns);
    return true;
}

static bool
on_verdict(struct check_lane *lane, const struct check_message *m)
{
    if (!is_owed(lane) || m->request != lane->request)
        return false;
    lane->current->verdict = m->verdict;
    finish(lane->current);
    advance(lane->client);
    return true;
}

/* false: a breach of the protocol. */
static bool
on_message(struct check_lane *lane, const struct check_message *m)
{
    switch (m->type) {
    case CHECK_FRAME_READY:
        if (lane->ready)
            return false;
        lane->ready = true;
        advance(lane->client);
        return true;
    case CHECK_FRAME_ASK:
        return on_ask(lane, m);
    case CHECK_FRAME_VERDICT:
        return on_verdict(lane, m);
    default:
        return false;
    }
}

static void
on_input(struct stream_user *u)
{
    struct check_lane *lane = container_of(u, struct check_lane, user);
    struct check_message m;
    for (;;) {
        struct slice input = stream_input(lane->stream), rest_of = input;
        enum parse p = check_message_cut(&rest_of, &m);
        if (p == PARSE_MORE)
            return;
        if (p == PARSE_BAD || !on_message(lane, &m)) {
            struct err err;
            err_set(&err, ERR_BAD, "the checker broke the protocol");
            lose(lane->client, &err);
            return;
        }
        stream_consume(lane->stream, input.n - rest_of.n);
    }
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    lose(container_of(u, struct check_lane, user)->client, why);
}

/* --- which check, on which lane --- */

static void
begin(struct check_lane *lane, struct check_op *op)
{
    struct buf b;
    list_remove(&op->node);
    lane->current = op;
    op->lane = lane;
    op->state = CHECK_RUNNING;
    buf_init(&b, CHECK_FRAME_MAX);
    bool fits = check_add_check(&b, ++lane->request, &op->mail);
    BUG_ON(!fits);
    stream_send(lane->stream, buf_slice(&b));
    buf_fini(&b);
}

/* The next check, unless it must wait for others: one with a death behind it runs
 * with no other beside it. */
static struct check_op *
next_check(struct checker_client *c)
{
    struct list_node *first = list_first(&c->waiting);
    if (first == NULL)
        return NULL;
    struct check_op *op = container_of(first, struct check_op, node);
    for (unsigned i = 0; i < CHECK_LANES; i++) {
        const struct check_op *running = c->lanes[i].current;
        if (running != NULL && (op->deaths > 0 || running->deaths > 0))
            return NULL;
    }
    return op;
}

static struct check_lane *
free_lane(struct checker_client *c)
{
    for (unsigned i = 0; i < CHECK_LANES; i++) {
        struct check_lane *lane = &c->lanes[i];
        if (lane->ready && lane->current == NULL && !lane->asking)
            return lane;
    }
    return NULL;
}

/* One at a time: when it is there, the next one is opened if it is still needed. */
static void
open_another(struct checker_client *c)
{
    struct check_lane *closed = NULL;
    for (unsigned i = 0; i < CHECK_LANES; i++) {
        struct check_lane *lane = &c->lanes[i];
        if (lane->connecting || (lane->stream != NULL && !lane->ready))
            return;
        if (lane->stream == NULL && !lane->asking && closed == NULL)
            closed = lane;
    }
    if (closed != NULL && !c->resting)
        open_lane(closed);
}

static void
advance(struct checker_client *c)
{
    struct check_op *op;
    while ((op = next_check(c)) != NULL) {
        struct check_lane *lane = free_lane(c);
        if (lane == NULL) {
            open_another(c);
            return;
        }
        begin(lane, op);
    }
}

static void
on_rested(struct timer *t)
{
    struct checker_client *c = container_of(t, struct checker_client, rest);
    c->resting = false;
    open_another(c);
    advance(c);
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
    for (unsigned i = 0; i < CHECK_LANES; i++) {
        c->lanes[i].client = c;
        c->lanes[i].connect.done = on_connected;
        c->lanes[i].user = (struct stream_user){.on_input = on_input, .on_end = on_end};
    }
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
    BUG_ON(!list_empty(&c->waiting));
    c->closing = true;
    timer_cancel(&c->rest);
    for (unsigned i = 0; i < CHECK_LANES; i++) {
        BUG_ON(c->lanes[i].current != NULL);
        drop_lane(&c->lanes[i]);
    }
    deferred_schedule(&c->end);
}

static void
give_up(struct check_op *op, enum err_code code, const char *text)
{
    struct checker_client *c = op->client;
    if (op->lane != NULL)
        drop_lane(op->lane);
    op->lane = NULL;
    finish_temp(op, code, text);
    if (!c->resting)
        open_another(c);
    advance(c);
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
    op->lane = NULL;
    op->deaths = 0;
    op->order = c->next_order++;
    err_clear(&op->err);
    list_node_init(&op->node);
    timer_init(&op->limit, c->loop, on_limit);
    deferred_init(&op->finish, c->loop, on_finish);
    if (crash_is_remembered(c, op->mail.domain)) {
        finish_with(op, SPF_PERMERROR, "the record has ended the checker again and again");
        return;
    }
    timer_start(&op->limit, clock_scaled_ms(CHECK_WAIT_MS));
    put_back(c, op);
    advance(c);
}

void
check_cancel(struct check_op *op)
{
    if (op->state == CHECK_WAITING || op->state == CHECK_RUNNING)
        give_up(op, ERR_CANCELLED, "cancelled");
}
