/*
 * Happy path: connect, READY, up; a job's BEGIN, then its PIECEs, 64 KB of each
 * job in turn while the stream takes them; its answer.
 * Ways it ends: the connection ends, breaks the protocol or is silent while
 * it owes answers: all its jobs go back to the client, and after a rest the
 * peer connects again; peer_close().
 */
#include "dkim/signer_peer.h"

#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

enum {
    CONNECT_TIMEOUT_MS = 5000, /* a unix socket: only a full backlog takes time */
    REST_FIRST_MS = 50,
    REST_MAX_MS = 1000,
    REST_DOUBLINGS_MAX = 5,
    ANSWER_FRAME_MAX = FRAME_HEADER_BYTES + SIGN_FIELDS_BYTES_MAX,
    INPUT_BYTES = 2 * ANSWER_FRAME_MAX,
    COPY_BYTES_MAX = 2048, /* up to here a copy costs less than a reference */
};

static const struct sm_row rows[] = {
    [PEER_RESTING] = {.name = "resting",
                      .doing = "waiting to connect",
                      .next = SM_TO(PEER_CONNECTING)},
    [PEER_CONNECTING] = {.name = "connecting",
                         .doing = "connecting to a signer",
                         .next = SM_TO(PEER_GREETING) | SM_TO(PEER_RESTING),
                         .timeout_ms = CONNECT_TIMEOUT_MS},
    /* No limit: the socket outlives its signer, and the next one will say it. */
    [PEER_GREETING] = {.name = "greeting",
                       .doing = "waiting for a signer to accept",
                       .next = SM_TO(PEER_UP) | SM_TO(PEER_RESTING)},
    [PEER_UP] = {.name = "up",
                 .doing = "waiting for a signature",
                 .next = SM_TO(PEER_RESTING),
                 .timeout_ms = SIGN_SILENCE_MS},
};

/* --- connecting --- */

static void
rest(struct signer_peer *p)
{
    unsigned doublings = p->failures < REST_DOUBLINGS_MAX ? p->failures : REST_DOUBLINGS_MAX;
    uint64_t ms = (uint64_t)REST_FIRST_MS << doublings;
    p->failures++;
    sm_move(&p->sm, PEER_RESTING);
    timer_start(&p->rest, ms < REST_MAX_MS ? ms : REST_MAX_MS);
}

static void
on_rested(struct timer *t)
{
    struct signer_peer *p = container_of(t, struct signer_peer, rest);
    sm_move(&p->sm, PEER_CONNECTING);
    connect_start(&p->connect, p->loop, &p->address, CONNECT_TIMEOUT_MS, INPUT_BYTES);
}

static void
on_connected(struct connect_op *op)
{
    struct signer_peer *p = container_of(op, struct signer_peer, connect);
    if (op->stream == NULL) {
        if (p->failures == 0)
            LOG(LOG_WARN, "sign.connect", LF_ERR(&op->err));
        rest(p);
        return;
    }
    sm_move(&p->sm, PEER_GREETING);
    p->stream = op->stream;
    stream_set_user(p->stream, &p->user);
}

static void
lose(struct signer_peer *p, const struct err *why)
{
    struct list jobs;
    list_init(&jobs);
    LOG(LOG_WARN, "sign.connection-lost", LF_STR("while", sm_row(&p->sm)->doing), LF_ERR(why),
        LF_U("jobs", p->jobs));
    stream_abort(p->stream);
    p->stream = NULL;
    timer_cancel(&p->silence);
    for (struct list_node *n; (n = list_pop(&p->sent)) != NULL;)
        list_push(&jobs, n);
    for (struct list_node *n; (n = list_pop(&p->sending)) != NULL;)
        list_push(&jobs, n);
    p->jobs = 0;
    p->bytes = 0;
    p->alone = false;
    rest(p);
    signer_client_lost(p->client, &jobs, why);
}

/* --- sending --- */

/* Keeps the message while the stream has not sent a piece of it: the job may
 * have been cancelled by then. */
struct piece {
    struct send_op send;
    struct content content;
};

static void
on_piece_sent(struct send_op *op)
{
    struct piece *piece = container_of(op, struct piece, send);
    content_unref(&piece->content);
    free(piece);
}

