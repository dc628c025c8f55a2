/* GET /v1/messages: which messages there are, newest first, by pages. */
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/parameters.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

struct listing {
    struct http_request *request;
    struct arena arena;
    struct queue_list_op op;
    struct slice status; /* asked for; empty: any */
};

/* The queue knows no "scheduled": it is queued with a later time. What is of the
 * other kind is left out here, so that a page may have fewer than `limit`. */
static bool
is_wanted(const struct listing *l, const struct queue_message *m)
{
    return l->status.n == 0 || slice_eq(l->status, view_status(m));
}

static void
answer(struct listing *l)
{
    char next[ID_TEXT_BYTES + 1] = "";
    struct buf body;
    struct writer w;
    if (l->op.has_more)
        id_format(l->op.next, next);
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_open(&w, "data", '[');
    for (unsigned i = 0; i < l->op.count; i++)
        if (is_wanted(l, l->op.messages[i]))
            view_message(&w, NULL, l->op.messages[i], l->request->admin);
    writer_close(&w, ']');
    writer_bool(&w, "has_more", l->op.has_more);
    writer_string_or_null(&w, "next", slice_str(next));
    writer_close(&w, '}');
    api_respond_json(l->request, 200, &body);
}

static void
on_listed(struct queue_list_op *op)
{
    struct listing *l = container_of(op, struct listing, op);
    if (op->err.code == ERR_NONE)
        answer(l);
    else
        view_refuse(l->request, &op->err);
    arena_fini(&l->arena);
    free(l);
}

static void
on_gone(struct http_request *r)
{
    struct listing *l = r->state;
    queue_list_cancel(&l->op);
}

static void
read_status(struct parameters *p, struct queue_list_op *op, struct slice *status)
{
    struct slice text = parameters_text(p, "status");
    if (text.n == 0)
        return;
    if (slice_eq(text, SLICE("scheduled"))) {
        *status = SLICE("scheduled");
        op->has_wanted = true;
        op->wanted = QUEUE_QUEUED;
        return;
    }
    for (int s = QUEUE_QUEUED; s <= QUEUE_CANCELLED; s++)
        if (slice_eq(text, slice_str(queue_state_name((enum queue_state)s)))) {
            op->has_wanted = true;
            op->wanted = (enum queue_state)s;
            *status = slice_str(queue_state_name(op->wanted));
            return;
        }
    parameters_wrong(p, "status", "unknown_status", "there is no such status");
}

static void
read_after(struct parameters *p, struct queue_list_op *op)
{
    struct slice text = parameters_text(p, "after");
    op->has_after = text.n > 0;
    if (op->has_after && !id_parse(text, &op->after))
        parameters_wrong(p, "after", "invalid_cursor", "the cursor is not one of ours");
}

void
messages_list(struct http_request *r)
{
    const struct api *a = r->app;
    struct parameters p;
    struct slice status = SLICE_NONE;
    struct queue_list_op op = {.done = on_listed, .limit = API_LIST_DEFAULT};
    if (!api_scope_tenant(r, &op.tenant) ||
        !parameters_read(&p, r, "to status since until limit after"))
        return;
    parameters_address(&p, "to", &op.recipient);
    read_status(&p, &op, &status);
    parameters_time(&p, "since", &op.since_unix_ms);
    parameters_time(&p, "until", &op.until_unix_ms);
    parameters_number(&p, "limit", QUEUE_LIST_LIMIT_MAX, &op.limit);
    read_after(&p, &op);
    if (!parameters_good(&p))
        return;
    struct listing *l = calloc(1, sizeof *l);
    BUG_ON(l == NULL);
    l->request = r;
    /* What JSON makes of it must fit into an answer: it is about as long. */
    arena_init(&l->arena, API_ANSWER_MAX / 2);
    l->op = op;
    l->status = status;
    l->op.arena = &l->arena;
    r->state = l;
    r->on_gone = on_gone;
    queue_list_start(&l->op, a->parts.queue);
}
