#include "api/submission.h"

#include "api/message.h"
#include "api/ratelimit.h"

#include <stdio.h>
#include <openssl/evp.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"

/* What the door says, as HTTP says it. */
static const struct {
    unsigned status;
    const char *code;
    unsigned retry_after_s;
    const char *detail; /* NULL: the door's own text */
} RESULTS[] = {
    [SUBMIT_ACCEPTED] = {202, NULL, 0, NULL},
    [SUBMIT_REPLAYED] = {202, NULL, 0, NULL},
    [SUBMIT_SENDER] = {403, "sender_not_owned", 0, NULL},
    [SUBMIT_POLICY] = {403, "policy", 0, NULL},
    [SUBMIT_RECIPIENT] = {403, "recipient_not_allowed", 0, NULL},
    [SUBMIT_FROZEN] = {403, "credential_frozen", 0, NULL},
    [SUBMIT_RATE] = {429, "rate_limited", 0, NULL},
    [SUBMIT_CONTENT] = {422, "message_refused", 0, NULL},
    [SUBMIT_TOO_LARGE] = {413, "too_large", 0, "the message is larger than is accepted"},
    [SUBMIT_LOOP] = {422, "mail_loop", 0, "the message has too many Received fields"},
    [SUBMIT_KEY_CONFLICT] = {422, "idempotency_key_reused", 0,
                             "the Idempotency-Key was used with another request"},
    [SUBMIT_KEY_IN_FLIGHT] = {409, "idempotency_key_in_flight", 1,
                              "a request with this Idempotency-Key is being worked on"},
    [SUBMIT_NO_ROOM] = {503, "queue_full", 30, "the queue has no room"},
    [SUBMIT_AWAY] = {503, "queue_away", 5, "the queue cannot be reached"},
    [SUBMIT_UNKNOWN] = {504, "outcome_unknown", 5,
                        "it is not known whether the message was accepted: send it again with "
                        "the same Idempotency-Key"},
};

static void
submission_free(struct submission *s)
{
    blob_unref(&s->submit.message);
    s->kind->free(s);
}

/* ---- the answer --------------------------------------------------------- */

struct slice
submission_status(const struct submit_op *op)
{
    return op->envelope.send_at_unix_ms > 0 ? SLICE("scheduled") : SLICE("queued");
}

static void
write_accepted(struct buf *out, const struct submit_op *op, const char *id)
{
    struct writer w;
    writer_init(&w, out);
    writer_open(&w, NULL, '{');
    writer_string(&w, "id", slice_str(id));
    writer_string(&w, "status", submission_status(op));
    writer_string(&w, "durability", SLICE("local"));
    writer_open(&w, "recipients", '[');
    for (unsigned i = 0; i < op->recipient_count; i++) {
        const struct submit_recipient *to = &op->recipients[i];
        writer_open(&w, NULL, '{');
        writer_string(&w, "email", to->address);
        writer_string(&w, "status", to->suppressed ? SLICE("suppressed") : submission_status(op));
        writer_close(&w, '}');
    }
    writer_close(&w, ']');
    writer_close(&w, '}');
    buf_add_char(out, '\n');
}

static void
respond_accepted(struct submission *s)
{
    char id[ID_TEXT_BYTES + 1], location[64];
    id_format(s->submit.id, id);
    snprintf(location, sizeof location, "/v1/messages/%s", id);
    struct buf body;
    buf_init(&body, API_ANSWER_MAX);
    write_accepted(&body, &s->submit, id);
    BUG_ON(body.overflowed);
    struct http_reply reply = {.status = 202,
                               .content_type = "application/json",
                               .body = buf_slice(&body),
                               .extra = {{SLICE("Location"), slice_str(location)}},
                               .extra_count = 1};
    if (s->submit.result == SUBMIT_REPLAYED)
        reply.extra[reply.extra_count++] =
            (struct head_field){SLICE("Idempotency-Replayed"), SLICE("true")};
    struct ratelimit limits = {.count = 0};
    ratelimit_make(&limits, &s->submit);
    for (unsigned i = 0; i < limits.count && i < RATELIMIT_FIELDS; i++)
        reply.extra[reply.extra_count++] = limits.fields[i];
    FAILPOINT("api.before-reply");
    http_respond(s->request, &reply);
    buf_fini(&body);
}

bool
submission_is_accepted(const struct submit_op *op)
{
    return RESULTS[op->result].status == 202;
}

void
submission_problem(const struct submit_op *op, struct problem *out)
{
    const char *detail = RESULTS[op->result].detail;
    *out = (struct problem){.status = RESULTS[op->result].status,
                            .code = RESULTS[op->result].code,
                            .detail = detail != NULL ? detail : op->text,
                            .retry_after_s = RESULTS[op->result].retry_after_s};
    if (op->result == SUBMIT_RATE) {
        out->retry_after_s = (unsigned)op->allowance.retry_after_s;
        out->quota = op->allowance.over;
    }
}

static void
respond_refused(struct submission *s)
{
    const struct submit_op *op = &s->submit;
    struct ratelimit limits = {.count = 0};
    struct problem p;
    ratelimit_make(&limits, op);
    submission_problem(op, &p);
    if (op->result == SUBMIT_RATE) {
        p.extra = limits.fields;
        p.extra_count = limits.count;
    }
    problem_respond(s->request, &p);
}

