/*
 * Happy path: accept, READY; BEGIN opens a request, its PIECEs are fed to the
 * library as they come, the last one makes the signature; SIGNED. One frame
 * per connection and turn of the loop, so that workers share a signer evenly
 * and a long message (1 ms per piece) holds nobody up.
 * Ways it ends: a connection ends or breaks the protocol: its requests are
 * dropped; the control descriptor ends: drain, then signer_run() returns.
 */
#include "dkim/signer.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "dkim/protocol.h"
#include "dkim/sign.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/log.h"
#include "relay/sys/config/follow.h"
#include "relay/sys/net/control.h"
#include "relay/sys/net/listener.h"

enum {
    INPUT_BYTES = 2 * SIGN_REQUEST_FRAME_MAX,
    LAST_ANSWERS_MS = 200, /* for what is in the stream when the drain is over */
};

/* Freed when another is in force and its last job has ended. */
struct key_ring {
    struct keyset *keys;
    struct sign_engine *engine;
    unsigned jobs;
    bool retired;
};

struct signer {
    const struct signer_config *cfg;
    struct key_ring *ring, *next_ring; /* the one in force, the one prepared */
    struct loop *loop;
    struct listener *listener; /* NULL while draining */
    struct control *control;
    struct control_user control_user;
    struct config_follower follower;
    int control_fd;
    struct list connections;
    unsigned connection_count;
    bool draining;
    bool last_answers; /* a connection was closed with unsent output */
    struct timer drain_limit;
    struct buf answer; /* the one being made */
};

struct connection {
    struct signer *signer;
    struct stream *stream;
    struct stream_user user;
    struct deferred turn; /* there may be another frame in the input */
    struct list requests;
    unsigned request_count;
    unsigned open_count; /* of these not answered yet */
    struct list_node node;
};

struct request {
    uint64_t id;
    struct sign_job *job;  /* NULL: answered, or never to be; what still comes is dropped */
    struct key_ring *ring; /* the job's */
    size_t missing_bytes;
    struct list_node node;
};

/* --- requests --- */

static struct request *
find_request(struct connection *c, uint64_t id)
{
    LIST_EACH(&c->requests, it)
    {
        struct request *r = container_of(it, struct request, node);
        if (r->id == id)
            return r;
    }
    return NULL;
}

static void
ring_free(struct key_ring *k)
{
    if (k == NULL)
        return;
    sign_engine_free(k->engine);
    keyset_free(k->keys);
    free(k);
}

static void
ring_retire(struct key_ring *k)
{
    k->retired = true;
    if (k->jobs == 0)
        ring_free(k);
}

static void
end_job(struct connection *c, struct request *r)
{
    if (r->job == NULL)
        return;
    sign_job_free(r->job);
    r->job = NULL;
    c->open_count--;
    if (--r->ring->jobs == 0 && r->ring->retired)
        ring_free(r->ring);
}

static void
drop_request(struct connection *c, struct request *r)
{
    end_job(c, r);
    list_remove(&r->node);
    c->request_count--;
    free(r);
}

static void
send_answer(struct connection *c, uint64_t id, enum sign_frame type, struct slice payload)
{
    struct buf *b = &c->signer->answer;
    buf_clear(b);
    bool fits = frame_add_header(b, (uint8_t)type, id, payload.n) && buf_add(b, payload);
    BUG_ON(!fits);
    stream_send(c->stream, buf_slice(b));
}

static void
answer(struct connection *c, struct request *r, enum sign_status status, const struct err *err)
{
    static const enum sign_frame types[] = {
        [SIGN_REFUSED] = SIGN_FRAME_REFUSED,
        [SIGN_NO_KEY] = SIGN_FRAME_NO_KEY,
        [SIGN_AWAY] = SIGN_FRAME_FAILED,
    };
    if (status == SIGN_AWAY)
        LOG(LOG_ERROR, "signer.failed", LF_ERR(err));
    send_answer(c, r->id, types[status], status == SIGN_NO_KEY ? SLICE_NONE : slice_str(err->text));
    end_job(c, r);
}

static void
finish(struct connection *c, struct request *r)
{
    struct buf fields;
    struct err err = {0};
    buf_init(&fields, SIGN_FIELDS_BYTES_MAX);
    FAILPOINT("sign.in-signer");
    enum sign_status status = sign_job_finish(r->job, &fields, &err);
    if (status == SIGN_OK) {
        send_answer(c, r->id, SIGN_FRAME_SIGNED, buf_slice(&fields));
        end_job(c, r);
    } else {
        answer(c, r, status, &err);
    }
    buf_fini(&fields);
}

/* --- request frames; -1: a breach of the protocol --- */

