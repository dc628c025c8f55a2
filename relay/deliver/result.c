#include "relay/deliver/result.h"

#include <stdlib.h>

#include "relay/deliver/retry.h"
#include "relay/event/event.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

bool
result_is_open(const struct queue_target *t)
{
    return t->state == QUEUE_QUEUED || t->state == QUEUE_DEFERRED;
}

/* ---- states ------------------------------------------------------------- */

static enum queue_state
state_of(enum outcome o, bool over, bool hold_uncertain)
{
    switch (o) {
    case OUTCOME_DELIVERED:
        return QUEUE_DELIVERED;
    case OUTCOME_PERM:
        return QUEUE_BOUNCED;
    case OUTCOME_UNCERTAIN:
        if (hold_uncertain)
            return QUEUE_HELD;
        break;
    case OUTCOME_TEMP:
        break;
    }
    return over ? QUEUE_EXPIRED : QUEUE_DEFERRED;
}

static struct rcpt_options
options_of(const struct queue_target *t)
{
    struct rcpt_options o;
    if (t->options.n == 0 || !rcpt_options_decode(t->options, &o))
        o = (struct rcpt_options){0};
    return o;
}

/* Mail without a reverse-path is never answered (RFC 5321 6.1). */
static bool
may_be_answered(const struct envelope *e)
{
    return e->reverse_path.n > 0 && !e->is_ndr;
}

/* RFC 3461 4.1, 5.2.2 */
static bool
owes_notice(const struct envelope *e, const struct queue_target *t, bool relayed)
{
    struct rcpt_options options = options_of(t);
    if (!may_be_answered(e))
        return false;
    if (t->state == QUEUE_BOUNCED || t->state == QUEUE_EXPIRED)
        return rcpt_options_wants_failure(&options);
    return t->state == QUEUE_DELIVERED && relayed && (options.notify & NOTIFY_SUCCESS) != 0;
}

/* When an open target's delay is to be told; 0: never, or it was. NOTIFY without
 * DELAY forbids it, no NOTIFY at all leaves it to us (RFC 3461 4.1). */
static int64_t
delay_notice_at(const struct config *config, const struct envelope *e,
                const struct queue_message *m, const struct queue_target *t)
{
    struct rcpt_options options = options_of(t);
    uint64_t after_ms = config->ndr_delay_after_ms;
    if (!may_be_answered(e) || t->delay_told || !result_is_open(t))
        return 0;
    if (after_ms == 0 && rcpt_options_asks_delay(&options))
        after_ms = NDR_DELAY_ASKED_MS;
    else if ((options.notify & NOTIFY_GIVEN) != 0 && !rcpt_options_asks_delay(&options))
        after_ms = 0;
    int64_t begun = e->send_at_unix_ms > 0 ? e->send_at_unix_ms : m->created_unix_ms;
    return after_ms > 0 ? begun + (int64_t)after_ms : 0;
}

static void
keep_reply(struct queue_job *job, unsigned i, const struct verdict *v)
{
    struct buf b;
    buf_init(&b, VERDICT_RECORD_MAX);
    if (verdict_encode(v, &b))
        queue_job_set_reply(job, i, buf_slice(&b));
    else
        LOG(LOG_ERROR, "delivery.verdict-not-kept", LF_ID("msg", queue_job_message(job)->id));
    buf_fini(&b);
}

/* ---- the event ---------------------------------------------------------- */

/* Targets of one attempt that met the same end stand in one record. */
struct ending {
    enum event_type type;
    uint32_t attempts;
    bool uncertain;
    struct verdict verdict;
};

static bool
same_ending(const struct ending *a, const struct ending *b)
{
    return a->type == b->type && a->attempts == b->attempts && a->uncertain == b->uncertain &&
           a->verdict.code == b->verdict.code && a->verdict.enhanced[0] == b->verdict.enhanced[0] &&
           a->verdict.enhanced[1] == b->verdict.enhanced[1] &&
           a->verdict.enhanced[2] == b->verdict.enhanced[2] &&
           slice_eq(a->verdict.text, b->verdict.text) && slice_eq(a->verdict.mx, b->verdict.mx);
}

