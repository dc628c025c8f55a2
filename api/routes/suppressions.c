/*
 * GET /v1/suppressions; GET, PUT, DELETE /v1/suppressions/{email}: the addresses
 * to which a tenant's mail is not sent. What waits for an address that is put on
 * the list is suppressed too.
 */
#include <stdlib.h>
#include <string.h>

#include "api/api_internal.h"
#include "api/http/hex.h"
#include "api/http/query.h"
#include "api/json/reader.h"
#include "api/mailbox.h"
#include "api/parameters.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "queue/suppression.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum {
    CURSOR = QUEUE_SUPPRESSION_CURSOR_BYTES,
    CURSOR_TEXT = 2 * CURSOR, /* in hex */
    ENTRY_ANSWER_MAX = 16 << 10,
};

static void
write_entry(struct writer *w, const struct queue_suppression *e, bool with_tenant)
{
    writer_string(w, "email", e->address);
    writer_string(w, "reason", slice_str(queue_suppression_reason_name(e->reason)));
    if (e->created_unix_ms > 0)
        writer_time(w, "created_at", e->created_unix_ms);
    else
        writer_null(w, "created_at");
    if (with_tenant)
        writer_string(w, "tenant", e->tenant);
}

/* ---- the list --------------------------------------------------------------- */

struct listing {
    struct http_request *request;
    struct arena arena;
    struct queue_suppressions_op op;
};

static void
format_cursor(const uint8_t *cursor, char out[CURSOR_TEXT + 1])
{
    static const char DIGITS[] = "0123456789abcdef";
    for (size_t i = 0; i < CURSOR; i++) {
        out[2 * i] = DIGITS[cursor[i] >> 4];
        out[2 * i + 1] = DIGITS[cursor[i] & 15];
    }
    out[CURSOR_TEXT] = '\0';
}