static int
on_begin(struct connection *c, const struct sign_request *q)
{
    struct err err = {0};
    if (find_request(c, q->request) != NULL || c->request_count == SIGN_JOBS_PER_CONNECTION)
        return -1;
    struct request *r = calloc(1, sizeof *r);
    BUG_ON(r == NULL);
    *r = (struct request){.id = q->request, .missing_bytes = q->message_bytes};
    list_node_init(&r->node);
    list_push(&c->requests, &r->node);
    c->request_count++;
    if (c->signer->draining)
        return 0; /* the client tries it elsewhere when the connection ends */
    r->ring = c->signer->ring;
    enum sign_status status = sign_job_new(r->ring->engine, q->domain, &r->job, &err);
    if (status != SIGN_OK) {
        answer(c, r, status, &err);
        return 0;
    }
    c->open_count++;
    r->ring->jobs++;
    return 0;
}

static int
on_piece(struct connection *c, const struct sign_request *q)
{
    struct err err = {0};
    struct request *r = find_request(c, q->request);
    if (r == NULL || q->piece.n > r->missing_bytes)
        return -1;
    r->missing_bytes -= q->piece.n;
    if (r->job != NULL) {
        enum sign_status status = sign_job_feed(r->job, q->piece, &err);
        if (status != SIGN_OK)
            answer(c, r, status, &err);
        else if (r->missing_bytes == 0)
            finish(c, r);
    }
    if (r->missing_bytes == 0)
        drop_request(c, r);
    return 0;
}

static int
on_abandon(struct connection *c, const struct sign_request *q)
{
    struct request *r = find_request(c, q->request);
    if (r == NULL)
        return -1;
    drop_request(c, r);
    return 0;
}

static int
on_request(struct connection *c, const struct sign_request *q)
{
    switch (q->type) {
    case SIGN_FRAME_BEGIN:
        return on_begin(c, q);
    case SIGN_FRAME_PIECE:
        return on_piece(c, q);
    default:
        return on_abandon(c, q);
    }
}

/* --- connections --- */

static void
drop_connection(struct connection *c, void (*close_stream)(struct stream *s))
{
    struct signer *s = c->signer;
    LIST_EACH(&c->requests, it)
    drop_request(c, container_of(it, struct request, node));
    deferred_cancel(&c->turn);
    list_remove(&c->node);
    s->connection_count--;
    close_stream(c->stream);
    free(c);
    if (s->draining && s->connection_count == 0)
        loop_stop(s->loop);
}

/* Does not wait for the worker to close its side when nothing is left to send. */
static void
end_drained(struct connection *c)
{
    bool unsent = stream_unsent_bytes(c->stream) > 0;
    c->signer->last_answers |= unsent;
    drop_connection(c, unsent ? stream_close : stream_abort);
}

/* One frame, then the others' turn. */
static void
serve(struct deferred *d)
{
    struct connection *c = container_of(d, struct connection, turn);
    struct sign_request q;
    struct slice input = stream_input(c->stream), rest = input;
    if (stream_unsent_bytes(c->stream) > stream_output_high_water())
        return; /* on_drain() goes on */
    enum parse p = sign_request_cut(&rest, &q);
    if (p == PARSE_MORE)
        return;
    if (p == PARSE_BAD || on_request(c, &q) != 0) {
        LOG(LOG_ERROR, "signer.protocol", LF_B("malformed", p == PARSE_BAD));
        drop_connection(c, stream_abort);
        return;
    }
    stream_consume(c->stream, input.n - rest.n);
    if (c->signer->draining && c->open_count == 0)
        end_drained(c);
    else if (rest.n > 0)
        deferred_schedule(&c->turn);
}

static void
on_input(struct stream_user *u)
{
    deferred_schedule(&container_of(u, struct connection, user)->turn);
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    struct connection *c = container_of(u, struct connection, user);
    if (why->code != ERR_CLOSED)
        LOG(LOG_WARN, "signer.connection", LF_ERR(why));
    drop_connection(c, stream_abort);
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct signer *s = owner;
    if (s->connection_count == SIGNER_CONNECTIONS_MAX) {
        LOG0(LOG_ERROR, "signer.too-many-connections");
        stream_abort(stream);
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->signer = s;
    c->stream = stream;
    c->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_input};
    list_init(&c->requests);
    list_node_init(&c->node);
    list_push(&s->connections, &c->node);
    s->connection_count++;
    deferred_init(&c->turn, s->loop, serve);
    stream_set_user(stream, &c->user);
    send_answer(c, 0, SIGN_FRAME_READY, SLICE_NONE);
}

/* --- the process --- */

static void
on_drain_limit(struct timer *t)
{
    loop_stop(container_of(t, struct signer, drain_limit)->loop);
}

