/*
 * Output of a stream.
 *
 * Happy path: what the user sends becomes a list of send_ops, copied bytes in
 * chunks that are send_ops of our own; at the end of the turn one vectored write
 * takes them all. What the kernel does not take stays with one uv_write at a
 * time, of at most STREAM_WRITE_MAX bytes, so that progress can be seen.
 *
 * Ways it ends: everything is written; a write fails (the output is dropped,
 * the input is still read to its end, because a server that refuses us says why
 * and closes); the stream is killed (what is left is dropped when libuv has let
 * go of it). Each send_op gets its done in all of them.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/stream_internal.h"

enum {
    BATCH_PIECES = 32,
    CHUNK_BYTES = 4096 - 64, /* with its header and malloc's in one page */
    LOW_WATER_BYTES = 64 << 10,
    HIGH_WATER_BYTES = 256 << 10,
};

/* Copied bytes: `op.bytes` is the filled part of `mem`. */
struct chunk {
    struct send_op op;
    size_t cap;
    char mem[];
};

struct batch {
    uv_buf_t pieces[BATCH_PIECES];
    unsigned count;
    size_t bytes;
};

size_t
stream_output_high_water(void)
{
    return HIGH_WATER_BYTES;
}

size_t
stream_unsent_bytes(const struct stream *s)
{
    return s->unsent;
}

static void
free_chunk(struct send_op *op)
{
    free(container_of(op, struct chunk, op));
}

static void
append(struct stream *s, struct send_op *op)
{
    list_node_init(&op->node);
    list_push(&s->out, &op->node);
}

static struct chunk *
append_chunk(struct stream *s, size_t at_least)
{
    size_t cap = at_least > CHUNK_BYTES ? at_least : CHUNK_BYTES;
    struct chunk *c = malloc(sizeof *c + cap);
    BUG_ON(c == NULL);
    c->cap = cap;
    c->op = (struct send_op){.done = free_chunk, .bytes = slice_from(c->mem, 0)};
    append(s, &c->op);
    return c;
}

/* The last chunk, when it is the last of the output and has room. It may be on
 * its way to the kernel: what is behind op.bytes is not. */
static struct chunk *
open_chunk(struct stream *s)
{
    if (list_empty(&s->out))
        return NULL;
    struct send_op *op = container_of(s->out.head.prev, struct send_op, node);
    if (op->done != free_chunk)
        return NULL;
    struct chunk *c = container_of(op, struct chunk, op);
    return c->op.bytes.n < c->cap ? c : NULL;
}

static void
note_unsent(struct stream *s, size_t n)
{
    s->unsent += n;
    if (s->unsent > HIGH_WATER_BYTES)
        s->above_high = true;
    deferred_schedule_end_of_turn(&s->flush);
}

void
stream_send(struct stream *s, struct slice bytes)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    if (s->output_dead || bytes.n == 0)
        return;
    note_unsent(s, bytes.n);
    struct chunk *c = open_chunk(s);
    while (bytes.n > 0) {
        if (c == NULL)
            c = append_chunk(s, bytes.n);
        struct slice part = slice_cut(&bytes, c->cap - c->op.bytes.n);
        memcpy(c->mem + c->op.bytes.n, part.p, part.n);
        c->op.bytes.n += part.n;
        c = NULL;
    }
}

void
stream_send_ref(struct stream *s, struct send_op *op, struct slice bytes,
                void (*done)(struct send_op *op))
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    *op = (struct send_op){.done = done, .bytes = bytes};
    append(s, op);
    note_unsent(s, bytes.n);
}

/* (loop) The first n bytes of the output are sent. */
static void
advance(struct stream *s, size_t n)
{
    s->unsent -= n;
    if (s->above_high && s->unsent <= LOW_WATER_BYTES) {
        s->above_high = false;
        s->drained = true;
        deferred_schedule(&s->event);
    }
    while (s->sm.state != STREAM_DEAD && !list_empty(&s->out)) {
        struct send_op *op = container_of(list_first(&s->out), struct send_op, node);
        size_t left = op->bytes.n - s->head_sent;
        if (left > n) {
            s->head_sent += n;
            return;
        }
        n -= left;
        s->head_sent = 0;
        list_remove(&op->node);
        op->done(op);
    }
}

void
stream_output_drop(struct stream *s)
{
    struct list_node *n;
    s->unsent = s->head_sent = 0;
    if (s->tls != NULL)
        stream_tls_output_dropped(s);
    while ((n = list_pop(&s->out)) != NULL) {
        struct send_op *op = container_of(n, struct send_op, node);
        op->done(op);
    }
}

