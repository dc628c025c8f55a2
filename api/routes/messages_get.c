/* GET /v1/messages/{id}: what became of each recipient. */
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

struct status {
    struct http_request *request;
    struct arena arena;
    struct queue_lookup_op lookup;
};

static void
on_found(struct queue_lookup_op *op)
{
    struct status *s = container_of(op, struct status, lookup);
    if (op->err.code == ERR_NONE && op->message != NULL) {
        struct buf body;
        struct writer w;
        buf_init(&body, API_ANSWER_MAX);
        writer_init(&w, &body);
        view_message(&w, NULL, op->message, s->request->admin);
        api_respond_json(s->request, 200, &body);
    } else {
        view_refuse(s->request, &op->err);
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
        view_not_found(r);
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
