/*
 * The last step: the prepared and signed message becomes a record of the queue, with one
 * delivery for each next hop, and is committed.
 *
 * Ways it ends: committed, which is accepted; a replay, a conflict or no room, and nothing was
 * stored; or nobody knows (the link was lost before the reply, or it was cancelled under way), and
 * then nothing may be said that would be true of one outcome only (SUBMIT_UNKNOWN).
 */
#include "relay/accept/submit_internal.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/wire/text.h"

/* ---- the record ------------------------------------------------------------ */

static int
compare_domains(const void *a, const void *b)
{
    const struct submit_recipient *x = *(struct submit_recipient *const *)a;
    const struct submit_recipient *y = *(struct submit_recipient *const *)b;
    int order = slice_compare(x->domain, y->domain);
    return order != 0 ? order : (x > y) - (x < y);
}

static bool
record_options(struct submit_state *st, const struct rcpt_options *options, struct slice *out)
{
    struct buf b;
    buf_init(&b, QUEUE_RECORD_MAX);
    bool ok = rcpt_options_encode(options, &b) && arena_copy(&st->arena, buf_slice(&b), out);
    buf_fini(&b);
    return ok;
}

int64_t
submit_first_due(const struct submit_state *st)
{
    int64_t at = st->op->envelope.send_at_unix_ms;
    return at > st->now_unix_ms ? at : st->now_unix_ms;
}

static int64_t
expiry(const struct submit_state *st)
{
    int64_t most = submit_first_due(st) + (int64_t)st->door->config->retry.expire_ms;
    int64_t wanted = st->op->expires_unix_ms;
    return wanted > 0 && wanted < most ? wanted : most;
}

static bool
fill_target(struct submit_state *st, const struct submit_recipient *r, struct queue_target *t)
{
    t->address = r->address;
    t->state = r->suppressed ? QUEUE_SUPPRESSED : QUEUE_QUEUED;
    return record_options(st, &r->options, &t->options);
}

/* Adds a delivery for each run of recipients that share a domain. */
static bool
fill_deliveries(struct submit_state *st, struct submit_recipient **sorted)
{
    unsigned n = st->op->recipient_count;
    struct queue_message *m = &st->message;
    struct queue_target *targets = arena_alloc(&st->arena, n * sizeof *targets);
    m->deliveries = arena_alloc(&st->arena, n * sizeof *m->deliveries);
    if (targets == NULL || m->deliveries == NULL)
        return false;
    struct queue_delivery *d = NULL;
    for (unsigned i = 0; i < n; i++) {
        if (d == NULL || !slice_eq(d->next_hop, sorted[i]->domain)) {
            d = &m->deliveries[m->delivery_count++];
            d->index = m->delivery_count - 1;
            d->next_hop = sorted[i]->domain;
            d->expires_unix_ms = expiry(st);
            d->targets = &targets[i];
        }
        if (!fill_target(st, sorted[i], &d->targets[d->target_count++]))
            return false;
        if (!sorted[i]->suppressed)
            d->due_unix_ms = submit_first_due(st);
    }
    return true;
}

static bool
group_recipients(struct submit_state *st)
{
    struct submit_op *op = st->op;
    struct submit_recipient **sorted =
        arena_alloc(&st->arena, op->recipient_count * sizeof *sorted);
    if (sorted == NULL)
        return false;
    for (unsigned i = 0; i < op->recipient_count; i++)
        sorted[i] = &op->recipients[i];
    qsort(sorted, op->recipient_count, sizeof(struct submit_recipient *), compare_domains);
    return fill_deliveries(st, sorted);
}

static bool
needs_smtputf8(const struct submit_state *st)
{
    const struct submit_op *op = st->op;
    if (st->prepared.header_eight_bit || !text_is_ascii(op->envelope.reverse_path))
        return true;
    for (unsigned i = 0; i < op->recipient_count; i++)
        if (!text_is_ascii(op->recipients[i].address))
            return true;
    return false;
}

