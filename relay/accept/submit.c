/*
 * Happy path: on the next turn of the loop the senders are checked and the
 * message is prepared; a credential with limits has its recipients counted; the
 * suppression list, a signer and, unless its verdict is known, the preflight are asked
 * at the same time; then the queue commits. done comes when the commit is durable. What was counted
 * for a message that was not accepted is given back.
 *
 * Ways it ends: refused before anything was asked; refused by the signer;
 * nobody to ask (SUBMIT_AWAY); the commit's own results; cancelled, which before
 * the commit is SUBMIT_AWAY (nothing was stored) and during it SUBMIT_UNKNOWN.
 */
#include "relay/accept/submit_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "relay/accept/credential.h"
#include "relay/accept/policy/recipient.h"
#include "relay/accept/policy/sender.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/wire/text.h"

static const struct sm_row ROWS[STEP_COUNT] = {
    [STEP_CHECK] = {"check", "checking the message", SM_TO(STEP_ALLOW) | SM_TO(STEP_ASK), 0, false},
    [STEP_ALLOW] = {"allow", "counting recipients", SM_TO(STEP_ASK), 0, false},
    [STEP_ASK] = {"ask", "asking signer and suppression list", SM_TO(STEP_COMMIT), 0, false},
    [STEP_COMMIT] = {"commit", "committing the message", 0, 0, true},
};

/* ---- the end ------------------------------------------------------------- */

static const char *const RESULT_NAMES[] = {
    [SUBMIT_ACCEPTED] = "accepted",
    [SUBMIT_REPLAYED] = "replayed",
    [SUBMIT_SENDER] = "sender",
    [SUBMIT_POLICY] = "policy",
    [SUBMIT_RECIPIENT] = "recipient",
    [SUBMIT_FROZEN] = "frozen",
    [SUBMIT_RATE] = "rate",
    [SUBMIT_CONTENT] = "content",
    [SUBMIT_TOO_LARGE] = "too-large",
    [SUBMIT_LOOP] = "loop",
    [SUBMIT_KEY_CONFLICT] = "key-conflict",
    [SUBMIT_KEY_IN_FLIGHT] = "key-in-flight",
    [SUBMIT_NO_ROOM] = "no-room",
    [SUBMIT_AWAY] = "away",
    [SUBMIT_UNKNOWN] = "unknown",
};

static bool
over_http(const struct submit_state *st)
{
    return st->op->source == SUBMIT_HTTP;
}

static void
log_accepted(const struct submit_state *st)
{
    const struct submit_op *op = st->op;
    LOG(LOG_NOTICE, over_http(st) ? "http.accepted" : "smtp.accepted", LF_ID("msg", op->id),
        LF_STR("tenant", op->credential->tenant), LF_STR("user", op->credential->user),
        LF_S("client", op->client_address), LF_S("from", op->envelope.reverse_path),
        LF_U("to", op->recipient_count), LF_S("to_first", op->recipients[0].address),
        LF_U("size", content_bytes(&st->prepared.content)),
        LF_B("replayed", op->result == SUBMIT_REPLAYED));
}

static void
log_refused(const struct submit_state *st)
{
    const struct submit_op *op = st->op;
    LOG(LOG_NOTICE, over_http(st) ? "http.refused" : "smtp.refused",
        LF_STR("why", RESULT_NAMES[op->result]), LF_STR("tenant", op->credential->tenant),
        LF_STR("user", op->credential->user), LF_S("from", op->envelope.reverse_path),
        LF_U("to", op->recipient_count), LF_STR("text", op->text));
}

/* The rows of the metric stand in the order of the results. */
_Static_assert((int)METRIC_REJECTED_SMTP_UNKNOWN - (int)METRIC_REJECTED_SMTP_SENDER ==
                       (int)SUBMIT_UNKNOWN - (int)SUBMIT_SENDER &&
                   (int)METRIC_REJECTED_HTTP_UNKNOWN - (int)METRIC_REJECTED_HTTP_SENDER ==
                       (int)SUBMIT_UNKNOWN - (int)SUBMIT_SENDER,
               "a row for each refusal");