static void
send_frame_header(struct signer_peer *p, enum sign_frame type, uint64_t request, size_t n)
{
    struct buf b;
    buf_init(&b, FRAME_HEADER_BYTES);
    bool fits = frame_add_header(&b, (uint8_t)type, request, n);
    BUG_ON(!fits);
    stream_send(p->stream, buf_slice(&b));
    buf_fini(&b);
}

static void
send_bytes(struct signer_peer *p, const struct sign_op *op, struct slice bytes)
{
    if (bytes.n <= COPY_BYTES_MAX) {
        stream_send(p->stream, bytes);
        return;
    }
    struct piece *piece = calloc(1, sizeof *piece);
    BUG_ON(piece == NULL);
    list_node_init(&piece->send.node);
    piece->content = content_ref(op->message);
    stream_send_ref(p->stream, &piece->send, bytes, on_piece_sent);
}

/* What is next of the message, in one run of memory. */
static struct slice
next_bytes(const struct sign_op *op)
{
    struct slice pieces[2];
    size_t at = op->sent_bytes;
    int count = content_pieces(op->message, pieces);
    for (int i = 0; i < count; i++) {
        struct slice left = slice_skip(pieces[i], at);
        if (left.n > 0)
            return slice_cut(&left, SIGN_PIECE_BYTES);
        at -= pieces[i].n;
    }
    return SLICE_NONE;
}

static void
send_piece(struct signer_peer *p, struct sign_op *op)
{
    struct slice bytes = next_bytes(op);
    BUG_ON(bytes.n == 0);
    send_frame_header(p, SIGN_FRAME_PIECE, op->request, bytes.n);
    send_bytes(p, op, bytes);
    op->sent_bytes += bytes.n;
}

static void
pump(struct signer_peer *p)
{
    while (!list_empty(&p->sending) &&
           stream_unsent_bytes(p->stream) <= stream_output_high_water()) {
        struct sign_op *op = container_of(list_pop(&p->sending), struct sign_op, node);
        send_piece(p, op);
        bool all = op->sent_bytes == op->message_bytes;
        op->state = all ? SIGN_OP_SENT : SIGN_OP_SENDING;
        list_push(all ? &p->sent : &p->sending, &op->node);
    }
}

static void
on_drain(struct stream_user *u)
{
    pump(container_of(u, struct signer_peer, user));
}

/* --- answers --- */

static struct sign_op *
find_job(struct list *jobs, uint64_t request)
{
    LIST_EACH(jobs, it)
    {
        struct sign_op *op = container_of(it, struct sign_op, node);
        if (op->request == request)
            return op;
    }
    return NULL;
}

static bool
answer_status(uint8_t type, enum sign_status *out)
{
    switch (type) {
    case SIGN_FRAME_SIGNED:
        *out = SIGN_OK;
        return true;
    case SIGN_FRAME_REFUSED:
        *out = SIGN_REFUSED;
        return true;
    case SIGN_FRAME_NO_KEY:
        *out = SIGN_NO_KEY;
        return true;
    case SIGN_FRAME_FAILED:
        *out = SIGN_AWAY;
        return true;
    default:
        return false;
    }
}

static bool
on_ready(struct signer_peer *p)
{
    if (p->sm.state != PEER_GREETING)
        return false;
    p->failures = 0;
    sm_move(&p->sm, PEER_UP);
    signer_client_peer_up(p->client);
    return true;
}

static bool
on_answer(struct signer_peer *p, const struct frame *f)
{
    enum sign_status status;
    if (f->type == SIGN_FRAME_READY)
        return on_ready(p);
    if (p->sm.state != PEER_UP || !answer_status(f->type, &status))
        return false;
    struct sign_op *op = find_job(&p->sent, f->request);
    if (op == NULL)
        op = find_job(&p->sending, f->request);
    if (op != NULL && status == SIGN_OK &&
        (op->state != SIGN_OP_SENT || f->payload.n == 0 || f->payload.n > SIGN_FIELDS_BYTES_MAX))
        return false;
    if (op == NULL)
        return true; /* cancelled */
    peer_drop(p, op);
    signer_client_answered(p->client, op, status, f->payload);
    return true;
}

