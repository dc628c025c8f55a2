/*
 * POST /v1/messages/validate: what would be said of a message, JSON as for
 * POST /v1/messages or message/rfc822. Nothing is queued, counted or signed.
 *
 * Happy path: compile (on the work pool when the body is large), ask the
 * suppression list and the preflight at the same time, judge, answer 200. Ways it
 * ends: a draft that is refused as POST /v1/messages would (400, 422, 413);
 * the queue is away (503); the client is gone: both questions are cancelled.
 */
#include <stdlib.h>

#include "api/message.h"
#include "api/routes/routes.h"
#include "api/submission.h"
#include "queue/queue.h"
#include "relay/accept/lint.h"
#include "relay/accept/policy/preflight.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

struct validation {
    struct http_request *request;
    const struct config_credential *credential;
    bool gone, draft; /* JSON; else a finished message */
    struct message message;
    struct blob *bytes;
    struct slice *addresses;
    bool *suppressed;
    struct queue_suppressed_op listed;
    struct preflight_op preflight;
    bool listing, checking, checked;
    struct work_op work;
};

static void
validation_free(struct validation *v)
{
    blob_unref(&v->bytes);
    message_fini(&v->message);
    free(v);
}

/* ---- the answer ----------------------------------------------------------- */

static void
respond(struct validation *v, const struct lint_report *report)
{
    struct buf body;
    struct writer w;
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_bool(&w, "ok", !report->errors);
    writer_open(&w, "findings", '[');
    for (unsigned i = 0; i < report->count; i++) {
        const struct lint_finding *f = &report->v[i];
        writer_open(&w, NULL, '{');
        writer_string(&w, "id", slice_str(f->id));
        writer_string(&w, "severity", slice_str(lint_severity_name(f->severity)));
        writer_string_or_null(&w, "field", slice_str(f->field));
        writer_string(&w, "detail", slice_str(f->detail));
        writer_close(&w, '}');
    }
    writer_close(&w, ']');
    writer_close(&w, '}');
    api_respond_json(v->request, 200, &body);
}

static void
judge(struct validation *v)
{
    const struct api *a = v->request->app;
    bool bulk = v->credential->klass == CONFIG_BULK || v->message.klass == SUBMIT_CLASS_BULK;
    const struct lint_facts facts = {
        .bulk = bulk,
        .now_unix_ms = clock_sched_unix_ms(),
        .config = a->parts.config,
        .credential = v->credential,
        .believed = v->checked && !v->preflight.late ? &v->preflight.verdict : NULL,
        .recipients = v->addresses,
        .suppressed = v->suppressed,
        .recipient_count = v->message.recipient_count,
    };
    struct lint_report *report = calloc(1, sizeof *report);
    BUG_ON(report == NULL);
    lint_message(v->bytes, &facts, report);
    respond(v, report);
    free(report);
}

/* ---- questions ------------------------------------------------------------ */

static void
answer_came(struct validation *v)
{
    if (v->listing || v->checking)
        return;
    if (v->suppressed != NULL && v->listed.err.code != ERR_NONE)
        problem_respond(v->request, &(struct problem){.status = 503,
                                                      .code = "queue_away",
                                                      .detail = "the queue cannot be reached",
                                                      .retry_after_s = 5});
    else
        judge(v);
    validation_free(v);
}

static void
on_listed(struct queue_suppressed_op *op)
{
    struct validation *v = container_of(op, struct validation, listed);
    v->listing = false;
    answer_came(v);
}

static void
on_checked(struct preflight_op *op)
{
    struct validation *v = container_of(op, struct validation, preflight);
    v->checking = false;
    answer_came(v);
}

/* A finished message has no recipients here. */
static void
ask_suppressed(struct validation *v)
{
    const struct api *a = v->request->app;
    unsigned n = v->message.recipient_count;
    struct arena *arena = &v->message.arena;
    if (n == 0)
        return;
    v->addresses = arena_alloc(arena, n * sizeof *v->addresses);
    v->suppressed = arena_alloc(arena, n * sizeof *v->suppressed);
    if (v->addresses == NULL || v->suppressed == NULL) {
        v->suppressed = NULL;
        return;
    }
    for (unsigned i = 0; i < n; i++)
        v->addresses[i] = v->message.recipients[i].address;
    v->listing = true;
    v->listed = (struct queue_suppressed_op){.done = on_listed,
                                             .tenant = slice_str(v->credential->tenant),
                                             .addresses = v->addresses,
                                             .count = n,
                                             .suppressed = v->suppressed};
    queue_suppressed_start(&v->listed, a->parts.queue);
}

static void
ask_preflight(struct validation *v)
{
    const struct api *a = v->request->app;
    struct preflight *p = a->parts.preflight;
    struct slice domain;
    if (p == NULL || !lint_from_domain(blob_slice(v->bytes), &v->message.arena, &domain))
        return;
    v->checked = true;
    if (preflight_known(p, domain, domain, &v->preflight.verdict))
        return;
    v->checking = true;
    v->preflight.done = on_checked;
    preflight_start(&v->preflight, p, domain, domain);
}

static void
on_gone(struct http_request *r)
{
    struct validation *v = r->state;
    v->gone = true;
    if (v->listing)
        queue_suppressed_cancel(&v->listed);
    if (v->checking)
        preflight_cancel(&v->preflight);
}

/* ---- the request ---------------------------------------------------------- */

/* False: answered, and freed. */
static bool
take_bytes(struct validation *v)
{
    v->credential = v->gone ? NULL : api_credential(v->request);
    if (v->credential == NULL) {
        api_say_no_credential(v->request);
        validation_free(v);
        return false;
    }
    if (v->draft && v->message.result != MESSAGE_OK) {
        submission_refuse_draft(v->request, &v->message);
        validation_free(v);
        return false;
    }
    v->bytes = blob_take_buf(v->draft ? &v->message.mime : &v->request->body);
    return true;
}

static void
on_compiled(struct work_op *op)
{
    struct validation *v = container_of(op, struct validation, work);
    if (!take_bytes(v))
        return;
    ask_suppressed(v);
    ask_preflight(v);
    answer_came(v);
}

static void
compile(struct work_op *op)
{
    struct validation *v = container_of(op, struct validation, work);
    if (v->draft)
        message_compile(&v->message);
}

static bool
is_message(const struct http_request *r)
{
    struct slice type;
    return head_find(&r->head, SLICE("content-type"), &type) &&
           slice_starts_nocase(type, SLICE("message/"));
}

bool
messages_validate_admit(struct http_request *r)
{
    return api_admit_sender(r) && (is_message(r) || api_admit_type(r, "application/json"));
}

void
messages_validate(struct http_request *r)
{
    const struct api *a = r->app;
    struct validation *v = calloc(1, sizeof *v);
    BUG_ON(v == NULL);
    v->request = r;
    v->draft = !is_message(r);
    r->state = v;
    r->on_gone = on_gone;
    message_init(&v->message, buf_slice(&r->body), a->parts.config->message_bytes_max);
    v->message.now_unix_ms = clock_sched_unix_ms();
    if (!submission_offload(r, &v->work, compile, on_compiled))
        validation_free(v);
}
