/*
 * Happy path: a job waits in line until a signer can take it, is sent, and is
 * answered.
 * Ways it ends: the answer; its signer dies twice; nobody takes it within
 * SIGN_WAIT_MS; sign_cancel().
 */
#include "dkim/signer_client.h"

#include <stdlib.h>

#include "dkim/signer_peer.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/metrics.h"

enum {
    TRIES_MAX = 2,
    WEIGHT_MAX = SIGN_OUTSTANDING_BYTES / 2, /* so that short ones pass beside a long one */
};

struct signer_client {
    struct loop *loop;
    struct list waiting;
    size_t outstanding_bytes; /* weights of the jobs that are with a peer */
    uint64_t last_request;
    unsigned closing; /* peers that signer_client_free() waits for */
    unsigned count;
    struct signer_peer peers[];
};

/* Short ones have no part in the budget: two long ones may have used it up. How
 * many are out is limited by SIGN_JOBS_PER_CONNECTION. */
static size_t
weight(const struct sign_op *op)
{
    if (op->message_bytes <= SIGN_SHORT_BYTES)
        return 0;
    return op->message_bytes < WEIGHT_MAX ? op->message_bytes : WEIGHT_MAX;
}

/* --- giving out jobs --- */

/* The fewest bytes before it; among equals not always the same one. */
static struct signer_peer *
pick_peer(struct signer_client *c, const struct sign_op *op)
{
    struct signer_peer *best = NULL;
    for (unsigned i = 0; i < c->count; i++) {
        struct signer_peer *p = &c->peers[(c->last_request + i) % c->count];
        if (peer_can_take(p, op) && (best == NULL || p->bytes < best->bytes))
            best = p;
    }
    return best;
}

/* False: it has to wait. */
static bool
give_out(struct signer_client *c, struct sign_op *op)
{
    if (c->outstanding_bytes + weight(op) > SIGN_OUTSTANDING_BYTES)
        return false;
    struct signer_peer *p = pick_peer(c, op);
    if (p == NULL)
        return false;
    list_remove(&op->node);
    timer_cancel(&op->wait);
    c->outstanding_bytes += weight(op);
    peer_take(p, op, ++c->last_request);
    return true;
}

/* First come, first served, except that long jobs which have to wait are
 * overtaken by short ones: a password reset does not wait for newsletters with
 * attachments. They take nothing of the budget that a long one waits for. A job
 * that has to travel alone is overtaken by none until a signer is idle. */
static void
dispatch(struct signer_client *c)
{
    bool in_line = true;
    LIST_EACH(&c->waiting, it)
    {
        struct sign_op *op = container_of(it, struct sign_op, node);
        if (!in_line && op->message_bytes > SIGN_SHORT_BYTES)
            continue;
        bool alone = op->tries > 0;
        if (give_out(c, op))
            continue;
        if (alone)
            return;
        in_line = false;
    }
}

static void
finish(struct sign_op *op, enum sign_status status)
{
    timer_cancel(&op->wait);
    op->status = status;
    op->state = SIGN_OP_FINISHED;
    deferred_schedule(&op->finish);
}

static void
on_finish(struct deferred *d)
{
    struct sign_op *op = container_of(d, struct sign_op, finish);
    op->state = SIGN_OP_IDLE;
    op->done(op);
}

static void
on_waited_too_long(struct timer *t)
{
    struct sign_op *op = container_of(t, struct sign_op, wait);
    list_remove(&op->node);
    err_set(&op->err, ERR_AWAY, "no signer took the message in time%s%.180s",
            op->tries > 0 ? "; before: " : "", op->tries > 0 ? op->err.text : "");
    finish(op, SIGN_AWAY);
    dispatch(op->client); /* it may have stood in the way */
}

/* Puts the job in line before `next`. */
static void
wait_before(struct list_node *next, struct sign_op *op)
{
    op->state = SIGN_OP_WAITING;
    op->peer = NULL;
    list_insert_before(next, &op->node);
    timer_start(&op->wait, clock_scaled_ms(SIGN_WAIT_MS));
}

/* --- what a peer reports --- */

void
signer_client_peer_up(struct signer_client *c)
{
    dispatch(c);
}