static enum metric
refusal_metric(const struct submit_state *st)
{
    int first = over_http(st) ? METRIC_REJECTED_HTTP_SENDER : METRIC_REJECTED_SMTP_SENDER;
    return (enum metric)(first + (int)st->op->result - (int)SUBMIT_SENDER);
}

static void
count_result(const struct submit_state *st)
{
    switch (st->op->result) {
    case SUBMIT_ACCEPTED:
        metrics_add(over_http(st) ? METRIC_ACCEPTED_HTTP : METRIC_ACCEPTED_SMTP, 1);
        break;
    case SUBMIT_REPLAYED:
        metrics_add(METRIC_REPLAYED, 1);
        break;
    default:
        metrics_add(refusal_metric(st), 1);
        break;
    }
}

void
submit_finish(struct submit_state *st, enum submit_result result, const char *text)
{
    struct submit_op *op = st->op;
    op->result = result;
    op->state = NULL;
    snprintf(op->text, sizeof op->text, "%s", text);
    count_result(st);
    if (result == SUBMIT_ACCEPTED || result == SUBMIT_REPLAYED)
        log_accepted(st);
    else
        log_refused(st);
    if (st->counted) /* an unknown outcome may be an accepted message */
        queue_allow_settle(&st->allow, result == SUBMIT_ACCEPTED || result == SUBMIT_UNKNOWN);
    st->door->pending--;
    list_remove(&st->node);
    deferred_cancel(&st->begin);
    buf_fini(&st->sign.fields);
    content_unref(&st->prepared.content);
    arena_fini(&st->arena);
    free(st);
    op->done(op);
}

/* ---- checks ---------------------------------------------------------------- */

static bool
room_is_there(struct submit_state *st)
{
    switch (queue_status(st->door->queue)) {
    case QUEUE_UP:
        break;
    case QUEUE_FULL_NOW:
        submit_finish(st, SUBMIT_NO_ROOM, "no room for more messages now");
        return false;
    case QUEUE_STARTING:
    case QUEUE_AWAY_NOW:
        submit_finish(st, SUBMIT_AWAY, "the queue cannot be reached now");
        return false;
    }
    if (blob_slice(st->op->message).n > st->door->config->message_bytes_max) {
        submit_finish(st, SUBMIT_TOO_LARGE, "the message is too large");
        return false;
    }
    if (blob_total_bytes() > ACCEPT_BYTES_IN_MEMORY_MAX) {
        submit_finish(st, SUBMIT_NO_ROOM, "no room for more messages now");
        return false;
    }
    return true;
}

bool
submit_refuse_frozen(struct submit_state *st)
{
    const struct credentials *all = st->door->credentials;
    const struct config_credential *cr = st->op->credential;
    if (!cr->frozen && (all == NULL || !credential_is_frozen(all, slice_str(cr->user))))
        return false;
    submit_finish(st, SUBMIT_FROZEN, "the credential is frozen");
    return true;
}

static bool
refuse_address(struct submit_state *st, enum submit_result result, const char *what,
               struct slice address)
{
    char text[sizeof st->op->text];
    snprintf(text, sizeof text, "%s: %.*s is not one of this credential", what,
             SLICE_FMT(text_clip(address, 100)));
    submit_finish(st, result, text);
    return false;
}

static bool
recipients_are_allowed(struct submit_state *st)
{
    const struct submit_op *op = st->op;
    for (unsigned i = 0; i < op->recipient_count; i++) {
        const struct submit_recipient *to = &op->recipients[i];
        if (!policy_recipient_is_allowed(op->credential, to->address, to->domain))
            return refuse_address(st, SUBMIT_RECIPIENT, "recipient", to->address);
    }
    return true;
}

