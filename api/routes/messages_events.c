/*
 * GET /v1/messages/{id}/events: what happened to it, oldest first.
 * GET /v1/messages/{id}/raw: its bytes, while they are kept.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* Who asks for what. False: answered. */
static bool
read_question(struct http_request *r, struct msg_id *id, struct slice *tenant)
{
    if (!api_scope_tenant(r, tenant))
        return false;
    if (id_parse(r->path_arg, id))
        return true;
    view_not_found(r);
    return false;
}

/* ---- events ----------------------------------------------------------------- */

struct story {
    struct http_request *request;
    struct arena arena;
    struct queue_events_op op;
};

static const char *const TYPES[QUEUE_EVENT_KINDS] = {
    [QUEUE_EVENT_ACCEPTED] = "message.accepted",
    [QUEUE_EVENT_DEFERRED] = "delivery.deferred",
    [QUEUE_EVENT_SUCCEEDED] = "delivery.succeeded",
    [QUEUE_EVENT_BOUNCED] = "delivery.bounced",
    [QUEUE_EVENT_EXPIRED] = "delivery.expired",
    [QUEUE_EVENT_SUPPRESSED] = "delivery.suppressed",
    [QUEUE_EVENT_HELD] = "delivery.held",
    [QUEUE_EVENT_CANCELLED] = "message.cancelled",
    [QUEUE_EVENT_RELEASED] = "message.released",
    [QUEUE_EVENT_RETRIED] = "message.retried",
    [QUEUE_EVENT_NOTICE] = "ndr.sent",
};

static void
write_event(struct writer *w, const struct queue_event *e)
{
    char id[64], ndr[ID_TEXT_BYTES + 1] = "";
    snprintf(id, sizeof id, "%u.%u.%u.%u", e->record, (unsigned)e->kind, e->delivery, e->target);
    if (e->kind == QUEUE_EVENT_NOTICE)
        id_format(e->notice_id, ndr);
    writer_open(w, NULL, '{');
    writer_string(w, "id", slice_str(id));
    writer_time(w, "time", e->at_unix_ms);
    writer_string(w, "type", slice_str(TYPES[e->kind]));
    writer_string_or_null(w, "recipient", e->recipient);
    writer_string_or_null(w, "domain", e->domain);
    writer_number(w, "attempt", e->attempt);
    view_response(w, "response", e->reply);
    if (e->retry_at_unix_ms > 0)
        writer_time(w, "retry_at", e->retry_at_unix_ms);
    else
        writer_null(w, "retry_at");
    writer_bool(w, "uncertain", e->uncertain);
    if (e->kind == QUEUE_EVENT_NOTICE)
        writer_string(w, "ndr_id", slice_str(ndr));
    writer_close(w, '}');
}

static void
on_events(struct queue_events_op *op)
{
    struct story *s = container_of(op, struct story, op);
    if (op->err.code == ERR_NONE) {
        struct buf body;
        struct writer w;
        buf_init(&body, API_ANSWER_MAX);
        writer_init(&w, &body);
        writer_open(&w, NULL, '{');
        writer_open(&w, "data", '[');
        for (unsigned i = 0; i < op->count; i++)
            write_event(&w, &op->events[i]);
        writer_close(&w, ']');
        writer_number(&w, "dropped", op->dropped);
        writer_close(&w, '}');
        api_respond_json(s->request, 200, &body);
    } else {
        view_refuse(s->request, &op->err);
    }
    arena_fini(&s->arena);
    free(s);
}

static void
on_events_gone(struct http_request *r)
{
    struct story *s = r->state;
    queue_events_cancel(&s->op);
}

void
messages_events(struct http_request *r)
{
    const struct api *a = r->app;
    struct queue_events_op op = {.done = on_events};
    if (!read_question(r, &op.id, &op.tenant))
        return;
    struct story *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->request = r;
    arena_init(&s->arena, API_EVENTS_ARENA_MAX);
    s->op = op;
    s->op.arena = &s->arena;
    r->state = s;
    r->on_gone = on_events_gone;
    queue_events_start(&s->op, a->parts.queue);
}

/* ---- bytes ------------------------------------------------------------------ */

struct source {
    struct http_request *request;
    struct api *api;
    struct queue_raw_op op;
};

static void
answer_bytes(struct source *s)
{
    struct slice piece[2];
    struct buf whole;
    int pieces = content_pieces(&s->op.content, piece);
    buf_init(&whole, content_bytes(&s->op.content));
    for (int i = 0; i < pieces; i++)
        buf_add(&whole, piece[i]);
    http_respond(s->request, &(struct http_reply){.status = 200,
                                                  .content_type = "message/rfc822",
                                                  .body = buf_slice(&whole)});
    buf_fini(&whole);
}

static void
on_raw(struct queue_raw_op *op)
{
    struct source *s = container_of(op, struct source, op);
    if (op->err.code == ERR_NONE)
        answer_bytes(s);
    else if (op->err.code == ERR_STALE)
        problem_say(s->request, 404, "body_gone",
                    "the message is finished, its bytes are not kept any more");
    else
        view_refuse(s->request, &op->err);
    content_unref(&op->content);
    s->api->sources--;
    free(s);
}

static void
on_raw_gone(struct http_request *r)
{
    struct source *s = r->state;
    queue_raw_cancel(&s->op);
}

/* Each is a whole message in memory, until its client has read it: one tenant with one
 * large message and many connections could have all there is. */
static bool
has_room(struct http_request *r)
{
    const struct api *a = r->app;
    if (a->sources < API_SOURCES_AT_ONCE && http_server_unsent_bytes(a->http) <= API_UNSENT_MAX)
        return true;
    problem_respond(r, &(struct problem){.status = 503,
                                         .code = "busy",
                                         .detail = "too many messages are being shown",
                                         .retry_after_s = 1});
    return false;
}

void
messages_source(struct http_request *r)
{
    struct api *a = r->app;
    struct queue_raw_op op = {.done = on_raw};
    if (!read_question(r, &op.id, &op.tenant) || !has_room(r))
        return;
    struct source *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->request = r;
    s->api = a;
    a->sources++;
    s->op = op;
    r->state = s;
    r->on_gone = on_raw_gone;
    queue_raw_start(&s->op, a->parts.queue);
}
