/*
 * POST /v1/messages/{id}/cancel, retry, hold, release: changes what waits. The
 * body may name recipients: {"recipients":["a@b.example"]}.
 */
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/json/reader.h"
#include "api/mailbox.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

struct change {
    struct http_request *request;
    struct queue_action_op op;
};

static void
answer(struct http_request *r, const struct queue_action_op *op)
{
    char id[ID_TEXT_BYTES + 1];
    struct buf body;
    struct writer w;
    id_format(op->id, id);
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_string(&w, "id", slice_str(id));
    writer_number(&w, "affected", op->affected);
    writer_number(&w, "in_flight", op->in_flight);
    writer_close(&w, '}');
    api_respond_json(r, 200, &body);
}

static void
on_acted(struct queue_action_op *op)
{
    struct change *c = container_of(op, struct change, op);
    struct http_request *r = c->request;
    if (op->err.code != ERR_NONE)
        view_refuse(r, &op->err);
    else if (op->affected > 0)
        answer(r, op);
    else if (op->in_flight > 0)
        problem_say(r, 409, "in_flight", "it is being delivered now; ask again when that is over");
    else
        problem_say(r, 409, "nothing_to_do", "no recipient is in a state that this applies to");
    free(c);
}

static void
on_gone(struct http_request *r)
{
    struct change *c = r->state;
    queue_action_cancel(&c->op);
}

/* ---- the body --------------------------------------------------------------- */

static bool
add_recipient(struct http_request *r, const json_t *v, struct slice *out)
{
    struct api_mailbox box;
    const char *why;
    if (!json_is_string(v) || !mailbox_read(reader_string(v), &r->arena, &box, &why))
        return false;
    *out = box.address;
    return true;
}

/* false: answered. */
static bool
read_list(struct http_request *r, const json_t *o, struct queue_action_op *op)
{
    const json_t *list = json_object_get(o, "recipients");
    size_t n = json_array_size(list);
    if (json_object_size(o) != (list != NULL) || (list != NULL && !json_is_array(list)) ||
        (list != NULL && n == 0) || n > API_RECIPIENTS_MAX) {
        problem_say(r, 422, "invalid_fields", "only a list \"recipients\" may be given");
        return false;
    }
    struct slice *to = arena_alloc(&r->arena, (n + 1) * sizeof *to);
    for (size_t i = 0; i < n; i++)
        if (to == NULL || !add_recipient(r, json_array_get(list, i), &to[i])) {
            problem_say(r, 422, "invalid_address", "a recipient is no address");
            return false;
        }
    op->recipients = to;
    op->recipient_count = (unsigned)n;
    return true;
}

static bool
read_body(struct http_request *r, struct queue_action_op *op)
{
    char why[256];
    struct slice text = slice_trim(buf_slice(&r->body));
    if (text.n == 0)
        return true;
    json_t *o = reader_parse_object(text, why, sizeof why);
    if (o == NULL) {
        problem_say(r, 400, "invalid_json", why);
        return false;
    }
    bool ok = read_list(r, o, op);
    json_decref(o);
    return ok;
}

/* ---- routes ----------------------------------------------------------------- */

bool
messages_act_admit(struct http_request *r)
{
    return api_admit_key(r) && api_admit_type(r, "application/json");
}

static void
act(struct http_request *r, enum queue_action action)
{
    const struct api *a = r->app;
    struct queue_action_op op = {.done = on_acted, .action = action};
    if (!api_scope_tenant(r, &op.tenant))
        return;
    if (!id_parse(r->path_arg, &op.id)) {
        view_not_found(r);
        return;
    }
    if (!read_body(r, &op))
        return;
    struct change *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->request = r;
    c->op = op;
    r->state = c;
    r->on_gone = on_gone;
    queue_action_start(&c->op, a->parts.queue);
}

void
messages_cancel(struct http_request *r)
{
    act(r, QUEUE_CANCEL);
}

void
messages_retry(struct http_request *r)
{
    act(r, QUEUE_RETRY);
}

void
messages_hold(struct http_request *r)
{
    act(r, QUEUE_HOLD);
}

void
messages_release(struct http_request *r)
{
    act(r, QUEUE_RELEASE);
}