static enum event_type
type_of(const struct queue_target *t, const struct verdict *v)
{
    switch (t->state) {
    case QUEUE_DELIVERED:
        return EVENT_SUCCEEDED;
    case QUEUE_BOUNCED:
        return EVENT_BOUNCED;
    case QUEUE_EXPIRED:
        return EVENT_EXPIRED;
    default:
        if (v->outcome == OUTCOME_UNCERTAIN)
            return EVENT_UNCERTAIN;
        return t->state == QUEUE_HELD ? EVENT_HELD : EVENT_DEFERRED;
    }
}

struct endings {
    const struct queue_job *job;
    const struct queue_delivery *delivery;
    struct ending *of; /* per target */
    bool *told;        /* per target: not part of this event, or written already */
    bool answerable;   /* there is a sender to tell */
    int64_t next_unix_ms;
};

static void
endings_init(struct endings *e, struct queue_job *job, bool answerable)
{
    *e =
        (struct endings){.job = job, .delivery = queue_job_delivery(job), .answerable = answerable};
    e->of = calloc(e->delivery->target_count, sizeof *e->of);
    e->told = calloc(e->delivery->target_count, sizeof *e->told);
    BUG_ON(e->of == NULL || e->told == NULL);
    for (unsigned i = 0; i < e->delivery->target_count; i++)
        e->told[i] = true;
}

static void
endings_note(struct endings *e, unsigned i, const struct verdict *v)
{
    const struct queue_target *t = &e->delivery->targets[i];
    e->of[i] = (struct ending){type_of(t, v), t->attempts, t->uncertain, *v};
    e->told[i] = false;
}

static void
tell_from(struct endings *e, unsigned first, struct slice *addresses, struct buf *event)
{
    const struct ending *end = &e->of[first];
    unsigned count = 0;
    for (unsigned i = first; i < e->delivery->target_count; i++)
        if (!e->told[i] && same_ending(&e->of[i], end)) {
            addresses[count++] = e->delivery->targets[i].address;
            e->told[i] = true;
        }
    bool gave_up = end->type == EVENT_BOUNCED || end->type == EVENT_EXPIRED;
    struct event_set set = {.type = end->type,
                            .message = queue_job_message(e->job),
                            .verdict = &end->verdict,
                            .recipients = addresses,
                            .count = count,
                            .attempts = end->attempts,
                            .uncertain = end->uncertain,
                            .double_bounce = gave_up && !e->answerable,
                            .at_unix_ms = clock_sched_unix_ms()};
    if (end->type == EVENT_DEFERRED || end->type == EVENT_UNCERTAIN)
        set.next_attempt_unix_ms = e->next_unix_ms;
    bool fits = true;
    if (end->type == EVENT_EXPIRED && end->verdict.outcome == OUTCOME_UNCERTAIN) {
        struct event_set attempt = set; /* every such attempt is told of */
        attempt.type = EVENT_UNCERTAIN;
        attempt.double_bounce = false;
        fits = event_add(event, &attempt);
    }
    if (!event_add(event, &set) || !fits)
        LOG(LOG_ERROR, "delivery.event-not-kept", LF_ID("msg", set.message->id));
}

static void
endings_tell(struct endings *e, struct buf *event)
{
    struct slice *addresses = calloc(e->delivery->target_count, sizeof *addresses);
    BUG_ON(addresses == NULL);
    for (unsigned i = 0; i < e->delivery->target_count; i++)
        if (!e->told[i])
            tell_from(e, i, addresses, event);
    free(addresses);
    free(e->of);
    free(e->told);
}

/* ---- writing ------------------------------------------------------------ */

static void
write_target(const struct config *config, const struct envelope *e, struct queue_job *job,
             unsigned i, const struct result_target *r)
{
    struct queue_delivery *d = queue_job_delivery(job);
    struct queue_target *t = &d->targets[i];
    bool over = retry_is_over(clock_sched_unix_ms(), d->expires_unix_ms);
    t->attempts++;
    t->state = state_of(r->verdict.outcome, over, config->hold_uncertain);
    if (r->verdict.outcome == OUTCOME_UNCERTAIN)
        t->uncertain = true;
    t->notice_owed = owes_notice(e, t, r->relayed);
    int64_t delay_at = delay_notice_at(config, e, queue_job_message(job), t);
    if (delay_at > 0 && clock_sched_unix_ms() >= delay_at)
        t->notice_owed = t->delay_told = true;
    keep_reply(job, i, &r->verdict);
}