static void
set_outcome(struct sign_op *op, enum sign_status status, struct slice text)
{
    static const enum err_code codes[] = {
        [SIGN_OK] = ERR_NONE,
        [SIGN_REFUSED] = ERR_REFUSED,
        [SIGN_NO_KEY] = ERR_NOT_FOUND,
        [SIGN_AWAY] = ERR_AWAY,
    };
    if (status == SIGN_OK) {
        bool fits = buf_add(&op->fields, text);
        BUG_ON(!fits);
        err_clear(&op->err);
        metrics_add(METRIC_SIGNED, 1);
        metrics_observe(HISTOGRAM_SIGN, clock_mono_us() - op->started_us);
    } else if (status == SIGN_NO_KEY) {
        err_set(&op->err, codes[status], "no key for %.*s", SLICE_FMT(op->domain));
    } else {
        err_set(&op->err, codes[status], "%.*s", SLICE_FMT(text));
    }
}

void
signer_client_answered(struct signer_client *c, struct sign_op *op, enum sign_status status,
                       struct slice text)
{
    c->outstanding_bytes -= weight(op);
    set_outcome(op, status, text);
    finish(op, status);
    dispatch(c);
}

void
signer_client_lost(struct signer_client *c, struct list *jobs, const struct err *why)
{
    struct list_node *line = c->waiting.head.next;
    LIST_EACH(jobs, it)
    {
        struct sign_op *op = container_of(it, struct sign_op, node);
        list_remove(&op->node);
        c->outstanding_bytes -= weight(op);
        op->peer = NULL;
        op->err = *why;
        if (++op->tries < TRIES_MAX) {
            metrics_add(METRIC_SIGN_RETRIED, 1);
            wait_before(line, op);
            continue;
        }
        err_context(&op->err, "%u signers ended with this message", op->tries);
        op->err.code = ERR_AWAY;
        finish(op, SIGN_AWAY);
    }
    dispatch(c);
}

void
signer_client_peer_closed(struct signer_client *c)
{
    if (--c->closing == 0)
        free(c);
}

/* --- public --- */

struct signer_client *
signer_client_new(struct loop *l, const char *const *socket_paths, unsigned count)
{
    BUG_ON(count == 0 || count > SIGNERS_MAX);
    struct signer_client *c = calloc(1, sizeof *c + count * sizeof c->peers[0]);
    BUG_ON(c == NULL);
    c->loop = l;
    c->count = count;
    list_init(&c->waiting);
    for (unsigned i = 0; i < count; i++)
        peer_init(&c->peers[i], c, l, socket_paths[i]);
    return c;
}

void
signer_client_free(struct signer_client *c)
{
    if (c == NULL)
        return;
    BUG_ON(!list_empty(&c->waiting));
    c->closing = 1;
    for (unsigned i = 0; i < c->count; i++)
        c->closing += !peer_close(&c->peers[i]);
    signer_client_peer_closed(c);
}

unsigned
signer_client_connected(const struct signer_client *c)
{
    unsigned up = 0;
    for (unsigned i = 0; i < c->count; i++)
        up += peer_up(&c->peers[i]);
    return up;
}

static bool
op_possible(struct sign_op *op)
{
    if (op->domain.n == 0 || op->domain.n > ADDRESS_DOMAIN_MAX)
        err_set(&op->err, ERR_REFUSED, "not a domain that can sign");
    else if (op->message_bytes == 0 || op->message_bytes > MESSAGE_BYTES_MAX)
        err_set(&op->err, ERR_REFUSED, "message of %zu bytes", op->message_bytes);
    return op->err.code == ERR_NONE;
}

void
sign_start(struct sign_op *op, struct signer_client *c)
{
    op->client = c;
    op->started_us = clock_mono_us();
    op->message_bytes = content_bytes(op->message);
    op->tries = 0;
    buf_init(&op->fields, SIGN_FIELDS_BYTES_MAX);
    err_clear(&op->err);
    list_node_init(&op->node);
    timer_init(&op->wait, c->loop, on_waited_too_long);
    deferred_init(&op->finish, c->loop, on_finish);
    if (!op_possible(op)) {
        finish(op, SIGN_REFUSED);
        return;
    }
    wait_before(&c->waiting.head, op);
    dispatch(c);
}

void
sign_cancel(struct sign_op *op)
{
    struct signer_client *c = op->client;
    if (op->state == SIGN_OP_IDLE || op->state == SIGN_OP_FINISHED)
        return;
    if (op->peer != NULL) {
        peer_drop(op->peer, op);
        c->outstanding_bytes -= weight(op);
    } else {
        list_remove(&op->node);
    }
    err_set(&op->err, ERR_CANCELLED, "cancelled");
    finish(op, SIGN_AWAY);
    dispatch(c);
}