static void
start_drain(struct signer *s)
{
    LOG(LOG_INFO, "signer.drain", LF_U("connections", s->connection_count));
    s->draining = true;
    listener_close(s->listener);
    s->listener = NULL;
    control_close(s->control);
    s->control = NULL;
    timer_start(&s->drain_limit, SIGNER_DRAIN_MS);
    LIST_EACH(&s->connections, it)
    {
        struct connection *c = container_of(it, struct connection, node);
        if (c->open_count == 0)
            end_drained(c);
    }
    if (s->connection_count == 0)
        loop_stop(s->loop);
}

static void
on_control_line(struct control_user *u, struct slice line)
{
    struct signer *s = container_of(u, struct signer, control_user);
    if (s->cfg->load == NULL || !config_follow(&s->follower, s->control, line))
        LOG0(LOG_WARN, "signer.control-unknown");
}

static void
on_control_end(struct control_user *u)
{
    start_drain(container_of(u, struct signer, control_user));
}

/* ERR_CONFIG: the keys will not do; takes them over, also when it fails. */
static struct key_ring *
ring_new(struct keyset *keys, struct err *err)
{
    if (keys == NULL)
        return NULL;
    struct key_ring *k = calloc(1, sizeof *k);
    BUG_ON(k == NULL);
    k->keys = keys;
    k->engine = sign_engine_new(keys, err);
    if (k->engine != NULL) {
        if (!sign_engine_uses_shim(k->engine))
            LOG0(LOG_WARN, "signer.slow-keys");
        return k;
    }
    ring_free(k);
    return NULL;
}

/* ---- reload --- */

static int
prepare_reload(struct config_follower *f, const struct config *next, struct err *err)
{
    struct signer *s = container_of(f, struct signer, follower);
    s->next_ring = ring_new(s->cfg->load(next, err), err);
    if (s->next_ring == NULL)
        return -1;
    config_free(next); /* the keys are all of it that stays */
    return 0;
}

static void
commit_reload(struct config_follower *f)
{
    struct signer *s = container_of(f, struct signer, follower);
    ring_retire(s->ring);
    s->ring = s->next_ring;
    s->next_ring = NULL;
    LOG0(LOG_INFO, "signer.reloaded");
}

static void
forget_reload(struct config_follower *f)
{
    struct signer *s = container_of(f, struct signer, follower);
    ring_free(s->next_ring);
    s->next_ring = NULL;
}

/* --- the start --- */

/* Keys must not reach a core file or a debugger. A leak checker is a debugger. */
static void
hide_memory(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__
    prctl(PR_SET_DUMPABLE, 0);
#endif
}

static int
load(struct signer *s, const struct signer_config *cfg, struct err *err)
{
    struct keyset *keys = keyset_load(cfg->keys, cfg->key_count, err);
    if (keys == NULL)
        return EX_CONFIG;
    s->ring = ring_new(keys, err);
    return s->ring != NULL ? EX_OK : EX_SOFTWARE;
}

static int
open_signer(struct signer *s, const struct signer_config *cfg, struct err *err)
{
    int rc = load(s, cfg, err);
    if (rc != EX_OK)
        return rc;
    s->listener = listener_open(s->loop, cfg->listen_fd, INPUT_BYTES, on_accept, s, err);
    if (s->listener == NULL)
        return EX_SOFTWARE;
    s->control = control_open(s->loop, cfg->control_fd, &s->control_user, err);
    return s->control != NULL ? EX_OK : EX_SOFTWARE;
}

static void
close_signer(struct signer *s)
{
    LIST_EACH(&s->connections, it)
    drop_connection(container_of(it, struct connection, node), stream_abort);
    timer_cancel(&s->drain_limit);
    control_close(s->control);
    listener_close(s->listener);
    if (s->last_answers) {
        timer_start(&s->drain_limit, LAST_ANSWERS_MS);
        loop_run(s->loop);
    }
    loop_free(s->loop);
    ring_free(s->next_ring);
    ring_free(s->ring);
    buf_fini(&s->answer);
    close(s->control_fd);
}

int
signer_run(const struct signer_config *cfg)
{
    struct signer s = {
        .cfg = cfg,
        .control_fd = cfg->control_fd,
        .control_user = {.on_line = on_control_line, .on_end = on_control_end},
        .follower = {.control_fd = cfg->control_fd,
                     .prepare = prepare_reload,
                     .commit = commit_reload,
                     .forget = forget_reload},
    };
    struct err err = {0};
    hide_memory();
    list_init(&s.connections);
    buf_init(&s.answer, FRAME_HEADER_BYTES + SIGN_FIELDS_BYTES_MAX);
    s.loop = loop_new();
    timer_init(&s.drain_limit, s.loop, on_drain_limit);
    int rc = open_signer(&s, cfg, &err);
    if (rc == EX_OK) {
        LOG(LOG_INFO, "signer.ready", LF_U("keys", cfg->key_count));
        loop_run(s.loop);
    } else {
        LOG(LOG_ERROR, "signer.start", LF_ERR(&err));
    }
    close_signer(&s);
    return rc;
}
