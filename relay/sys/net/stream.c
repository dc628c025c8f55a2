/*
 * Happy path: stream_new() and a socket; the user sets itself, reading starts;
 * on_input whenever bytes came; on_end when the peer is done; stream_close()
 * flushes, sends FIN, and reads on until the peer's FIN, so that the kernel does
 * not answer late bytes with a reset that would destroy our last reply.
 *
 * Ways it ends: FIN (ERR_CLOSED); an error of the socket (ERR_IO) or of TLS
 * (ERR_TLS); stream_abort(); the loop is freed. After stream_close() at most
 * STREAM_CLOSE_TIMEOUT_MS and STREAM_CLOSE_DISCARD_MAX bytes.
 * All ways lead through stream_kill(), and the memory goes in on_closed().
 */
#include "relay/sys/net/stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/loop_internal.h"
#include "relay/sys/net/stream_internal.h"

enum { STREAM_STATES = STREAM_DEAD + 1 };

static const struct sm_row STATES[STREAM_STATES] = {
    [STREAM_OPEN] =
        {
            .name = "open",
            .doing = "talking to the peer",
            .next = SM_TO(STREAM_FLUSHING) | SM_TO(STREAM_DEAD),
        },
    [STREAM_FLUSHING] =
        {
            .name = "flushing",
            .doing = "sending the last output",
            .next = SM_TO(STREAM_LINGERING) | SM_TO(STREAM_DEAD),
            .timeout_ms = STREAM_CLOSE_TIMEOUT_MS, /* goes on through lingering */
        },
    [STREAM_LINGERING] =
        {
            .name = "lingering",
            .doing = "waiting for the peer's FIN",
            .next = SM_TO(STREAM_DEAD),
        },
    [STREAM_DEAD] = {.name = "dead", .doing = "closing"},
};

static void on_event(struct deferred *d);
static void on_close_timeout(struct timer *t);

int
net_err_uv(struct err *e, const char *what, int status)
{
    char reason[128];
    return err_set(e, status == UV_ETIMEDOUT ? ERR_TIMEOUT : ERR_IO, "%s: %s", what,
                   uv_strerror_r(status, reason, sizeof reason));
}

struct stream *
stream_new(struct loop *l, const struct net_address *peer, size_t input_max)
{
    BUG_ON(input_max == 0);
    struct stream *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->loop = l;
    s->peer = *peer;
    s->read_bytes = STREAM_READ_MIN;
    sm_init(&s->sm, STATES, STREAM_STATES, STREAM_OPEN, NULL);
    buf_init(&s->input, input_max);
    stream_output_init(s);
    deferred_init(&s->event, l, on_event);
    timer_init(&s->close_timer, l, on_close_timeout);
    list_node_init(&s->lingerer.node);
    int r = peer->kind == NET_UNIX ? uv_pipe_init(loop_uv(l), &s->uv.pipe, 0)
                                   : uv_tcp_init(loop_uv(l), &s->uv.tcp);
    BUG_ON(r != 0);
    s->uv.any.data = s;
    return s;
}

void
stream_set_nodelay(struct stream *s)
{
    if (s->peer.kind != NET_UNIX)
        uv_tcp_nodelay(&s->uv.tcp, 1);
}

int
stream_adopt(struct stream *s, int fd)
{
    int r = s->peer.kind == NET_UNIX ? uv_pipe_open(&s->uv.pipe, fd) : uv_tcp_open(&s->uv.tcp, fd);
    if (r == 0)
        stream_set_nodelay(s);
    return r == 0 ? 0 : -1;
}

/* Calling the user */

static bool
may_call(const struct stream *s)
{
    return s->sm.state == STREAM_OPEN && s->user != NULL && (s->tls == NULL || stream_is_tls(s));
}