static bool
record_envelope(struct submit_state *st)
{
    struct envelope e = st->op->envelope;
    struct buf b;
    e.smtputf8 = needs_smtputf8(st);
    e.eightbit = st->prepared.eight_bit;
    e.is_ndr = false;
    e.header_from = st->prepared.header_from;
    e.subject = st->prepared.subject;
    e.message_id = st->prepared.message_id;
    if (st->prepared.controls.wishes.tags.n > 0)
        e.tags = st->prepared.controls.wishes.tags;
    if (st->prepared.controls.wishes.metadata.n > 0)
        e.metadata = st->prepared.controls.wishes.metadata;
    e.credential = slice_str(st->op->credential->user);
    buf_init(&b, QUEUE_RECORD_MAX);
    bool ok =
        envelope_encode(&e, &b) && arena_copy(&st->arena, buf_slice(&b), &st->message.envelope);
    buf_fini(&b);
    return ok;
}

static bool
is_bulk(const struct submit_state *st)
{
    return st->op->credential->klass == CONFIG_BULK || st->op->klass == SUBMIT_CLASS_BULK;
}

static bool
fill_message(struct submit_state *st)
{
    const struct config_credential *cr = st->op->credential;
    st->message = (struct queue_message){
        .id = st->id,
        .tenant = slice_str(cr->tenant),
        .submitter = slice_str(cr->user),
        .klass = is_bulk(st) ? QUEUE_BULK : QUEUE_TRANSACTIONAL,
        .created_unix_ms = st->now_unix_ms,
        .size_bytes = content_bytes(&st->prepared.content),
    };
    return record_envelope(st) && group_recipients(st);
}

/* ---- the commit ----------------------------------------------------------- */

static void
note_suppressed(struct submit_op *op)
{
    for (unsigned i = 0; i < op->recipient_count; i++)
        if (op->recipients[i].suppressed) {
            metrics_add(METRIC_SUPPRESSED, 1);
            LOG(LOG_NOTICE, "recipient.suppressed", LF_ID("msg", op->id),
                LF_S("to", op->recipients[i].address));
        }
}

static void
on_committed(struct queue_commit_op *commit)
{
    struct submit_state *st = container_of(commit, struct submit_state, commit);
    switch (commit->result) {
    case QUEUE_COMMITTED:
        FAILPOINT("accept.after-commit");
        st->op->id = st->id;
        note_suppressed(st->op);
        submit_finish(st, SUBMIT_ACCEPTED, "accepted");
        return;
    case QUEUE_REPLAYED:
        st->op->id = commit->replayed_id;
        submit_finish(st, SUBMIT_REPLAYED, "accepted before under this idempotency key");
        return;
    case QUEUE_KEY_CONFLICT:
        submit_finish(st, SUBMIT_KEY_CONFLICT, "the idempotency key was used for another message");
        return;
    case QUEUE_NO_ROOM:
        submit_finish(st, SUBMIT_NO_ROOM, "no room for more messages now");
        return;
    case QUEUE_AWAY:
        submit_finish(st, SUBMIT_AWAY, "the queue cannot be reached now");
        return;
    case QUEUE_OUTCOME_UNKNOWN:
        break;
    }
    submit_finish(st, SUBMIT_UNKNOWN, "the outcome is not known");
}

void
submit_begin_commit(struct submit_state *st)
{
    if (!fill_message(st)) {
        submit_finish(st, SUBMIT_NO_ROOM,
                      "the message needs more memory than one transaction may have");
        return;
    }
    sm_move(&st->sm, STEP_COMMIT);
    st->commit.done = on_committed;
    st->commit.message = &st->message;
    st->commit.content = st->prepared.content;
    st->commit.idempotency_credential = slice_str(st->op->credential->user);
    st->commit.idempotency_key = st->key;
    memcpy(st->commit.request_digest, st->digest, sizeof st->commit.request_digest);
    FAILPOINT("accept.before-commit");
    queue_commit_start(&st->commit, st->door->queue);
}
