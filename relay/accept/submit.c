/*
 * The door itself: how a submission begins, how it is cancelled, and its one end.
 *
 * Happy path: on the next turn of the loop the senders are checked and the
 * message is prepared (submit_check.c); a credential with limits has its recipients
 * counted; the suppression list, a signer and, unless its verdict is known, the preflight
 * are asked at the same time (submit_ask.c); then the queue commits (submit_commit.c). done
 * comes when the commit is durable. What was counted for a message that was not accepted is
 * given back.
 *
 * Ways it ends: refused before anything was asked; refused by the signer;
 * nobody to ask (SUBMIT_AWAY); the commit's own results; cancelled, which before
 * the commit is SUBMIT_AWAY (nothing was stored) and during it SUBMIT_UNKNOWN.
 */
#include "relay/accept/submit_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

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

/* ---- the door -------------------------------------------------------------- */

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
submit_door_set_credentials(struct submit_door *d, const struct credentials *cs)
{
    d->credentials = cs;
}

void
submit_door_free(struct submit_door *d)
{
    BUG_ON(d != NULL && d->pending > 0);
    free(d);
}

unsigned
submit_door_pending(const struct submit_door *d)
{
    return d->pending;
}

/* ---- beginning and cancelling ----------------------------------------------- */

static void
on_begin(struct deferred *d)
{
    struct submit_state *st = container_of(d, struct submit_state, begin);
    if (st->cancelled)
        submit_finish(st, SUBMIT_AWAY, "cancelled");
    else
        submit_check(st);
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