static bool
prepare(struct submit_state *st)
{
    const struct submit_op *op = st->op;
    struct reply_text refusal;
    const struct prepare_input in = {
        .message = op->message,
        .id = st->id,
        .now_unix_ms = st->now_unix_ms,
        .date_unix_ms = submit_first_due(st),
        .hostname = st->door->config->hostname,
        .protocol = op->protocol,
        .client_name = op->client_name,
        .client_ip = op->client_address,
        .recipient = op->recipient_count == 1 ? op->recipients[0].address : SLICE_NONE,
        .smtputf8 = op->envelope.smtputf8,
    };
    if (prepare_message(&in, &st->arena, &st->prepared, &refusal) == PARSE_OK)
        return true;
    submit_finish(st,
                  refusal.code == 552   ? SUBMIT_TOO_LARGE
                  : refusal.code == 554 ? SUBMIT_LOOP
                  : refusal.code == 452 ? SUBMIT_NO_ROOM
                                        : SUBMIT_CONTENT,
                  refusal.text);
    return false;
}

static void
digest_part(EVP_MD_CTX *ctx, struct slice s)
{
    uint64_t n = s.n;
    BUG_ON(EVP_DigestUpdate(ctx, &n, sizeof n) != 1 || EVP_DigestUpdate(ctx, s.p, s.n) != 1);
}

/* Everything that decides what is sent, and to whom. The message's own key means the same
 * at both doors. */
