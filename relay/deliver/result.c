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

/* RFC 3461 4.1, 5.2.2; never for mail without a reverse-path (RFC 5321 6.1). */
static bool
owes_notice(const struct envelope *e, const struct queue_target *t, bool relayed)
{
    struct rcpt_options options = {0};
    if (e->reverse_path.n == 0 || e->is_ndr)
        return false;
    if (t->options.n > 0 && !rcpt_options_decode(t->options, &options))
        options = (struct rcpt_options){0};
    if (t->state == QUEUE_BOUNCED || t->state == QUEUE_EXPIRED)
        return rcpt_options_wants_failure(&options);
    return t->state == QUEUE_DELIVERED && relayed && (options.notify & NOTIFY_SUCCESS) != 0;
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
    int64_t next_unix_ms;
};

static void
endings_init(struct endings *e, struct queue_job *job)
{
    *e = (struct endings){.job = job, .delivery = queue_job_delivery(job)};
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
    struct event_set set = {.type = end->type,
                            .message = queue_job_message(e->job),
                            .verdict = &end->verdict,
                            .recipients = addresses,
                            .count = count,
                            .attempts = end->attempts,
                            .uncertain = end->uncertain,
                            .at_unix_ms = clock_sched_unix_ms()};
    if (end->type == EVENT_DEFERRED || end->type == EVENT_UNCERTAIN)
        set.next_attempt_unix_ms = e->next_unix_ms;
    bool fits = true;
    if (end->type == EVENT_EXPIRED && end->verdict.outcome == OUTCOME_UNCERTAIN) {
        set.type = EVENT_UNCERTAIN; /* every such attempt is told of */
        fits = event_add(event, &set);
        set.type = EVENT_EXPIRED;
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
    keep_reply(job, i, &r->verdict);
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
    endings_init(&e, job);
    d->attempts++;
    for (unsigned i = 0; i < d->target_count; i++)
        if (targets[i].attempted) {
            write_target(config, envelope, job, i, &targets[i]);
            endings_note(&e, i, &targets[i].verdict);
        }
    e.next_unix_ms = next_attempt(config, d);
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
    endings_init(&e, job);
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
    endings_init(&e, job);
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