static void
on_input(struct stream_user *u)
{
    struct signer_peer *p = container_of(u, struct signer_peer, user);
    struct err err = {0};
    if (p->jobs > 0)
        timer_start(&p->silence, clock_scaled_ms(SIGN_SILENCE_MS));
    for (;;) {
        struct frame f;
        struct slice input = stream_input(p->stream), left = input;
        enum parse got = frame_cut(&left, &f);
        if (got == PARSE_MORE && input.n < ANSWER_FRAME_MAX)
            return;
        if (got != PARSE_OK || !on_answer(p, &f))
            break;
        stream_consume(p->stream, input.n - left.n);
    }
    err_set(&err, ERR_BAD, "the signer broke the protocol");
    lose(p, &err);
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    lose(container_of(u, struct signer_peer, user), why);
}

static void
on_silence(struct timer *t)
{
    struct err err = {0};
    err_set(&err, ERR_TIMEOUT, "no answer from the signer");
    lose(container_of(t, struct signer_peer, silence), &err);
}

/* --- for the client --- */

void
peer_init(struct signer_peer *p, struct signer_client *c, struct loop *l, const char *path)
{
    *p = (struct signer_peer){.client = c, .loop = l, .address.kind = NET_UNIX};
    bool fits = slice_to_cstr(slice_str(path), p->address.path, sizeof p->address.path);
    BUG_ON(!fits);
    p->connect.done = on_connected;
    p->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_drain};
    sm_init(&p->sm, rows, ARRAY_LEN(rows), PEER_RESTING, NULL);
    list_init(&p->sending);
    list_init(&p->sent);
    timer_init(&p->rest, l, on_rested);
    timer_init(&p->silence, l, on_silence);
    timer_start(&p->rest, 0);
}

static void
on_connect_cancelled(struct connect_op *op)
{
    struct signer_peer *p = container_of(op, struct signer_peer, connect);
    if (op->stream != NULL)
        stream_abort(op->stream);
    signer_client_peer_closed(p->client);
}

bool
peer_close(struct signer_peer *p)
{
    BUG_ON(p->jobs > 0);
    timer_cancel(&p->rest);
    timer_cancel(&p->silence);
    if (p->stream != NULL)
        stream_abort(p->stream);
    if (p->sm.state != PEER_CONNECTING)
        return true;
    p->connect.done = on_connect_cancelled;
    connect_cancel(&p->connect);
    return false;
}

bool
peer_up(const struct signer_peer *p)
{
    return p->sm.state == PEER_UP;
}

bool
peer_can_take(const struct signer_peer *p, const struct sign_op *op)
{
    if (!peer_up(p) || p->alone || p->jobs == SIGN_JOBS_PER_CONNECTION)
        return false;
    return op->tries == 0 || p->jobs == 0;
}

void
peer_take(struct signer_peer *p, struct sign_op *op, uint64_t request)
{
    struct buf b;
    buf_init(&b, FRAME_HEADER_BYTES + 2 * sizeof(uint32_t) + ADDRESS_DOMAIN_MAX);
    bool fits = sign_request_add_begin(&b, request, (uint32_t)op->message_bytes, op->domain);
    BUG_ON(!fits);
    stream_send(p->stream, buf_slice(&b));
    buf_fini(&b);
    op->peer = p;
    op->request = request;
    op->sent_bytes = 0;
    op->state = SIGN_OP_SENDING;
    list_push(&p->sending, &op->node);
    if (p->jobs++ == 0)
        timer_start(&p->silence, clock_scaled_ms(SIGN_SILENCE_MS));
    p->bytes += op->message_bytes;
    p->alone = op->tries > 0;
    pump(p);
}

void
peer_drop(struct signer_peer *p, struct sign_op *op)
{
    if (op->state == SIGN_OP_SENDING)
        send_frame_header(p, SIGN_FRAME_ABANDON, op->request, 0);
    list_remove(&op->node);
    op->peer = NULL;
    p->bytes -= op->message_bytes;
    p->alone = false;
    if (--p->jobs == 0)
        timer_cancel(&p->silence);
}
