/*
 * Happy path: read a page of `inflight` -> for each attempt that is over, read
 * its records -> recover.lua -> next page.
 *
 * Ways an entry ends: recovered; a late fact was faster (GONE); another lease
 * (STALE); the record changed in between (read once more); broken (quarantine);
 * Redis away (the sweep is repeated).
 */
#include "queue/recover.h"

#include <stdlib.h>
#include <string.h>

#include "queue/event.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/quarantine.h"
#include "queue/schedule.h"
#include "queue/trace.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { PAGE = 100, AGAIN_MS = 1000, ENTRY_MEMORY_MAX = 3 * QUEUE_RECORD_MAX };

struct sweep {
    struct partition *p;
    struct link_cmd cmd;
    uint64_t wait_ms; /* until the next entry is due for recovery; 0: none waits */
};

struct entry {
    struct partition *p;
    struct link_cmd cmd;
    struct msg_id id;
    unsigned index;
    struct buf member, attempt, event, trace;
    int64_t due_unix_ms; /* 0: held */
    bool poison;
};

static void sweep_page(struct sweep *s, struct slice cursor);
static void entry_read(struct entry *e);

static void
again_in(struct partition *p, uint64_t delay_ms)
{
    if (!timer_active(&p->recover_late) || p->recover_late.due_ms > clock_mono_ms() + delay_ms)
        timer_start(&p->recover_late, delay_ms);
}

static void
on_late(struct timer *t)
{
    recover_start(container_of(t, struct partition, recover_late));
}

void
recover_init(struct partition *p)
{
    timer_init(&p->recover_late, p->q->loop, on_late);
}

/* ---- one attempt ----------------------------------------------------------- */

static void
entry_free(struct entry *e)
{
    e->p->recovering--;
    buf_fini(&e->member);
    buf_fini(&e->attempt);
    buf_fini(&e->event);
    buf_fini(&e->trace);
    free(e);
}

static void
entry_fail(struct entry *e)
{
    if (e->p->held && !e->p->q->closing)
        again_in(e->p, AGAIN_MS);
    entry_free(e);
}

static void
entry_recovered(struct entry *e, struct slice event_id)
{
    struct partition *p = e->p;
    metrics_add(METRIC_UNCERTAIN, 1);
    LOG(e->poison ? LOG_ERROR : LOG_WARN, e->poison ? "queue.poison" : "queue.recovered",
        LF_ID("msg", e->id), LF_U("delivery", e->index));
    FAILPOINT("takeover.recovered");
    event_deliver(p, event_id, buf_slice(&e->event));
    if (e->due_unix_ms > 0 && p->held)
        schedule_note_due(p, e->due_unix_ms);
    entry_free(e);
}

static void
on_recovered(struct link_cmd *c)
{
    struct entry *e = container_of(c, struct entry, cmd);
    const struct redisReply *what = resp_at(c->reply, 0);
    if (c->outcome != LINK_ANSWERED)
        entry_fail(e);
    else if (resp_is(what, "OK"))
        entry_recovered(e, resp_text(resp_at(c->reply, 1)));
    else if (resp_is(what, "CHANGED"))
        entry_read(e);
    else
        entry_free(e);
}

/* Nobody knows whether the dot was sent: every open target is uncertain. */
static void
entry_judge(struct entry *e, struct queue_delivery *d)
{
    d->attempts++;
    d->crashes++;
    e->poison = d->crashes >= QUEUE_CRASHES_MAX;
    bool hold = e->poison || e->p->q->cfg.hold_uncertain;
    struct trace_record r = {.at_unix_ms = clock_sched_unix_ms(),
                             .retry_at_unix_ms = hold ? 0 : clock_sched_unix_ms(),
                             .delivery = e->index,
                             .attempt = d->attempts};
    struct trace_writer w;
    buf_clear(&e->trace);
    trace_begin(&w, &e->trace, &r, d->target_count);
    for (unsigned i = 0; i < d->target_count; i++) {
        struct queue_target *t = &d->targets[i];
        if (queue_state_is_terminal(t->state) || t->state == QUEUE_HELD)
            continue;
        t->attempts++;
        t->uncertain = true;
        t->state = hold ? QUEUE_HELD : QUEUE_DEFERRED;
        struct queue_target silent = {.uncertain = true}; /* the reply is of an attempt before */
        trace_add(&w, hold ? QUEUE_EVENT_HELD : QUEUE_EVENT_DEFERRED, i, &silent);
    }
    e->due_unix_ms = record_is_schedulable(d) ? clock_sched_unix_ms() : 0;
    d->due_unix_ms = e->due_unix_ms;
    buf_clear(&e->event);
    event_describe(&e->event, e->poison ? "queue.poison" : "queue.uncertain",
                   buf_slice(&e->member));
}

