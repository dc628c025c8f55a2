/*
 * GET /v1/queues, GET /v1/queues/{domain}: what waits for whom, by next hop,
 * tenant and class, most first.
 */
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/http/query.h"
#include "api/parameters.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/address.h"

struct summary {
    struct http_request *request;
    struct arena arena;
    bool shape;
    struct queue_summary_op op;
};

/* ---- answering -------------------------------------------------------------- */

static void
write_time_or_null(struct writer *w, const char *key, int64_t unix_ms)
{
    if (unix_ms > 0)
        writer_time(w, key, unix_ms);
    else
        writer_null(w, key);
}

static void
write_ages(struct writer *w, const struct queue_row *row)
{
    writer_open(w, "ages", '[');
    for (unsigned i = 0; i < QUEUE_AGES; i++) {
        writer_open(w, NULL, '{');
        if (i < QUEUE_AGES - 1)
            writer_number(w, "up_to_minutes", QUEUE_AGE_MINUTES[i]);
        else
            writer_null(w, "up_to_minutes");
        writer_number(w, "count", row->ages[i]);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void
write_row(struct writer *w, const struct summary *s, const struct queue_row *row)
{
    static const char *const CLASSES[] = {
        [QUEUE_TRANSACTIONAL] = "transactional", [QUEUE_BULK] = "bulk"};
    writer_open(w, NULL, '{');
    writer_string(w, "domain", row->next_hop);
    if (s->request->admin)
        writer_string(w, "tenant", row->tenant);
    writer_string(w, "class", slice_str(CLASSES[row->klass]));
    writer_number(w, "queued", row->queued);
    writer_number(w, "deferred", row->deferred);
    writer_number(w, "held", row->held);
    writer_number(w, "inflight", row->inflight);
    write_time_or_null(w, "oldest_at", row->oldest_unix_ms);
    write_time_or_null(w, "next_attempt_at", row->next_due_unix_ms);
    view_response(w, "last_response", row->reply);
    writer_bool(w, "sampled", row->sampled);
    if (s->shape)
        write_ages(w, row);
    writer_close(w, '}');
}

/* Queued and deferred of all rows, in the proportion of those that are shown. */
static void
write_total(struct writer *w, const struct queue_summary_op *op)
{
    uint64_t deferred = 0, shown = 0;
    for (unsigned i = 0; i < op->count; i++) {
        deferred += op->rows[i].deferred;
        shown += op->rows[i].queued + op->rows[i].deferred;
    }
    if (shown > 0 && shown < op->total.queued)
        deferred = deferred * op->total.queued / shown;
    writer_open(w, "total", '{');
    writer_number(w, "queued", op->total.queued - deferred);
    writer_number(w, "deferred", deferred);
    writer_number(w, "held", op->total.held);
    writer_number(w, "inflight", op->total.inflight);
    writer_close(w, '}');
}

static void
answer(struct summary *s)
{
    struct buf body;
    struct writer w;
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_open(&w, "data", '[');
    for (unsigned i = 0; i < s->op.count; i++)
        write_row(&w, s, &s->op.rows[i]);
    writer_close(&w, ']');
    write_total(&w, &s->op);
    writer_bool(&w, "truncated", s->op.truncated);
    writer_close(&w, '}');
    api_respond_json(s->request, 200, &body);
}

static void
on_summary(struct queue_summary_op *op)
{
    struct summary *s = container_of(op, struct summary, op);
    if (op->err.code == ERR_NONE)
        answer(s);
    else
        view_refuse(s->request, &op->err);
    arena_fini(&s->arena);
    free(s);
}

static void
on_gone(struct http_request *r)
{
    struct summary *s = r->state;
    queue_summary_cancel(&s->op);
}

/* ---- asking ----------------------------------------------------------------- */

static void
ask(struct http_request *r, struct slice domain)
{
    const struct api *a = r->app;
    struct parameters p;
    struct queue_summary_op op = {
        .done = on_summary, .limit = API_LIST_DEFAULT, .next_hop = domain};
    if (!api_scope_tenant(r, &op.tenant) || !parameters_read(&p, r, "limit shape"))
        return;
    struct slice shape = parameters_text(&p, "shape");
    if (shape.n > 0 && !slice_eq(shape, SLICE("0")) && !slice_eq(shape, SLICE("1")))
        parameters_wrong(&p, "shape", "out_of_range", "0 or 1 is needed");
    parameters_number(&p, "limit", QUEUE_SUMMARY_ROWS_MAX, &op.limit);
    if (!parameters_good(&p))
        return;
    struct summary *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->request = r;
    s->shape = slice_eq(shape, SLICE("1"));
    arena_init(&s->arena, API_MESSAGE_ARENA_MAX);
    s->op = op;
    s->op.arena = &s->arena;
    r->state = s;
    r->on_gone = on_gone;
    queue_summary_start(&s->op, a->parts.queue);
}

void
queues_list(struct http_request *r)
{
    ask(r, SLICE_NONE);
}

/* The domain of the path, as queues are named: lower case, A-labels. */
static bool
domain_read(struct http_request *r, struct slice *out)
{
    struct slice text;
    struct buf canonical;
    buf_init(&canonical, (size_t)2 * ADDRESS_DOMAIN_MAX);
    bool ok = query_decode(r->path_arg, &r->arena, &text) &&
              domain_add_canonical(text, &canonical) &&
              arena_copy(&r->arena, buf_slice(&canonical), out);
    buf_fini(&canonical);
    return ok && out->n > 0;
}

void
queues_get(struct http_request *r)
{
    struct slice domain;
    if (domain_read(r, &domain))
        ask(r, domain);
    else
        problem_say(r, 404, "not_found", "that is no domain");
}
