/*
 * One connection.
 *
 * Happy path: TLS first where the listener has it (HANDSHAKE); input begins a request (HEAD), the
 * head is cut and checked, the body is read (BODY), the route's handler works (WORK) and answers,
 * and the connection is idle again; what was sent ahead is looked at then.
 *
 * Ways it ends: the connection breaks (its request is then gone), the time limit of
 * the state passes, an answer says "Connection: close", or the server drains. A client
 * that closes its side only gets the answers to what it sent whole, and 400 to what
 * it did not.
 * After a refusal in the middle of a request what the client still sends is read
 * and dropped for a while (LINGER): closing at once would make the kernel reset
 * the connection, and the client would never read the answer (RFC 9112 9.6).
 */
#include <stdlib.h>

#include "api/http/host.h"
#include "api/http/server_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/metrics.h"

/* LINGER ends when nothing came for this long: the client has stopped. */
enum { LINGER_QUIET_MS = 1000 };

static const struct sm_row ROWS[CONN_STATES] = {
    [CONN_HANDSHAKE] = {.name = "handshake",
                        .doing = "waiting for the TLS handshake",
                        .next = SM_TO(CONN_IDLE) | SM_TO(CONN_CLOSING)},
    [CONN_IDLE] = {.name = "idle",
                   .doing = "waiting for a request",
                   .next = SM_TO(CONN_HEAD) | SM_TO(CONN_CLOSING),
                   .timeout_ms = HTTP_IDLE_TIMEOUT_MS},
    [CONN_HEAD] = {.name = "head",
                   .doing = "reading a request's head",
                   .next = SM_TO(CONN_BODY) | SM_TO(CONN_LINGER) | SM_TO(CONN_CLOSING),
                   .timeout_ms = HTTP_REQUEST_TIMEOUT_MS},
    /* The time limit moves with what arrives: note_progress(). */
    [CONN_BODY] = {.name = "body",
                   .doing = "reading a request's body",
                   .next = SM_TO(CONN_WORK) | SM_TO(CONN_LINGER) | SM_TO(CONN_CLOSING),
                   .timeout_ms = HTTP_REQUEST_TIMEOUT_MS},
    /* No time limit: the door and the queue have their own. */
    [CONN_WORK] = {.name = "work",
                   .doing = "working on a request",
                   .next = SM_TO(CONN_IDLE) | SM_TO(CONN_FLUSH) | SM_TO(CONN_CLOSING)},
    [CONN_FLUSH] = {.name = "flush",
                    .doing = "waiting for the client to read",
                    .next = SM_TO(CONN_IDLE) | SM_TO(CONN_CLOSING),
                    .timeout_ms = HTTP_REQUEST_TIMEOUT_MS},
    [CONN_LINGER] = {.name = "linger",
                     .doing = "reading over what follows a refusal",
                     .next = SM_TO(CONN_CLOSING),
                     .timeout_ms = LINGER_QUIET_MS},
    [CONN_CLOSING] = {.name = "closing", .doing = "closing"},
};

static void
on_move(struct sm *sm, unsigned from)
{
    struct http_connection *c = container_of(sm, struct http_connection, sm);
    list_remove(&c->node);
    list_push(sm->state == CONN_IDLE ? &c->server->idle : &c->server->active, &c->node);
    BUG_ON((c->request != NULL) !=
           (sm->state == CONN_HEAD || sm->state == CONN_BODY || sm->state == CONN_WORK));
    if (from == CONN_HEAD && sm->state == CONN_BODY && c->server->draining)
        return; /* connection_hurry() goes on */
    timer_cancel(&c->timer);
    if (sm_row(sm)->timeout_ms > 0)
        timer_start(&c->timer, clock_scaled_ms(sm_row(sm)->timeout_ms));
}

static void
destroy(struct http_connection *c)
{
    struct http_request *r = c->request;
    bool working = c->sm.state == CONN_WORK;
    timer_cancel(&c->timer);
    deferred_cancel(&c->pump);
    list_remove(&c->node);
    metrics_set(GAUGE_CONNECTIONS_HTTP, --c->server->connections);
    free(c);
    if (r == NULL)
        return;
    r->connection = NULL;
    if (!working)
        request_free(r);
    else if (r->on_gone != NULL)
        r->on_gone(r);
}

