/* GET /v1/messages/{id}: what became of each recipient. */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/mime.h"
#include "api/routes/routes.h"
#include "queue/queue.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/envelope.h"

struct status {
    struct http_request *request;
    struct arena arena;
    struct queue_lookup_op lookup;
};

/* Least finished first; among finished ones what a sender must know first. */
static const enum queue_state ORDER[] = {
    QUEUE_QUEUED,  QUEUE_DEFERRED,   QUEUE_HELD,      QUEUE_BOUNCED,
    QUEUE_EXPIRED, QUEUE_SUPPRESSED, QUEUE_CANCELLED, QUEUE_DELIVERED,
};

static bool
some_target_is(const struct queue_message *m, enum queue_state state)
{
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; j < m->deliveries[i].target_count; j++)
            if (m->deliveries[i].targets[j].state == state)
                return true;
    return false;
}

static enum queue_state
state_of(const struct queue_message *m)
{
    for (size_t i = 0; i < ARRAY_LEN(ORDER); i++)
        if (some_target_is(m, ORDER[i]))
            return ORDER[i];
    return QUEUE_DELIVERED;
}

static void
write_response(struct writer *w, struct slice record)
{
    struct verdict v;
    if (record.n == 0 || !verdict_decode(record, &v)) {
        writer_null(w, "last_response");
        return;
    }
    char enhanced[32] = "";
    if (v.enhanced[0] != 0)
        snprintf(enhanced, sizeof enhanced, "%u.%u.%u", v.enhanced[0], v.enhanced[1],
                 v.enhanced[2]);
    writer_open(w, "last_response", '{');
    if (v.code > 0)
        writer_number(w, "code", v.code);
    else
        writer_null(w, "code"); /* nobody replied: the finding is our own */
    writer_string_or_null(w, "enhanced", slice_str(enhanced));
    writer_string(w, "text", v.text);
    writer_string_or_null(w, "mx", v.mx);
    writer_close(w, '}');
}

static void
write_recipient(struct writer *w, const struct queue_delivery *d, const struct queue_target *t)
{
    char ndr[ID_TEXT_BYTES + 1] = "";
    if (t->has_notice_id)
        id_format(t->notice_id, ndr);
    bool waiting = t->state == QUEUE_QUEUED || t->state == QUEUE_DEFERRED;
    writer_open(w, NULL, '{');
    writer_string(w, "email", t->address);
    writer_string(w, "status", slice_str(queue_state_name(t->state)));
    writer_number(w, "attempts", t->attempts);
    if (waiting && d->due_unix_ms > 0)
        writer_time(w, "next_attempt_at", d->due_unix_ms);
    else
        writer_null(w, "next_attempt_at");
    write_response(w, t->reply);
    writer_bool(w, "uncertain", t->uncertain);
    writer_string_or_null(w, "ndr_id", slice_str(ndr));
    writer_close(w, '}');
}

static void
write_subject(struct writer *w, struct slice subject)
{
    struct buf decoded;
    buf_init(&decoded, HEADER_FIELD_MAX);
    mime_add_decoded(&decoded, subject);
    writer_string(w, "subject", buf_slice(&decoded));
    buf_fini(&decoded);
}

static void
write_message(struct buf *out, const struct queue_message *m, bool with_tenant)
{
    char id[ID_TEXT_BYTES + 1];
    struct envelope e;
    struct writer w;
    id_format(m->id, id);
    if (!envelope_decode(m->envelope, &e))
        e = (struct envelope){.reverse_path = SLICE_NONE};
    writer_init(&w, out);
    writer_open(&w, NULL, '{');
    writer_string(&w, "id", slice_str(id));
    if (with_tenant)
        writer_string(&w, "tenant", m->tenant);
    writer_string(&w, "status", slice_str(queue_state_name(state_of(m))));
    writer_string(&w, "from", e.reverse_path);
    write_subject(&w, e.subject);
    writer_time(&w, "created_at", m->created_unix_ms);
    writer_number(&w, "size", m->size_bytes);
    writer_open(&w, "recipients", '[');
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; j < m->deliveries[i].target_count; j++)
            write_recipient(&w, &m->deliveries[i], &m->deliveries[i].targets[j]);
    writer_close(&w, ']');
    writer_close(&w, '}');
}

static void
say_not_found(struct http_request *r)
{
    problem_say(r, 404, "not_found", "there is no such message");
}

static void
on_found(struct queue_lookup_op *op)
{
    struct status *s = container_of(op, struct status, lookup);
    if (op->err.code == ERR_NONE && op->message != NULL) {
        struct buf body;
        buf_init(&body, API_ANSWER_MAX);
        write_message(&body, op->message, s->request->admin);
        api_respond_json(s->request, 200, &body);
    } else if (op->err.code == ERR_NOT_FOUND || op->err.code == ERR_NONE) {
        say_not_found(s->request);
    } else if (op->err.code == ERR_FULL) {
        problem_say(s->request, 500, "answer_too_large",
                    "the message has more recipients than one answer can hold");
    } else {
        problem_respond(s->request, &(struct problem){.status = 503,
                                                      .code = "queue_away",
                                                      .detail = "the queue cannot be reached",
                                                      .retry_after_s = 5});
    }
    arena_fini(&s->arena);
    free(s);
}

static void
on_gone(struct http_request *r)
{
    struct status *s = r->state;
    queue_lookup_cancel(&s->lookup);
}

void
messages_get(struct http_request *r)
{
    const struct api *a = r->app;
    struct slice tenant;
    struct msg_id id;
    if (!api_scope_tenant(r, &tenant))
        return;
    if (!id_parse(r->path_arg, &id)) {
        say_not_found(r);
        return;
    }
    struct status *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->request = r;
    arena_init(&s->arena, API_MESSAGE_ARENA_MAX);
    s->lookup =
        (struct queue_lookup_op){.done = on_found, .id = id, .tenant = tenant, .arena = &s->arena};
    r->state = s;
    r->on_gone = on_gone;
    queue_lookup_start(&s->lookup, a->parts.queue);
}