static void
on_submitted(struct submit_op *op)
{
    struct submission *s = container_of(op, struct submission, submit);
    if (submission_is_accepted(op))
        respond_accepted(s);
    else
        respond_refused(s);
    submission_free(s);
}

/* ---- compile and submit ------------------------------------------------- */

/* Replays must repeat path, query and body. */
static void
compute_digest(struct submission *s)
{
    const struct http_request *r = s->request;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct slice parts[] = {r->head.path, SLICE("?"), r->head.query, SLICE("\n"),
                            buf_slice(&r->body)};
    BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        BUG_ON(EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) != 1);
    BUG_ON(EVP_DigestFinal_ex(ctx, s->digest, NULL) != 1);
    EVP_MD_CTX_free(ctx);
}

static void
compile(struct submission *s)
{
    if (s->key.n > 0)
        compute_digest(s);
    s->kind->compile(s);
}

void
submission_fill(struct submit_op *op, struct http_request *r,
                const struct config_credential *credential, char peer_ip[64])
{
    if (r->peer.kind == NET_UNIX)
        snprintf(peer_ip, 64, "127.0.0.1");
    else
        net_address_format_ip(&r->peer, peer_ip);
    op->credential = credential;
    op->source = SUBMIT_HTTP;
    op->client_address = slice_str(peer_ip);
    op->protocol = "HTTP";
}

static void
submit(struct submission *s)
{
    struct http_request *r = s->request;
    const struct config_credential *credential = s->gone ? NULL : api_credential(r);
    if (credential == NULL) {
        api_say_no_credential(r);
        submission_free(s);
        return;
    }
    if (!s->kind->finish(s)) {
        submission_free(s);
        return;
    }
    struct submit_op *op = &s->submit;
    submission_fill(op, r, credential, s->peer_ip);
    op->done = on_submitted;
    op->idempotency_key = s->key;
    op->has_digest = s->key.n > 0;
    memcpy(op->digest, s->digest, sizeof op->digest);
    s->submitting = true;
    submit_start(op, s->api->parts.door);
}

static void
run(struct work_op *op)
{
    compile(container_of(op, struct submission, work));
}

static void
on_compiled(struct work_op *op)
{
    submit(container_of(op, struct submission, work));
}

static void
on_gone(struct http_request *r)
{
    struct submission *s = r->state;
    s->gone = true;
    if (s->submitting)
        submit_cancel(&s->submit);
}

/* ---- the key ------------------------------------------------------------ */

/* A structured-field string (RFC 8941 3.3.3) or the same without its quotes:
 * visible ASCII and spaces inside. */
bool
submission_read_key(struct http_request *r, struct slice text, struct slice *out)
{
    bool quoted = text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"';
    if (quoted)
        text = slice_from(text.p + 1, text.n - 2);
    char *to = arena_alloc(&r->arena, text.n + 1);
    size_t n = 0;
    for (size_t i = 0; to != NULL && i < text.n; i++) {
        if (quoted && text.p[i] == '\\' && ++i == text.n)
            return false;
        if (text.p[i] < ' ' || text.p[i] > '~')
            return false;
        to[n++] = text.p[i];
    }
    *out = slice_from(to, n);
    return n >= 1 && n <= IDEMPOTENCY_KEY_MAX;
}

bool
submission_offload(struct http_request *r, struct work_op *op, void (*work)(struct work_op *),
                   void (*done)(struct work_op *))
{
    const struct api *a = r->app;
    if (r->body.len <= API_JSON_INLINE_MAX) {
        work(op);
        done(op);
        return true;
    }
    if (work_pending() <= API_WORK_PENDING_MAX) {
        work_start(op, a->parts.loop, work, done);
        return true;
    }
    problem_respond(r, &(struct problem){.status = 503,
                                         .code = "busy",
                                         .detail = "too many large messages are being read",
                                         .retry_after_s = 1});
    return false;
}

void
submission_refuse_draft(struct http_request *r, const struct message *m)
{
    static const struct {
        unsigned status;
        const char *code;
    } REFUSED[] = {
        [MESSAGE_NOT_JSON] = {400, "invalid_json"},
        [MESSAGE_INVALID] = {422, "invalid_fields"},
        [MESSAGE_TOO_LARGE] = {413, "too_large"},
    };
    bool fields = m->result == MESSAGE_INVALID;
    problem_respond(r, &(struct problem){.status = REFUSED[m->result].status,
                                         .code = REFUSED[m->result].code,
                                         .detail = m->detail,
                                         .errors = fields ? &m->errors : NULL});
}

void
submission_start(struct submission *s, const struct submission_kind *kind, struct http_request *r)
{
    struct slice value;
    s->kind = kind;
    s->request = r;
    s->api = r->app;
    r->state = s;
    r->on_gone = on_gone;
    if (head_find(&r->head, SLICE("idempotency-key"), &value) &&
        !submission_read_key(r, value, &s->key)) {
        problem_say(r, 400, "invalid_idempotency_key",
                    "Idempotency-Key must have 1 to 256 visible ASCII characters");
        submission_free(s);
    } else if (!submission_offload(r, &s->work, run, on_compiled)) {
        submission_free(s);
    }
}