void
connection_close(struct http_connection *c)
{
    stream_close(c->stream);
    destroy(c);
}

void
connection_hurry(struct http_connection *c)
{
    if (c->sm.state == CONN_HEAD || c->sm.state == CONN_BODY || c->sm.state == CONN_FLUSH)
        timer_start(&c->timer, clock_scaled_ms(HTTP_DRAIN_GRACE_MS));
}

static void
on_timeout(struct timer *t)
{
    struct http_connection *c = container_of(t, struct http_connection, timer);
    bool reading = c->sm.state == CONN_HEAD || c->sm.state == CONN_BODY;
    if (reading && c->server->draining) {
        c->server->cfg.refuse(c->request, 503, "shutting_down", "this server is shutting down");
        return;
    }
    if (reading) {
        c->server->cfg.refuse(c->request, 408, "request_timeout",
                              "the request did not arrive in time");
        return;
    }
    if (c->sm.state == CONN_FLUSH) {
        stream_abort(c->stream);
        destroy(c);
        return;
    }
    connection_close(c);
}

/* ---- reading ------------------------------------------------------------ */

static void
refuse(struct http_connection *c, unsigned status, const char *code, const char *detail)
{
    c->server->cfg.refuse(c->request, status, code, detail);
}

static void
start_work(struct http_connection *c)
{
    struct http_request *r = c->request;
    sm_move(&c->sm, CONN_WORK);
    r->route->handle(r); /* may have answered: c lives, r may not */
}

static bool
check_host(struct http_connection *c)
{
    const char *hostname = c->server->cfg.hostname;
    if (c->from->control)
        return true;
    switch (host_check(c->request->head.host, &c->from->bound, hostname)) {
    case HOST_OURS:
        return true;
    case HOST_FOREIGN:
        if (c->from->tls != NULL)
            return true;
        refuse(c, 421, "misdirected_request", "this server does not answer for that Host");
        return false;
    default:
        refuse(c, 400, "bad_request", "the Host field is malformed");
        return false;
    }
}

static bool
check_route(struct http_connection *c)
{
    unsigned status = server_find_route(c->server, c->request);
    if (status == 404)
        refuse(c, 404, "not_found", "there is nothing at this path");
    else if (status == 405)
        refuse(c, 405, "method_not_allowed", "the path does not have this method");
    return status == 0;
}

/* RFC 9110 8.4: a body in another coding than it claims to be is not read. */
static bool
check_body(struct http_connection *c)
{
    struct http_request *r = c->request;
    struct slice coding;
    if (r->head.body != BODY_NONE && head_find(&r->head, SLICE("content-encoding"), &coding) &&
        !slice_eq_nocase(coding, SLICE("identity"))) {
        refuse(c, 415, "unsupported_content_encoding", "compressed bodies are not understood");
        return false;
    }
    if (r->head.content_length > r->route->body_max) {
        refuse(c, 413, "too_large", "the body is larger than this path takes");
        return false;
    }
    if (r->head.content_length > HTTP_BODIES_IN_MEMORY_MAX - c->server->body_bytes) {
        refuse(c, 503, "busy", "too many large requests are being read");
        return false;
    }
    return true;
}