static void
add_recover_keys(struct link_cmd *c, const struct entry *e, struct slice lane)
{
    unsigned p = e->p->number;
    struct key keys[] = {key_of_part(p, KEY_LEASE),    key_of_message(e->id),
                         key_of_part(p, KEY_INFLIGHT), key_of_queue(p, lane),
                         key_of_part(p, KEY_DUE),      key_of_part(p, KEY_OUT),
                         key_of_part(p, KEY_STAT),     key_of_part(p, KEY_LANES),
                         key_of_part(p, KEY_HELD),     key_of_held(p, lane)};
    link_cmd_script(c, SCRIPT_CALL_RECOVER, ARRAY_LEN(keys));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
}

static void
entry_write(struct entry *e, const struct queue_delivery *d, struct slice lane)
{
    char revision[RECORD_REVISION_BYTES];
    struct buf record;
    struct link_cmd *c = &e->cmd;
    buf_init(&record, QUEUE_RECORD_MAX + QUEUE_FIELD_MAX);
    record_add_delivery(&record, d, d->revision + 1);
    record_put_revision(d->revision, revision);
    queue_cmd_init(c, e->p->q, e->p->number, on_recovered);
    add_recover_keys(c, e, lane);
    link_arg_str(c, e->p->q->me.hex);
    link_arg_int(c, (int64_t)e->p->epoch);
    link_arg(c, buf_slice(&e->member));
    link_arg_int(c, e->index);
    link_arg(c, buf_slice(&e->attempt));
    link_arg(c, slice_from(revision, sizeof revision));
    link_arg(c, buf_slice(&record));
    if (e->due_unix_ms > 0)
        link_arg_int(c, e->due_unix_ms);
    else
        link_arg_str(c, "");
    link_arg(c, lane);
    link_arg(c, buf_slice(&e->event));
    link_arg_str(c, record_is_held(d) ? "1" : "");
    link_arg_int(c, clock_sched_unix_ms());
    link_arg(c, buf_slice(&e->trace));
    buf_fini(&record);
    link_cmd_start(c);
}

/* false: broken. */
static bool
entry_take(struct entry *e, struct arena *a, const struct redisReply *r)
{
    struct queue_message m = {0};
    struct record_body body;
    struct queue_delivery d = {.index = e->index};
    struct key lane;
    if (!record_read_message(resp_text(resp_at(r, 0)), &m, &body) ||
        !record_read_delivery(resp_text(resp_at(r, 1)), a, &d) ||
        !key_lane(m.klass, d.next_hop, m.tenant, &lane))
        return false;
    entry_judge(e, &d);
    entry_write(e, &d, key_slice(&lane));
    return true;
}

static void
on_entry_read(struct link_cmd *c)
{
    struct entry *e = container_of(c, struct entry, cmd);
    if (c->outcome != LINK_ANSWERED || !e->p->held) {
        entry_fail(e);
        return;
    }
    struct arena a;
    arena_init(&a, ENTRY_MEMORY_MAX);
    bool ok = entry_take(e, &a, c->reply);
    arena_fini(&a);
    if (ok)
        return;
    quarantine_entry(e->p, buf_slice(&e->member), resp_text(resp_at(c->reply, 1)), SLICE_NONE);
    entry_free(e);
}

static void
entry_read(struct entry *e)
{
    struct key message = key_of_message(e->id);
    char field[16];
    size_t n = key_field('d', e->index, field);
    queue_cmd_init(&e->cmd, e->p->q, e->p->number, on_entry_read);
    link_cmd_plain(&e->cmd, "HMGET");
    link_arg(&e->cmd, key_slice(&message));
    link_arg_str(&e->cmd, "r");
    link_arg(&e->cmd, slice_from(field, n));
    link_cmd_start(&e->cmd);
}