static void
digest_request(struct submit_state *st)
{
    const struct submit_op *op = st->op;
    if (op->has_digest && st->prepared.controls.idempotency_key.n == 0) {
        memcpy(st->digest, op->digest, sizeof st->digest);
        return;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
    digest_part(ctx, op->envelope.reverse_path);
    digest_part(ctx, op->envelope.envid);
    digest_part(ctx, slice_from(&op->envelope.ret, sizeof op->envelope.ret));
    for (unsigned i = 0; i < op->recipient_count; i++) {
        const struct rcpt_options *o = &op->recipients[i].options;
        digest_part(ctx, op->recipients[i].address);
        digest_part(ctx, slice_from(&o->notify, sizeof o->notify));
        digest_part(ctx, o->orcpt);
    }
    digest_part(ctx, blob_slice(op->message));
    BUG_ON(EVP_DigestFinal_ex(ctx, st->digest, NULL) != 1);
    EVP_MD_CTX_free(ctx);
}

static void
log_ignored(const struct submit_state *st)
{
    const struct controls *c = &st->prepared.controls;
    if (c->ignored_count > 0)
        LOG(LOG_INFO, "control.ignored", LF_ID("msg", st->id),
            LF_STR("tenant", st->op->credential->tenant), LF_S("field", c->ignored),
            LF_U("fields", c->ignored_count));
}

/* What the message wishes by itself goes before what came with it: over HTTP only a
 * finished message can do both, for JSON has no control fields. */
static bool
take_wishes(struct submit_state *st)
{
    const struct controls *c = &st->prepared.controls;
    struct submit_op *op = st->op;
    if (c->wishes.send_at_unix_ms > 0)
        op->envelope.send_at_unix_ms = c->wishes.send_at_unix_ms;
    if (c->wishes.expires_unix_ms > 0)
        op->expires_unix_ms = c->wishes.expires_unix_ms;
    if (c->wishes.klass != SUBMIT_CLASS_OF_CREDENTIAL)
        op->klass = c->wishes.klass;
    if (op->credential->klass != CONFIG_BULK || op->klass != SUBMIT_CLASS_TRANSACTIONAL)
        return true;
    submit_finish(st, SUBMIT_CONTENT, "this credential may send bulk mail only");
    return false;
}

/* The partition follows from the key, and the id from the partition; Received
 * needs the id, but over SMTP the key is known only after the scan. So the scan
 * is repeated when there is a key: rare, and the header section is short. */
static bool
take_key(struct submit_state *st)
{
    struct submit_op *op = st->op;
    bool own = st->prepared.controls.idempotency_key.n > 0;
    st->key = own ? st->prepared.controls.idempotency_key : op->idempotency_key;
    if (st->key.n == 0)
        return true;
    struct slice user = slice_str(op->credential->user);
    st->id = id_new(queue_partition_for_key(user, st->key));
    content_unref(&st->prepared.content);
    if (!prepare(st))
        return false;
    digest_request(st);
    LIST_EACH(&st->door->under_way, node)
    {
        const struct submit_state *other = container_of(node, struct submit_state, node);
        if (other != st && slice_eq(other->key, st->key) &&
            slice_eq(slice_str(other->op->credential->user), user)) {
            submit_finish(st, SUBMIT_KEY_IN_FLIGHT,
                          "a request with this idempotency key is under way");
            return false;
        }
    }
    return true;
}

static void
check(struct submit_state *st)
{
    const struct config_credential *cr = st->op->credential;
    struct slice culprit;
    if (!room_is_there(st))
        return;
    if (submit_refuse_frozen(st))
        return;
    if (!policy_sender_envelope(cr, st->op->envelope.reverse_path, st->op->reverse_domain)) {
        refuse_address(st, SUBMIT_SENDER, "MAIL FROM", st->op->envelope.reverse_path);
        return;
    }
    if (!recipients_are_allowed(st))
        return;
    st->id = id_new(queue_pick_partition(st->door->queue));
    st->now_unix_ms = clock_sched_unix_ms();
    if (!prepare(st))
        return;
    if (!policy_sender_header(cr, st->prepared.senders, st->prepared.sender_domains,
                              st->prepared.sender_count, &culprit)) {
        refuse_address(st, SUBMIT_SENDER, "From or Sender", culprit);
        return;
    }
    if (!take_wishes(st) || !take_key(st))
        return;
    log_ignored(st);
    submit_begin_allowing(st);
}

static void
on_begin(struct deferred *d)
{
    struct submit_state *st = container_of(d, struct submit_state, begin);
    if (st->cancelled)
        submit_finish(st, SUBMIT_AWAY, "cancelled");
    else
        check(st);
}

/* ------------------------------------------------------------------------- */

struct submit_door *
submit_door_new(struct loop *l, const struct config *c, struct queue *q,
                struct signer_client *signers)
{
    struct submit_door *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    *d = (struct submit_door){.loop = l, .config = c, .queue = q, .signers = signers};
    list_init(&d->under_way);
    return d;
}

void
submit_door_set_preflight(struct submit_door *d, struct preflight *p)
{
    d->preflight = p;
}

void
submit_door_free(struct submit_door *d)
{
    BUG_ON(d != NULL && d->pending > 0);
    free(d);
}

void
submit_door_set_credentials(struct submit_door *d, const struct credentials *cs)
{
    d->credentials = cs;
}

unsigned
submit_door_pending(const struct submit_door *d)
{
    return d->pending;
}

void
submit_start(struct submit_op *op, struct submit_door *d)
{
    BUG_ON(op->recipient_count == 0 || op->message == NULL);
    struct submit_state *st = calloc(1, sizeof *st);
    BUG_ON(st == NULL);
    st->op = op;
    st->door = d;
    op->state = st;
    op->text[0] = '\0';
    op->enhanced = NULL;
    arena_init(&st->arena, SUBMIT_ARENA_MAX);
    sm_init(&st->sm, ROWS, STEP_COUNT, STEP_CHECK, NULL);
    list_node_init(&st->node);
    list_push(&d->under_way, &st->node);
    d->pending++;
    deferred_init(&st->begin, d->loop, on_begin);
    deferred_schedule(&st->begin);
}

void
submit_cancel(struct submit_op *op)
{
    struct submit_state *st = op->state;
    if (st == NULL || st->cancelled)
        return;
    st->cancelled = true;
    if (st->sm.state == STEP_ALLOW) {
        queue_allow_cancel(&st->allow);
    } else if (st->sm.state == STEP_ASK) {
        if (st->signing)
            sign_cancel(&st->sign);
        if (st->listing)
            queue_suppressed_cancel(&st->listed);
        if (st->checking)
            preflight_cancel(&st->preflight);
    } else if (st->sm.state == STEP_COMMIT) {
        queue_commit_cancel(&st->commit);
    }
}