/* A delay is told by the attempt that finds it: one is made at that time. */
static int64_t
not_behind_delay_notice(const struct config *config, const struct envelope *e,
                        struct queue_job *job, int64_t next_unix_ms)
{
    const struct queue_delivery *d = queue_job_delivery(job);
    for (unsigned i = 0; i < d->target_count; i++) {
        int64_t at = delay_notice_at(config, e, queue_job_message(job), &d->targets[i]);
        if (at > clock_sched_unix_ms() && at < next_unix_ms)
            next_unix_ms = at;
    }
    return next_unix_ms;
}

static int64_t
next_attempt(const struct config *config, const struct queue_delivery *d)
{
    uint32_t attempts = 0, jitter;
    bool again = false;
    for (unsigned i = 0; i < d->target_count; i++)
        if (result_is_open(&d->targets[i])) {
            again = true;
            if (d->targets[i].attempts > attempts)
                attempts = d->targets[i].attempts;
        }
    if (!again)
        return 0;
    random_bytes(&jitter, sizeof jitter);
    return retry_at_unix_ms(&config->retry, attempts > 0 ? attempts : 1, clock_sched_unix_ms(),
                            d->expires_unix_ms, jitter);
}

int64_t
result_write(const struct config *config, const struct envelope *envelope, struct queue_job *job,
             const struct result_target *targets, struct buf *event)
{
    struct queue_delivery *d = queue_job_delivery(job);
    struct endings e;
    endings_init(&e, job, may_be_answered(envelope));
    d->attempts++;
    for (unsigned i = 0; i < d->target_count; i++)
        if (targets[i].attempted) {
            write_target(config, envelope, job, i, &targets[i]);
            endings_note(&e, i, &targets[i].verdict);
        }
    e.next_unix_ms = next_attempt(config, d);
    if (e.next_unix_ms != 0)
        e.next_unix_ms = not_behind_delay_notice(config, envelope, job, e.next_unix_ms);
    int64_t next = e.next_unix_ms;
    endings_tell(&e, event);
    return next;
}

/* The last verdict stays as the reason, if there is one. */
static void
last_verdict(const struct queue_target *t, const char *otherwise, struct verdict *v)
{
    if (t->reply.n > 0 && verdict_decode(t->reply, v))
        return;
    *v = (struct verdict){.outcome = OUTCOME_TEMP,
                          .enhanced = {5, 4, 7}, /* delivery time expired */
                          .text = slice_str(otherwise),
                          .phase = SLICE("queue"),
                          .at_unix_ms = clock_sched_unix_ms()};
}

void
result_expire(const struct envelope *envelope, struct queue_job *job, struct buf *event)
{
    struct queue_delivery *d = queue_job_delivery(job);
    struct endings e;
    endings_init(&e, job, may_be_answered(envelope));
    for (unsigned i = 0; i < d->target_count; i++) {
        struct queue_target *t = &d->targets[i];
        struct verdict v;
        if (!result_is_open(t))
            continue;
        last_verdict(t, "not delivered within the retry period", &v);
        bool first_word = t->reply.n == 0;
        t->state = QUEUE_EXPIRED;
        t->notice_owed = owes_notice(envelope, t, false);
        if (v.outcome == OUTCOME_UNCERTAIN)
            v.outcome = OUTCOME_TEMP; /* that attempt was told of when it ended */
        endings_note(&e, i, &v);
        if (first_word)
            keep_reply(job, i, &v);
    }
    endings_tell(&e, event);
}

void
result_hold(struct queue_job *job, const char *why, struct buf *event)
{
    struct queue_delivery *d = queue_job_delivery(job);
    struct endings e;
    endings_init(&e, job, true);
    struct verdict v = {.outcome = OUTCOME_TEMP,
                        .enhanced = {4, 3, 0},
                        .text = slice_str(why),
                        .phase = SLICE("queue"),
                        .at_unix_ms = clock_sched_unix_ms()};
    for (unsigned i = 0; i < d->target_count; i++)
        if (result_is_open(&d->targets[i])) {
            d->targets[i].state = QUEUE_HELD;
            keep_reply(job, i, &v);
            endings_note(&e, i, &v);
        }
    endings_tell(&e, event);
}
