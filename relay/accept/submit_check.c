/*
 * The first step: what the worker can judge of a submission by itself, at once. Is there room;
 * may the credential send this, from these senders, to these recipients; what is the
 * message once it is prepared; what does it wish; is its idempotency key under way.
 *
 * Ways it ends: refused, before anybody was asked; or the recipients are counted next
 * (submit_ask.c).
 */
#include "relay/accept/submit_internal.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "relay/accept/credential.h"
#include "relay/accept/policy/recipient.h"
#include "relay/accept/policy/sender.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/wire/text.h"

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

void
submit_check(struct submit_state *st)
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