static bool
parse_cursor(struct slice text, uint8_t *out)
{
    if (text.n != CURSOR_TEXT)
        return false;
    for (size_t i = 0; i < CURSOR; i++) {
        int high = hex_digit(text.p[2 * i]), low = hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static void
on_listed(struct queue_suppressions_op *op)
{
    struct listing *l = container_of(op, struct listing, op);
    if (op->err.code == ERR_NONE) {
        char next[CURSOR_TEXT + 1] = "";
        struct buf body;
        struct writer w;
        if (op->has_more)
            format_cursor(op->next, next);
        buf_init(&body, API_ANSWER_MAX);
        writer_init(&w, &body);
        writer_open(&w, NULL, '{');
        writer_open(&w, "data", '[');
        for (unsigned i = 0; i < op->count; i++) {
            writer_open(&w, NULL, '{');
            write_entry(&w, &op->entries[i], l->request->admin);
            writer_close(&w, '}');
        }
        writer_close(&w, ']');
        writer_bool(&w, "has_more", op->has_more);
        writer_string_or_null(&w, "next", slice_str(next));
        writer_close(&w, '}');
        api_respond_json(l->request, 200, &body);
    } else {
        view_refuse(l->request, &op->err);
    }
    arena_fini(&l->arena);
    free(l);
}

static void
on_list_gone(struct http_request *r)
{
    struct listing *l = r->state;
    queue_suppressions_cancel(&l->op);
}

void
suppressions_list(struct http_request *r)
{
    const struct api *a = r->app;
    struct parameters p;
    struct queue_suppressions_op op = {.done = on_listed, .limit = API_LIST_DEFAULT};
    if (!api_scope_tenant(r, &op.tenant) || !parameters_read(&p, r, "limit after"))
        return;
    struct slice after = parameters_text(&p, "after");
    op.has_after = after.n > 0;
    if (op.has_after && !parse_cursor(after, op.after))
        parameters_wrong(&p, "after", "invalid_cursor", "the cursor is not one of ours");
    parameters_number(&p, "limit", QUEUE_LIST_LIMIT_MAX, &op.limit);
    if (!parameters_good(&p))
        return;
    struct listing *l = calloc(1, sizeof *l);
    BUG_ON(l == NULL);
    l->request = r;
    arena_init(&l->arena, API_MESSAGE_ARENA_MAX);
    l->op = op;
    l->op.arena = &l->arena;
    r->state = l;
    r->on_gone = on_list_gone;
    queue_suppressions_start(&l->op, a->parts.queue);
}

/* ---- one entry ---------------------------------------------------------------- */

struct entry {
    struct http_request *request;
    struct queue_suppression_op op;
    struct queue_sweep_op sweep; /* of what waits, after PUT */
    bool sweeping;
};

static void
answer_entry(struct entry *e)
{
    struct http_request *r = e->request;
    struct buf body;
    struct writer w;
    buf_init(&body, ENTRY_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    write_entry(&w, &e->op.entry, r->admin);
    if (e->sweeping)
        writer_number(&w, "affected", e->sweep.affected);
    writer_close(&w, '}');
    api_respond_json(r, e->sweeping && !e->op.existed ? 201 : 200, &body);
}

static void
on_swept(struct queue_sweep_op *op)
{
    struct entry *e = container_of(op, struct entry, sweep);
    if (op->err.code == ERR_NONE)
        answer_entry(e);
    else
        view_refuse(e->request, &op->err); /* asking again goes on */
    free(e);
}

/* What waits for the address is not sent either. */
static void
sweep(struct entry *e)
{
    const struct api *a = e->request->app;
    e->sweeping = true;
    e->sweep = (struct queue_sweep_op){.done = on_swept,
                                       .tenant = e->op.tenant,
                                       .recipient = e->op.address,
                                       .action = QUEUE_SUPPRESS};
    queue_sweep_start(&e->sweep, a->parts.queue);
}

static void
on_entry(struct queue_suppression_op *op)
{
    struct entry *e = container_of(op, struct entry, op);
    struct http_request *r = e->request;
    if (op->err.code == ERR_NONE && op->verb == QUEUE_SUPPRESSION_PUT) {
        sweep(e);
        return;
    }
    if (op->err.code == ERR_FULL)
        problem_respond(r, &(struct problem){.status = 503,
                                             .code = "queue_full",
                                             .detail = "the queue has no room",
                                             .retry_after_s = 5});
    else if (op->err.code != ERR_NONE)
        view_refuse(r, &op->err);
    else if (!op->existed)
        problem_say(r, 404, "not_found", "the address is not on the list");
    else if (op->verb == QUEUE_SUPPRESSION_REMOVE)
        http_respond(r, &(struct http_reply){.status = 204});
    else
        answer_entry(e);
    free(e);
}

static void
on_entry_gone(struct http_request *r)
{
    struct entry *e = r->state;
    if (e->sweeping)
        queue_sweep_cancel(&e->sweep);
    else
        queue_suppression_cancel(&e->op);
}

/* Whose list, which address. False: answered. */
static bool
read_place(struct http_request *r, struct queue_suppression_op *op)
{
    struct slice text;
    struct api_mailbox box;
    const char *why = "the path cannot be read";
    if (!api_scope_tenant(r, &op->tenant))
        return false;
    if (op->tenant.n == 0) {
        problem_say(r, 422, "tenant_needed", "an operator says whose list is meant: ?tenant=NAME");
        return false;
    }
    if (!query_decode(r->path_arg, &r->arena, &text) ||
        !mailbox_read(text, &r->arena, &box, &why)) {
        problem_say(r, 422, "invalid_address", why);
        return false;
    }
    op->address = box.address;
    return true;
}

/* {"reason":"complaint"}; nothing: manual. False: answered. */
static bool
read_reason(struct http_request *r, enum queue_suppression_reason *reason)
{
    char why[256];
    struct slice text = slice_trim(buf_slice(&r->body));
    *reason = QUEUE_SUPPRESSED_MANUAL;
    if (text.n == 0)
        return true;
    json_t *o = reader_parse_object(text, why, sizeof why);
    if (o == NULL) {
        problem_say(r, 400, "invalid_json", why);
        return false;
    }
    const json_t *v = json_object_get(o, "reason");
    bool ok = json_object_size(o) == (v != NULL);
    int found = v == NULL ? 0 : QUEUE_SUPPRESSION_REASONS;
    for (int i = 0; json_is_string(v) && i < QUEUE_SUPPRESSION_REASONS; i++) {
        const char *name = queue_suppression_reason_name((enum queue_suppression_reason)i);
        if (slice_eq(reader_string(v), slice_str(name)))
            found = i;
    }
    json_decref(o);
    if (!ok || found == QUEUE_SUPPRESSION_REASONS) {
        problem_say(r, 422, "invalid_fields",
                    "only a reason may be given: manual, hard_bounce or complaint");
        return false;
    }
    *reason = (enum queue_suppression_reason)found;
    return true;
}

static void
start(struct http_request *r, enum queue_suppression_verb verb)
{
    const struct api *a = r->app;
    struct queue_suppression_op op = {.done = on_entry, .verb = verb};
    if (!read_place(r, &op) || (verb == QUEUE_SUPPRESSION_PUT && !read_reason(r, &op.entry.reason)))
        return;
    struct entry *e = calloc(1, sizeof *e);
    BUG_ON(e == NULL);
    e->request = r;
    e->op = op;
    r->state = e;
    r->on_gone = on_entry_gone;
    queue_suppression_start(&e->op, a->parts.queue);
}

void
suppressions_get(struct http_request *r)
{
    start(r, QUEUE_SUPPRESSION_GET);
}

void
suppressions_put(struct http_request *r)
{
    start(r, QUEUE_SUPPRESSION_PUT);
}

void
suppressions_delete(struct http_request *r)
{
    start(r, QUEUE_SUPPRESSION_REMOVE);
}