static void
collect_plain(struct stream *s, struct batch *b, size_t max)
{
    size_t skip = s->head_sent;
    LIST_EACH(&s->out, n)
    {
        struct send_op *op = container_of(n, struct send_op, node);
        struct slice rest = slice_skip(op->bytes, skip);
        skip = 0;
        if (b->count == BATCH_PIECES || b->bytes == max)
            return;
        if (rest.n > max - b->bytes)
            rest.n = max - b->bytes;
        if (rest.n == 0)
            continue;
        b->pieces[b->count++] = (uv_buf_t){.base = (char *)(uintptr_t)rest.p, .len = rest.n};
        b->bytes += rest.n;
    }
}

static void
collect(struct stream *s, struct batch *b)
{
    b->count = 0;
    b->bytes = 0;
    if (s->tls == NULL) {
        collect_plain(s, b, STREAM_WRITE_MAX);
    } else if (stream_tls_plain_left(s) > 0) {
        size_t left = stream_tls_plain_left(s);
        collect_plain(s, b, left < STREAM_WRITE_MAX ? left : STREAM_WRITE_MAX);
    } else {
        struct slice c = stream_tls_output(s);
        if (c.n == 0)
            return;
        b->pieces[b->count++] = (uv_buf_t){.base = (char *)(uintptr_t)c.p, .len = c.n};
        b->bytes = c.n;
    }
}

static void
sent(struct stream *s, size_t n)
{
    advance(s, s->tls != NULL ? stream_tls_sent(s, n) : n);
}

static void
write_failed(struct stream *s, int status)
{
    struct err why;
    net_err_uv(&why, "write", status);
    s->output_dead = true;
    stream_output_drop(s);
    if (s->sm.state == STREAM_DEAD)
        return;
    if (s->sm.state != STREAM_OPEN) {
        stream_kill(s);
        return;
    }
    s->broken = why;
    if (s->tls != NULL && stream_tls_phase(s) == TLS_SHAKING)
        stream_tls_abandon(s, &why);
    /* After these two the socket comes to its end by itself, and what the peer
     * said before is still there; any other failure ends the stream now. */
    else if ((status != UV_EPIPE && status != UV_ECONNRESET) || !s->reading)
        stream_set_end(s, why.code, "%s", why.text);
}

/* All is written that can be: a stream that its user closed says goodbye. */
static void
output_empty(struct stream *s)
{
    if (s->sm.state != STREAM_FLUSHING)
        return;
    if (s->tls != NULL && stream_tls_say_goodbye(s)) {
        deferred_schedule_end_of_turn(&s->flush);
        return;
    }
    uv_os_fd_t fd;
    bool shut = uv_fileno(&s->uv.any, &fd) == 0 && shutdown(fd, SHUT_WR) == 0;
    if (!shut || s->at_eof || s->end.code != ERR_NONE) {
        stream_kill(s);
        return;
    }
    sm_move(&s->sm, STREAM_LINGERING);
    stream_update_reading(s);
}

static void
on_written(uv_write_t *req, int status)
{
    struct stream *s = container_of(req, struct stream, write);
    s->writing = false;
    if (s->sm.state == STREAM_DEAD)
        return; /* what is left is dropped when the handle is closed */
    if (status < 0) {
        write_failed(s, status);
        return;
    }
    sent(s, s->write_bytes);
    if (s->sm.state != STREAM_DEAD)
        deferred_schedule_end_of_turn(&s->flush);
}

/* Writes what the socket takes at once; false when it failed, or when a done
 * callback closed the stream. */
static bool
write_now(struct stream *s, struct batch *b)
{
    int n = uv_try_write(&s->uv.stream, b->pieces, b->count);
    if (n < 0 && n != UV_EAGAIN) {
        write_failed(s, n);
        return false;
    }
    if (n > 0)
        sent(s, (size_t)n);
    return s->sm.state != STREAM_DEAD;
}

static void
on_flush(struct deferred *d)
{
    struct stream *s = container_of(d, struct stream, flush);
    struct batch b;
    if (s->writing || s->sm.state == STREAM_DEAD)
        return;
    if (s->output_dead)
        stream_output_drop(s); /* a TLS alert may still go out */
    else
        advance(s, 0); /* empty send_ops at the front */
    if (s->sm.state == STREAM_DEAD)
        return;
    collect(s, &b);
    if (b.count > 0) {
        if (!write_now(s, &b))
            return;
        collect(s, &b);
    }
    if (b.count > 0) {
        s->write_bytes = b.bytes;
        s->writing = true;
        int r = uv_write(&s->write, &s->uv.stream, b.pieces, b.count, on_written);
        if (r != 0) {
            s->writing = false;
            write_failed(s, r);
        }
    } else {
        output_empty(s);
    }
    if (s->sm.state != STREAM_DEAD)
        stream_update_reading(s);
}

void
stream_output_init(struct stream *s)
{
    list_init(&s->out);
    deferred_init(&s->flush, s->loop, on_flush);
}
