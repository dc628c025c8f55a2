/*
 * POST /v1/messages/batch: many messages, each a submission of its own through
 * the door.
 *
 * Happy path: compile all drafts (on the work pool when the body is large), give
 * API_BATCH_AT_ONCE of them to the door at a time, answer 200 with one entry for
 * each when the last is known. Ways it ends: the batch is refused whole, before
 * anything was submitted (strict, or not readable at all); or the client goes
 * away: what is at the door is cancelled, nothing more is given to it, what was
 * committed stays.
 */
#include <stdlib.h>
#include <string.h>

#include "api/batch.h"
#include "api/ratelimit.h"
#include "api/routes/routes.h"
#include "api/submission.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/work.h"

struct run {
    struct submit_op op;
    struct post *post;
    bool started, finished;
};

struct post {
    struct http_request *request;
    const struct config_credential *credential;
    struct batch batch;
    struct run *runs; /* one for each item */
    unsigned next, under_way, last;
    bool gone;
    char peer_ip[64];
    struct work_op work;
};

static void
post_free(struct post *p)
{
    for (unsigned i = 0; p->runs != NULL && i < p->batch.count; i++)
        blob_unref(&p->runs[i].op.message);
    free(p->runs);
    batch_fini(&p->batch);
    free(p);
}

/* ---- the answer ----------------------------------------------------------- */

static void
write_accepted(struct writer *w, const struct submit_op *op)
{
    char id[ID_TEXT_BYTES + 1];
    id_format(op->id, id);
    writer_string(w, "id", slice_str(id));
    writer_string(w, "status", submission_status(op));
    if (op->result == SUBMIT_REPLAYED)
        writer_bool(w, "replayed", true);
}

/* Why a draft was not given to the door. */
static struct problem
problem_of_draft(const struct message *m)
{
    bool fields = m->result == MESSAGE_INVALID;
    return (struct problem){.status = fields ? 422 : 413,
                            .code = fields ? "invalid_fields" : "too_large",
                            .detail = m->detail,
                            .errors = fields ? &m->errors : NULL};
}

static void
write_item(struct writer *w, const struct post *p, unsigned i)
{
    const struct run *run = &p->runs[i];
    const struct message *m = &p->batch.items[i].message;
    struct problem problem = {
        .status = 503, .code = "not_tried", .detail = "the client went away before this one"};
    writer_open(w, NULL, '{');
    writer_number(w, "index", i);
    if (run->finished && submission_is_accepted(&run->op)) {
        write_accepted(w, &run->op);
    } else {
        if (run->finished)
            submission_problem(&run->op, &problem);
        else if (m->result != MESSAGE_OK)
            problem = problem_of_draft(m);
        problem_write(w, "problem", &problem);
    }
    writer_close(w, '}');
}

static void
respond(struct post *p)
{
    struct buf body;
    struct writer w;
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_open(&w, "data", '[');
    for (unsigned i = 0; i < p->batch.count; i++)
        write_item(&w, p, i);
    writer_close(&w, ']');
    writer_close(&w, '}');
    buf_add_char(&body, '\n');
    BUG_ON(body.overflowed);
    struct http_reply reply = {
        .status = 200, .content_type = "application/json", .body = buf_slice(&body)};
    struct ratelimit limits = {.count = 0};
    if (p->runs[p->last].finished)
        ratelimit_make(&limits, &p->runs[p->last].op);
    for (unsigned i = 0; i < limits.count && i < RATELIMIT_FIELDS; i++)
        reply.extra[reply.extra_count++] = limits.fields[i];
    http_respond(p->request, &reply);
    buf_fini(&body);
    post_free(p);
}

static void
respond_refused(struct post *p)
{
    const struct batch *b = &p->batch;
    bool fields = b->result == MESSAGE_INVALID;
    problem_respond(p->request,
                    &(struct problem){.status = fields ? 422 : 400,
                                      .code = fields ? "invalid_fields" : "invalid_json",
                                      .detail = b->detail,
                                      .errors = fields ? &b->errors : NULL});
    post_free(p);
}

/* ---- at the door ---------------------------------------------------------- */

static void submit_more(struct post *p);

static void
on_submitted(struct submit_op *op)
{
    struct run *run = container_of(op, struct run, op);
    struct post *p = run->post;
    run->finished = true;
    p->last = (unsigned)(run - p->runs);
    p->under_way--;
    blob_unref(&op->message);
    submit_more(p);
}

static void
submit_one(struct post *p, unsigned i)
{
    const struct api *a = p->request->app;
    struct batch_item *item = &p->batch.items[i];
    struct message *m = &item->message;
    struct run *run = &p->runs[i];
    struct submit_op *op = &run->op;
    run->started = true;
    submission_fill(op, p->request, p->credential, p->peer_ip);
    op->done = on_submitted;
    message_fill(m, op);
    op->idempotency_key = item->key;
    op->has_digest = item->key.n > 0;
    memcpy(op->digest, item->digest, sizeof op->digest);
    p->under_way++;
    submit_start(op, a->parts.door);
}

static void
submit_more(struct post *p)
{
    while (!p->gone && p->next < p->batch.count && p->under_way < API_BATCH_AT_ONCE) {
        unsigned i = p->next++;
        p->runs[i].post = p;
        if (p->batch.items[i].message.result == MESSAGE_OK)
            submit_one(p, i);
    }
    if (p->under_way == 0)
        respond(p);
}

static void
on_gone(struct http_request *r)
{
    struct post *p = r->state;
    p->gone = true;
    for (unsigned i = 0; p->runs != NULL && i < p->next; i++)
        if (p->runs[i].started && !p->runs[i].finished)
            submit_cancel(&p->runs[i].op);
}

/* ---- the request ---------------------------------------------------------- */

static void
begin(struct post *p)
{
    p->credential = p->gone ? NULL : api_credential(p->request);
    if (p->credential == NULL) {
        api_say_no_credential(p->request);
        post_free(p);
        return;
    }
    if (p->batch.result != MESSAGE_OK) {
        respond_refused(p);
        return;
    }
    buf_fini(&p->request->body); /* the JSON is not needed while the door works */
    p->runs = calloc(p->batch.count, sizeof *p->runs);
    BUG_ON(p->runs == NULL);
    submit_more(p);
}

static void
compile(struct work_op *op)
{
    batch_compile(&container_of(op, struct post, work)->batch);
}

static void
on_compiled(struct work_op *op)
{
    begin(container_of(op, struct post, work));
}

void
messages_batch(struct http_request *r)
{
    const struct api *a = r->app;
    struct slice value, key = SLICE_NONE;
    if (head_find(&r->head, SLICE("idempotency-key"), &value) &&
        !submission_read_key(r, value, &key)) {
        problem_say(r, 400, "invalid_idempotency_key",
                    "Idempotency-Key must have 1 to 256 visible ASCII characters");
        return;
    }
    struct post *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->request = r;
    r->state = p;
    r->on_gone = on_gone;
    batch_init(&p->batch, buf_slice(&r->body), a->parts.config->message_bytes_max, key);
    p->batch.now_unix_ms = clock_sched_unix_ms();
    if (!submission_offload(r, &p->work, compile, on_compiled))
        post_free(p);
}
