/*
 * What others are asked about a prepared message, before it may be committed. A credential with
 * limits has its recipients counted; then the suppression list, a signer and, unless its
 * verdict is known, the preflight are asked at the same time, and when all have answered,
 * they are judged together.
 *
 * Ways it ends: over a limit; nobody to count, to list or to sign (SUBMIT_AWAY); the
 * credential was frozen meanwhile; receivers would not believe it; refused by the signer;
 * cancelled, once all that was asked has ended (SUBMIT_AWAY); else the commit begins.
 */
#include "relay/accept/submit_internal.h"

#include "relay/accept/policy/allowance.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

/* ---- would it be believed ---------------------------------------------------- */

static enum config_policy
policy_of(const struct submit_state *st)
{
    char domain[ADDRESS_DOMAIN_MAX + 1];
    if (!slice_to_cstr(st->prepared.sender_domains[0], domain, sizeof domain))
        return CONFIG_POLICY_WARN;
    return config_policy_of(st->door->config, domain);
}

static void
log_late(const struct submit_state *st)
{
    metrics_add(METRIC_PREFLIGHT_LATE, 1);
    LOG(LOG_NOTICE, "policy.preflight-late", LF_ID("msg", st->id),
        LF_S("domain", st->prepared.sender_domains[0]),
        LF_STR("tenant", st->op->credential->tenant));
}

/* False when the submission has ended. */
static bool
judge_policy(struct submit_state *st)
{
    static const enum metric COUNTERS[BELIEVED_RESULTS] = {
        [BELIEVED_PASS] = METRIC_PREFLIGHT_PASS,
        [BELIEVED_WEAK] = METRIC_PREFLIGHT_WEAK,
        [BELIEVED_FAIL] = METRIC_PREFLIGHT_FAIL,
        [BELIEVED_UNKNOWN] = METRIC_PREFLIGHT_UNKNOWN,
    };
    const struct believed_verdict *v = &st->preflight.verdict;
    if (!st->policy_asked)
        return true;
    if (st->preflight.late) {
        log_late(st);
        return true;
    }
    metrics_add(COUNTERS[v->result], 1);
    if (v->result != BELIEVED_FAIL)
        return true;
    if (policy_of(st) == CONFIG_POLICY_ENFORCE) {
        st->op->enhanced = v->enhanced;
        submit_finish(st, SUBMIT_POLICY, v->text);
        return false;
    }
    LOG(LOG_WARN, "policy.not-believed", LF_ID("msg", st->id),
        LF_S("domain", st->prepared.sender_domains[0]),
        LF_STR("tenant", st->op->credential->tenant), LF_STR("text", v->text));
    return true;
}

/* ---- signer and suppression list ------------------------------------------ */

/* The signatures stand before the header section. */
static void
put_signatures(struct submit_state *st)
{
    struct slice fields = buf_slice(&st->sign.fields);
    struct slice head = blob_slice(st->prepared.content.head);
    struct buf b;
    buf_init(&b, fields.n + head.n);
    buf_reserve(&b, fields.n + head.n);
    buf_add(&b, fields);
    buf_add(&b, head);
    blob_unref(&st->prepared.content.head);
    st->prepared.content.head = blob_take_buf(&b);
}

static void
log_unsigned(const struct submit_state *st, enum log_level level)
{
    LOG(level, "sign.no-key", LF_ID("msg", st->id), LF_S("domain", st->prepared.sender_domains[0]),
        LF_STR("tenant", st->op->credential->tenant));
}

/* False when the submission has ended. Development mode has a key for every
 * domain: there a missing one is a fault of ours. */
static bool
judge_signing(struct submit_state *st)
{
    switch (st->sign.status) {
    case SIGN_OK:
        put_signatures(st);
        return true;
    case SIGN_NO_KEY:
        log_unsigned(st, st->door->config->development ? LOG_ERROR : LOG_NOTICE);
        if (!st->door->config->development)
            return true;
        break;
    case SIGN_REFUSED:
        submit_finish(st, SUBMIT_CONTENT, st->sign.err.text);
        return false;
    case SIGN_AWAY:
        break;
    }
    submit_finish(st, SUBMIT_AWAY, "the message cannot be signed now");
    return false;
}

static void
answer_came(struct submit_state *st)
{
    if (st->signing || st->listing || st->checking)
        return;
    if (st->cancelled) {
        submit_finish(st, SUBMIT_AWAY, "cancelled");
        return;
    }
    if (st->listed.err.code != ERR_NONE) {
        submit_finish(st, SUBMIT_AWAY, "the queue cannot be reached now");
        return;
    }
    if (submit_refuse_frozen(st) || !judge_policy(st))
        return;
    for (unsigned i = 0; i < st->op->recipient_count; i++)
        st->op->recipients[i].suppressed = st->listed.suppressed[i];
    if (judge_signing(st))
        submit_begin_commit(st);
}