static void
deliver(struct stream *s)
{
    if (s->input_news && !s->paused && may_call(s)) {
        s->input_news = false;
        if (s->input.len > 0)
            s->user->on_input(s->user);
    }
    if (s->drained && may_call(s)) {
        s->drained = false;
        if (s->user->on_drain != NULL)
            s->user->on_drain(s->user);
    }
    bool input_first = s->input_news && s->end.code == ERR_CLOSED;
    if (s->end.code != ERR_NONE && !s->end_told && !input_first && may_call(s)) {
        s->end_told = true;
        s->user->on_end(s->user, &s->end);
    }
    if (s->input.len == 0)
        buf_shrink(&s->input, STREAM_READ_MIN);
    stream_update_reading(s);
}

static void
on_event(struct deferred *d)
{
    struct stream *s = container_of(d, struct stream, event);
    if (s->tls != NULL)
        stream_tls_pump(s);
    deliver(s);
}

void
stream_set_end(struct stream *s, enum err_code code, const char *fmt, ...)
{
    if (s->end.code != ERR_NONE)
        return;
    va_list args;
    char text[sizeof s->end.text];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&s->end, code, "%s", text);
    if (code != ERR_CLOSED) {
        s->output_dead = true;
        deferred_schedule_end_of_turn(&s->flush);
    }
    deferred_schedule(&s->event);
}

/* Input */

static bool
wants_bytes(const struct stream *s)
{
    if (s->at_eof || s->end.code != ERR_NONE || s->sm.state == STREAM_DEAD)
        return false;
    if (s->sm.state != STREAM_OPEN)
        return s->discarded_bytes < STREAM_CLOSE_DISCARD_MAX;
    if (s->tls != NULL && stream_tls_phase(s) != TLS_UP)
        return stream_tls_phase(s) == TLS_SHAKING && stream_tls_wants_bytes(s);
    return s->user != NULL && !s->paused && buf_room(&s->input) > 0 &&
           (s->tls == NULL || stream_tls_wants_bytes(s));
}

static void
on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    struct stream *s = h->data;
    (void)suggested;
    size_t n;
    if (s->sm.state != STREAM_OPEN || s->tls != NULL) {
        out->base = loop_scratch(s->loop, &n);
        if (s->tls != NULL && n > STREAM_TLS_RECORD_MAX)
            n = STREAM_TLS_RECORD_MAX; /* bounds what the TLS layer holds */
    } else {
        n = buf_room(&s->input) < s->read_bytes ? buf_room(&s->input) : s->read_bytes;
        out->base = buf_reserve(&s->input, n);
    }
    out->len = n;
}

static void
on_read_failed(struct stream *s, int status)
{
    s->at_eof = true;
    if (s->sm.state == STREAM_LINGERING || (s->sm.state == STREAM_FLUSHING && status != UV_EOF)) {
        stream_kill(s);
        return;
    }
    if (s->sm.state != STREAM_OPEN)
        return;
    struct err why = s->broken;
    if (why.code == ERR_NONE && status != UV_EOF)
        net_err_uv(&why, "read", status);
    if (s->tls != NULL && stream_tls_phase(s) == TLS_SHAKING && why.code != ERR_NONE)
        stream_tls_abandon(s, &why);
    else if (why.code != ERR_NONE)
        stream_set_end(s, why.code, "%s", why.text);
    else if (s->tls != NULL)
        stream_tls_pump(s); /* knows whether this FIN was announced */
    else
        stream_set_end(s, ERR_CLOSED, "closed by the peer");
    deliver(s);
}

static void
adapt_read_size(struct stream *s, size_t got)
{
    if (got == s->read_bytes && s->read_bytes < STREAM_READ_MAX)
        s->read_bytes *= 2;
    else if (got < s->read_bytes / 4 && s->read_bytes > STREAM_READ_MIN)
        s->read_bytes /= 2;
}

static void
on_read(uv_stream_t *h, ssize_t got, const uv_buf_t *mem)
{
    struct stream *s = h->data;
    if (got == 0)
        return;
    if (got < 0) {
        on_read_failed(s, (int)got);
        return;
    }
    size_t n = (size_t)got;
    if (s->sm.state != STREAM_OPEN) {
        s->discarded_bytes += n;
        stream_update_reading(s);
        return;
    }
    if (s->tls != NULL) {
        stream_tls_feed(s, slice_from(mem->base, n));
        stream_tls_pump(s);
    } else {
        buf_commit(&s->input, n);
        s->input_news = true;
        adapt_read_size(s, n);
    }
    deliver(s);
}

