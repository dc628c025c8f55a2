/*
 * Connecting.
 *
 * Happy path: connect_start(); libuv connects; done with a stream.
 *
 * Ways it ends: the address is forbidden (ERR_REFUSED) or the attempt fails at
 * once or later (ERR_IO); the deadline (ERR_TIMEOUT); connect_cancel(). The
 * state outlives the operation until libuv has given its request back.
 */
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/address_internal.h"
#include "relay/sys/net/stream_internal.h"

struct connect_state {
    struct connect_op *op; /* NULL: it was told already */
    struct stream *stream;
    struct err err;
    uv_connect_t req;
    bool with_libuv; /* on_connected() is still to come */
    struct timer timer;
    struct deferred finish;
};

static void
finish(struct connect_state *st)
{
    struct connect_op *op = st->op;
    timer_cancel(&st->timer);
    deferred_cancel(&st->finish);
    st->op = NULL;
    op->state = NULL;
    op->err = st->err;
    if (st->err.code == ERR_NONE)
        op->stream = st->stream;
    else if (st->stream != NULL)
        stream_abort(st->stream);
    if (!st->with_libuv)
        free(st);
    op->done(op);
}

static void
describe(struct connect_state *st, int status)
{
    char to[160], what[sizeof to + 16];
    net_address_format(stream_peer(st->stream), to);
    snprintf(what, sizeof what, "connect to %s", to);
    net_err_uv(&st->err, what, status);
}

static void
on_connected(uv_connect_t *req, int status)
{
    struct connect_state *st = container_of(req, struct connect_state, req);
    st->with_libuv = false;
    if (st->op == NULL) {
        free(st);
        return;
    }
    if (status < 0 && st->err.code == ERR_NONE)
        describe(st, status);
    if (st->err.code == ERR_NONE)
        stream_set_nodelay(st->stream);
    finish(st);
}

static void
on_timeout(struct timer *t)
{
    struct connect_state *st = container_of(t, struct connect_state, timer);
    describe(st, UV_ETIMEDOUT);
    finish(st);
}

static void
on_finish(struct deferred *d)
{
    finish(container_of(d, struct connect_state, finish));
}

static void
begin(struct connect_state *st, struct loop *l, const struct net_address *to, size_t input_max)
{
    char text[160];
    if (!net_may_connect(to)) {
        net_address_format(to, text);
        err_set(&st->err, ERR_REFUSED, "connect to %s: only loopback is allowed", text);
        return;
    }
    st->stream = stream_new(l, to, input_max);
    st->with_libuv = true;
    if (to->kind == NET_UNIX) {
        uv_pipe_connect(&st->req, &st->stream->uv.pipe, to->path, on_connected);
        return;
    }
    union net_sockaddr sa;
    net_address_to_sockaddr(to, &sa);
    int r = uv_tcp_connect(&st->req, &st->stream->uv.tcp, &sa.any, on_connected);
    if (r != 0) {
        st->with_libuv = false;
        describe(st, r);
    }
}

void
connect_start(struct connect_op *op, struct loop *l, const struct net_address *to,
              uint64_t timeout_ms, size_t input_max)
{
    BUG_ON(op->done == NULL);
    struct connect_state *st = calloc(1, sizeof *st);
    BUG_ON(st == NULL);
    st->op = op;
    op->stream = NULL;
    op->state = st;
    err_clear(&op->err);
    timer_init(&st->timer, l, on_timeout);
    deferred_init(&st->finish, l, on_finish);
    begin(st, l, to, input_max);
    if (st->err.code != ERR_NONE)
        deferred_schedule(&st->finish);
    else
        timer_start(&st->timer, timeout_ms);
}

void
connect_cancel(struct connect_op *op)
{
    BUG_ON(op->state == NULL);
    err_set(&op->state->err, ERR_CANCELLED, "connect: cancelled");
    timer_cancel(&op->state->timer);
    deferred_schedule(&op->state->finish);
}