static void
entry_start(struct partition *p, struct slice member, struct slice attempt)
{
    struct entry *e = calloc(1, sizeof *e);
    BUG_ON(e == NULL);
    e->p = p;
    p->recovering++;
    buf_init(&e->member, KEY_MEMBER_MAX);
    buf_init(&e->attempt, RECORD_ATTEMPT_MAX);
    buf_init(&e->event, KEY_BYTES_MAX);
    buf_init(&e->trace, QUEUE_TRACE_RECORD_MAX);
    buf_add(&e->member, member);
    buf_add(&e->attempt, attempt);
    key_member_parse(member, &e->id, &e->index);
    entry_read(e);
}

/* ---- the sweep ------------------------------------------------------------- */

/* How long this attempt is still waited for. */
static uint64_t
patience_ms(const struct partition *p, const struct record_attempt *a)
{
    const struct queue *q = p->q;
    struct owner o = owner_from_bytes(a->owner);
    uint64_t held_ms = clock_mono_ms() - p->taken_ms;
    if (lease_owner_is_dead(q, &o) || strcmp(o.hex, q->me.hex) == 0)
        return 0;
    return held_ms < q->cfg.lease_ms ? q->cfg.lease_ms - held_ms : 0;
}

static void
sweep_take(struct sweep *s, struct slice member, struct slice attempt)
{
    struct partition *p = s->p;
    struct record_attempt a;
    struct msg_id id;
    unsigned n;
    if (member.n == 0) /* the permanent member */
        return;
    if (!key_member_parse(member, &id, &n) || !record_read_attempt(attempt, &a)) {
        quarantine_entry(p, member, attempt, SLICE_NONE);
        return;
    }
    if (job_runs_attempt(p->q, member, a.id))
        return;
    uint64_t wait_ms = patience_ms(p, &a);
    if (wait_ms == 0)
        entry_start(p, member, attempt);
    else if (s->wait_ms == 0 || wait_ms < s->wait_ms)
        s->wait_ms = wait_ms;
}

static void
sweep_end(struct sweep *s, bool complete)
{
    struct partition *p = s->p;
    uint64_t wait_ms = complete ? s->wait_ms : AGAIN_MS;
    p->recovery = NULL;
    free(s);
    if (wait_ms > 0 && p->held && !p->q->closing)
        again_in(p, wait_ms);
}

/* The reply is [cursor, [field, value, ...]]. */
static void
on_page(struct link_cmd *c)
{
    struct sweep *s = container_of(c, struct sweep, cmd);
    if (c->outcome != LINK_ANSWERED || !s->p->held) {
        sweep_end(s, false);
        return;
    }
    const struct redisReply *page = resp_at(c->reply, 1);
    for (size_t i = 0; i + 1 < resp_count(page); i += 2)
        sweep_take(s, resp_text(resp_at(page, i)), resp_text(resp_at(page, i + 1)));
    struct slice cursor = resp_text(resp_at(c->reply, 0));
    if (slice_eq(cursor, SLICE("0")) || cursor.n == 0)
        sweep_end(s, true);
    else
        sweep_page(s, cursor);
}

static void
sweep_page(struct sweep *s, struct slice cursor)
{
    struct key inflight = key_of_part(s->p->number, KEY_INFLIGHT);
    queue_cmd_init(&s->cmd, s->p->q, s->p->number, on_page);
    link_cmd_plain(&s->cmd, "HSCAN");
    link_arg(&s->cmd, key_slice(&inflight));
    link_arg(&s->cmd, cursor);
    link_arg_str(&s->cmd, "COUNT");
    link_arg_int(&s->cmd, PAGE);
    link_cmd_start(&s->cmd);
}

void
recover_start(struct partition *p)
{
    if (!p->held)
        return;
    if (p->recovery != NULL) {
        again_in(p, AGAIN_MS);
        return;
    }
    struct sweep *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->p = p;
    p->recovery = s;
    sweep_page(s, SLICE("0"));
}