static void
on_signed(struct sign_op *sign)
{
    struct submit_state *st = container_of(sign, struct submit_state, sign);
    st->signing = false;
    answer_came(st);
}

static void
on_listed(struct queue_suppressed_op *listed)
{
    struct submit_state *st = container_of(listed, struct submit_state, listed);
    st->listing = false;
    answer_came(st);
}

static void
on_checked(struct preflight_op *op)
{
    struct submit_state *st = container_of(op, struct submit_state, preflight);
    st->checking = false;
    answer_came(st);
}

static void
begin_preflight(struct submit_state *st)
{
    struct preflight *p = st->door->preflight;
    struct slice from = st->prepared.sender_domains[0], reverse = st->op->reverse_domain;
    if (p == NULL || policy_of(st) == CONFIG_POLICY_OFF)
        return;
    st->policy_asked = true;
    if (preflight_known(p, reverse, from, &st->preflight.verdict))
        return;
    st->checking = true;
    st->preflight.done = on_checked;
    preflight_start(&st->preflight, p, reverse, from);
}

static void
begin_asking(struct submit_state *st)
{
    unsigned n = st->op->recipient_count;
    bool *suppressed = arena_alloc(&st->arena, n * sizeof *suppressed);
    if (suppressed == NULL) {
        submit_finish(st, SUBMIT_NO_ROOM,
                      "the message needs more memory than one transaction may have");
        return;
    }
    sm_move(&st->sm, STEP_ASK);
    st->signing = st->listing = true;
    st->listed = (struct queue_suppressed_op){
        .done = on_listed,
        .tenant = slice_str(st->op->credential->tenant),
        .addresses = st->addresses,
        .count = n,
        .suppressed = suppressed,
    };
    st->sign.done = on_signed;
    st->sign.message = &st->prepared.content;
    st->sign.domain = st->prepared.sender_domains[0];
    queue_suppressed_start(&st->listed, st->door->queue);
    sign_start(&st->sign, st->door->signers);
    begin_preflight(st);
}

/* ---- what the credential may still have ------------------------------------- */

static void
refuse_rate(struct submit_state *st)
{
    struct buf text;
    buf_init(&text, sizeof st->op->text - 1);
    st->op->allowance.over = policy_allowance_name(st->allow.result);
    st->op->allowance.retry_after_s = (st->allow.wait_ms + 999) / 1000;
    policy_allowance_explain(st->op->credential, &st->allow, &text);
    buf_add_char(&text, '\0');
    submit_finish(st, SUBMIT_RATE, buf_slice(&text).p);
    buf_fini(&text);
}

static void
on_allowed(struct queue_allow_op *allow)
{
    struct submit_state *st = container_of(allow, struct submit_state, allow);
    st->counted = allow->result == QUEUE_ALLOWED;
    if (st->cancelled) {
        submit_finish(st, SUBMIT_AWAY, "cancelled");
    } else if (st->counted) {
        st->op->allowance = (struct submit_allowance){
            .known = true,
            .rate_left = allow->rate_left,
            .daily_left = allow->daily_left,
            .rate_full_s = (allow->rate_full_ms + 999) / 1000,
            .daily_reset_s = (allow->daily_reset_ms + 999) / 1000,
        };
        begin_asking(st);
    } else if (allow->result == QUEUE_ALLOW_NO_ROOM) {
        submit_finish(st, SUBMIT_NO_ROOM, "no room for more messages now");
    } else if (allow->result == QUEUE_ALLOW_AWAY) {
        submit_finish(st, SUBMIT_AWAY, "the queue cannot be reached now");
    } else {
        refuse_rate(st);
    }
}

void
submit_begin_allowing(struct submit_state *st)
{
    unsigned n = st->op->recipient_count;
    st->addresses = arena_alloc(&st->arena, n * sizeof *st->addresses);
    if (st->addresses == NULL) {
        submit_finish(st, SUBMIT_NO_ROOM,
                      "the message needs more memory than one transaction may have");
        return;
    }
    for (unsigned i = 0; i < n; i++)
        st->addresses[i] = st->op->recipients[i].address;
    if (!policy_allowance_of(st->op->credential, &st->allow.limits)) {
        begin_asking(st);
        return;
    }
    if (n > policy_allowance_recipients_max(st->op->credential)) {
        submit_finish(st, SUBMIT_CONTENT,
                      "more recipients than this credential may have in a message");
        return;
    }
    sm_move(&st->sm, STEP_ALLOW);
    st->allow.done = on_allowed;
    st->allow.submitter = slice_str(st->op->credential->user);
    st->allow.recipients = st->addresses;
    st->allow.count = n;
    queue_allow_start(&st->allow, st->door->queue);
}