static void
begin_body(struct http_connection *c)
{
    struct http_request *r = c->request;
    r->body.max = r->route->body_max;
    c->body_left = r->head.content_length;
    c->progress_bytes = 0;
    c->body_deadline_ms = clock_mono_ms() + clock_scaled_ms(HTTP_BODY_TIMEOUT_MS);
    chunked_init(&c->chunked);
    sm_move(&c->sm, CONN_BODY);
    if (r->head.body == BODY_NONE)
        start_work(c);
    else if (r->head.expect_continue && stream_input(c->stream).n == 0)
        stream_send(c->stream, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
}

static bool
step_head(struct http_connection *c)
{
    struct http_request *r = c->request;
    struct slice in = stream_input(c->stream);
    size_t before = in.n;
    enum head_fault fault;
    enum parse cut = head_cut(&in, &c->scanned, &r->arena, &r->head, &fault);
    if (cut == PARSE_MORE)
        return false;
    if (cut == PARSE_BAD) {
        refuse(c, head_fault_status(fault), head_fault_code(fault), head_fault_text(fault));
        return true;
    }
    stream_consume(c->stream, before - in.n);
    if (check_host(c) && check_route(c) && check_body(c) &&
        (r->route->admit == NULL || r->route->admit(r)))
        begin_body(c);
    return true;
}

/* A large body may come slowly, but not an octet now and then. */
static void
note_progress(struct http_connection *c, size_t bytes)
{
    uint64_t now = clock_mono_ms(), wait = clock_scaled_ms(HTTP_REQUEST_TIMEOUT_MS);
    c->progress_bytes += bytes;
    if (c->progress_bytes < HTTP_BODY_PROGRESS_BYTES || c->server->draining)
        return;
    c->progress_bytes = 0;
    uint64_t left = c->body_deadline_ms > now ? c->body_deadline_ms - now : 0;
    timer_start(&c->timer, left < wait ? left : wait);
}

/* False: refused. */
static bool
take_piece(struct http_connection *c, struct slice piece)
{
    struct http_request *r = c->request;
    if (piece.n > HTTP_BODIES_IN_MEMORY_MAX - c->server->body_bytes) {
        refuse(c, 503, "busy", "too many large requests are being read");
        return false;
    }
    if (!buf_add(&r->body, piece)) {
        refuse(c, 413, "too_large", "the body is larger than this path takes");
        return false;
    }
    r->body_counted += piece.n;
    c->server->body_bytes += piece.n;
    note_progress(c, piece.n);
    return true;
}

static bool
step_length_body(struct http_connection *c)
{
    struct slice in = stream_input(c->stream);
    struct slice piece = slice_cut(&in, in.n < c->body_left ? in.n : (size_t)c->body_left);
    if (piece.n == 0)
        return false;
    if (!take_piece(c, piece))
        return true;
    c->body_left -= piece.n;
    stream_consume(c->stream, piece.n);
    if (c->body_left == 0)
        start_work(c);
    return true;
}

static bool
step_chunked_body(struct http_connection *c)
{
    struct slice in = stream_input(c->stream), piece;
    size_t before = in.n;
    enum chunked_step step = chunked_cut(&c->chunked, &in, &piece);
    if (step == CHUNKED_BAD) {
        refuse(c, 400, "bad_request", "the chunked body is malformed");
        return true;
    }
    if (step == CHUNKED_PIECE && !take_piece(c, piece))
        return true;
    if (before > in.n)
        stream_consume(c->stream, before - in.n);
    if (step == CHUNKED_END)
        start_work(c);
    return step != CHUNKED_MORE;
}

static bool
step_linger(struct http_connection *c)
{
    size_t n = stream_input(c->stream).n;
    if (n == 0)
        return false;
    stream_consume(c->stream, n);
    if (clock_mono_ms() < c->linger_until_ms)
        timer_start(&c->timer, clock_scaled_ms(LINGER_QUIET_MS));
    else
        sm_move(&c->sm, CONN_CLOSING);
    return true;
}

static bool
step_idle(struct http_connection *c)
{
    if (stream_input(c->stream).n == 0)
        return false;
    c->request = request_new(c);
    c->scanned = 0;
    sm_move(&c->sm, CONN_HEAD);
    return true;
}

/* One step; false: nothing more to do before something happens. */
static bool
step(struct http_connection *c)
{
    switch (c->sm.state) {
    case CONN_IDLE:
        return step_idle(c);
    case CONN_HEAD:
        return step_head(c);
    case CONN_BODY:
        return c->request->head.body == BODY_CHUNKED ? step_chunked_body(c) : step_length_body(c);
    case CONN_LINGER:
        return step_linger(c);
    default:
        return false;
    }
}

/* Nothing more comes, and what is there has been looked at. Empty lines behind a
 * request are none (RFC 9112 2.2). */
static void
end_of_input(struct http_connection *c)
{
    bool head = c->sm.state == CONN_HEAD;
    if (c->sm.state == CONN_WORK || c->sm.state == CONN_FLUSH || c->sm.state == CONN_CLOSING)
        return; /* an answer is under way */
    if (c->sm.state == CONN_BODY || (head && slice_trim(stream_input(c->stream)).n > 0))
        refuse(c, 400, "incomplete_request", "the connection ended in the middle of the request");
    else
        connection_close(c);
}

/* Runs until the connection waits; the next request of the same client gets its
 * turn only after everybody else's. */
static void
pump(struct http_connection *c)
{
    do {
        if (!step(c)) {
            if (c->ended)
                end_of_input(c);
            return;
        }
    } while (c->sm.state != CONN_IDLE && c->sm.state != CONN_CLOSING);
    deferred_schedule(&c->pump);
}

static void
on_pump(struct deferred *d)
{
    struct http_connection *c = container_of(d, struct http_connection, pump);
    if (c->sm.state == CONN_CLOSING)
        connection_close(c);
    else
        pump(c);
}

bool
connection_has_more(const struct http_connection *c)
{
    return !c->ended || stream_input(c->stream).n > 0;
}

void
connection_answered(struct http_connection *c, bool keep)
{
    bool whole = c->sm.state == CONN_WORK;
    c->request = NULL;
    c->linger_until_ms = clock_mono_ms() + clock_scaled_ms(HTTP_LINGER_TIMEOUT_MS);
    if (!keep)
        sm_move(&c->sm, whole ? CONN_CLOSING : CONN_LINGER);
    else if (stream_unsent_bytes(c->stream) > stream_output_high_water())
        sm_move(&c->sm, CONN_FLUSH);
    else
        sm_move(&c->sm, CONN_IDLE);
    deferred_schedule(&c->pump);
}

/* ---- the stream --------------------------------------------------------- */

static void
on_input(struct stream_user *u)
{
    pump(container_of(u, struct http_connection, user));
}

static void
on_drain(struct stream_user *u)
{
    struct http_connection *c = container_of(u, struct http_connection, user);
    if (c->sm.state != CONN_FLUSH)
        return;
    sm_move(&c->sm, c->server->draining ? CONN_CLOSING : CONN_IDLE);
    deferred_schedule(&c->pump);
}

/* ERR_CLOSED may be the client's side only: whether it still reads shows when the
 * answer is written. After anything else nobody is there any more. */
static void
on_end(struct stream_user *u, const struct err *why)
{
    struct http_connection *c = container_of(u, struct http_connection, user);
    if (why->code != ERR_CLOSED) {
        connection_close(c);
        return;
    }
    c->ended = true;
    pump(c);
}

static void
on_tls(struct tls_op *op)
{
    struct http_connection *c = container_of(op, struct http_connection, tls);
    if (op->err.code != ERR_NONE) {
        stream_abort(c->stream);
        destroy(c);
        return;
    }
    sm_move(&c->sm, CONN_IDLE);
    deferred_schedule(&c->pump);
}

void
connection_new(struct http_server *s, const struct http_listener *from, struct stream *stream)
{
    bool tls = from->tls != NULL;
    struct http_connection *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->server = s;
    c->from = from;
    c->stream = stream;
    c->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_drain};
    list_node_init(&c->node);
    list_push(&s->idle, &c->node); /* one that only shakes hands makes room too */
    metrics_set(GAUGE_CONNECTIONS_HTTP, ++s->connections);
    sm_init(&c->sm, ROWS, CONN_STATES, tls ? CONN_HANDSHAKE : CONN_IDLE, on_move);
    timer_init(&c->timer, s->loop, on_timeout);
    deferred_init(&c->pump, s->loop, on_pump);
    stream_set_user(stream, &c->user);
    if (tls)
        stream_start_tls(stream, &c->tls, from->tls, SLICE_NONE,
                         clock_scaled_ms(HTTP_TLS_TIMEOUT_MS), on_tls);
    else
        timer_start(&c->timer, clock_scaled_ms(HTTP_IDLE_TIMEOUT_MS));
}