void
stream_update_reading(struct stream *s)
{
    bool wanted = wants_bytes(s);
    if (s->broken.code != ERR_NONE && !wanted && s->sm.state == STREAM_OPEN)
        stream_set_end(s, s->broken.code, "%s", s->broken.text);
    if (wanted == s->reading || s->sm.state == STREAM_DEAD)
        return;
    s->reading = wanted;
    if (!wanted) {
        uv_read_stop(&s->uv.stream);
        return;
    }
    int r = uv_read_start(&s->uv.stream, on_alloc, on_read);
    if (r != 0) {
        struct err why;
        net_err_uv(&why, "read", r);
        s->reading = false;
        stream_set_end(s, why.code, "%s", why.text);
    }
}

void
stream_set_user(struct stream *s, struct stream_user *u)
{
    BUG_ON(u == NULL || u->on_input == NULL || u->on_end == NULL);
    BUG_ON(s->sm.state != STREAM_OPEN);
    if (u != s->user)
        s->end_told = false;
    s->user = u;
    s->input_news = s->input.len > 0;
    if (s->input_news || s->tls != NULL || s->end.code != ERR_NONE)
        deferred_schedule(&s->event);
    stream_update_reading(s);
}

struct slice
stream_input(const struct stream *s)
{
    return buf_slice(&s->input);
}

void
stream_consume(struct stream *s, size_t n)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    buf_consume(&s->input, n);
    if (s->tls != NULL && stream_tls_stalled(s))
        deferred_schedule(&s->event);
    stream_update_reading(s);
}

void
stream_pause_input(struct stream *s)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    s->paused = true;
    stream_update_reading(s);
}

void
stream_resume_input(struct stream *s)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    s->paused = false;
    s->input_news = s->input.len > 0;
    if (s->input_news || s->tls != NULL || s->end.code != ERR_NONE)
        deferred_schedule(&s->event);
    stream_update_reading(s);
}

const struct net_address *
stream_peer(const struct stream *s)
{
    return &s->peer;
}

bool
stream_peer_user(const struct stream *s, uint32_t *uid)
{
    struct ucred who;
    socklen_t n = sizeof who;
    uv_os_fd_t fd;
    if (s->peer.kind != NET_UNIX || uv_fileno(&s->uv.any, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
        return false;
    *uid = who.uid;
    return true;
}

/* Closing */

static void
on_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    stream_output_drop(s);
    if (s->tls != NULL)
        stream_tls_free(s);
    buf_fini(&s->input);
    free(s);
}

void
stream_kill(struct stream *s)
{
    if (s->sm.state == STREAM_DEAD)
        return;
    sm_move(&s->sm, STREAM_DEAD);
    if (s->tls != NULL)
        stream_tls_forget_user(s);
    s->user = NULL;
    timer_cancel(&s->close_timer);
    deferred_cancel(&s->event);
    deferred_cancel(&s->flush);
    loop_remove_lingerer(&s->lingerer);
    uv_close(&s->uv.any, on_closed);
}

static void
on_close_timeout(struct timer *t)
{
    stream_kill(container_of(t, struct stream, close_timer));
}

static void
end_lingering(struct lingerer *g)
{
    stream_kill(container_of(g, struct stream, lingerer));
}

void
stream_close(struct stream *s)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    sm_move(&s->sm, STREAM_FLUSHING);
    if (s->tls != NULL)
        stream_tls_forget_user(s);
    s->user = NULL;
    deferred_cancel(&s->event);
    timer_start(&s->close_timer, clock_scaled_ms(STREAM_CLOSE_TIMEOUT_MS));
    loop_add_lingerer(s->loop, &s->lingerer, end_lingering);
    deferred_schedule_end_of_turn(&s->flush);
    stream_update_reading(s);
}

void
stream_abort(struct stream *s)
{
    BUG_ON(s->sm.state != STREAM_OPEN);
    stream_kill(s);
}
