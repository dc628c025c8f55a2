/*
 * The outcome of a job, durable whatever happens to the link: the command is
 * repeated until it is answered, and the script knows an attempt that it has
 * recorded already.
 *
 * Happy path: write the next revision of the record -> done.
 *
 * Ways it ends: recorded; recorded before (DONE: only the answer was lost);
 * stale (the record moved on: the facts are merged into what it says now and
 * written again, until that holds); gone (the message is finished); refused by
 * Redis as nonsense (logged, given up: the next takeover finds the attempt);
 * the queue closes.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/attempt.h"
#include "queue/event.h"
#include "queue/history.h"
#include "queue/notice.h"
#include "queue/schedule.h"
#include "queue/trace.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { MERGE_MEMORY_MAX = 4 * QUEUE_RECORD_MAX };

struct queue_finish_state {
    struct queue_finish_op *op;
    struct queue_job *job;
    struct link_cmd cmd;
    const char *mode;               /* of finish.lua: "attempt", "direct", "merged" */
    struct queue_delivery *current; /* what is written */
    uint64_t revision;              /* that it replaces */
    struct arena arena;             /* of a merged record */
    bool *owed;
    bool owes;
};

static void
finish_end(struct queue_finish_state *s, bool stale)
{
    struct queue_finish_op *op = s->op;
    struct queue *q = s->job->q;
    op->stale = stale;
    op->state = NULL;
    job_forget(s->job);
    arena_fini(&s->arena);
    free(s->owed);
    free(s);
    q->outcomes--;
    op->done(op);
}

/* ---- writing --------------------------------------------------------------- */

static void
add_keys(struct link_cmd *c, const struct queue_job *job)
{
    struct msg_id id = job->message.id;
    unsigned p = job_partition(job)->number;
    struct key keys[] = {
        key_of_message(id),        key_of_part(p, KEY_INFLIGHT), key_of_queue(p, job_lane(job)),
        key_of_part(p, KEY_DUE),   key_of_part(p, KEY_OUT),      key_of_part(p, KEY_NDR),
        key_of_part(p, KEY_STAT),  key_of_part(p, KEY_HIST),     key_of_part(p, KEY_LEASE),
        key_of_part(p, KEY_LANES), key_of_part(p, KEY_HELD),     key_of_held(p, job_lane(job))};
    link_cmd_script(c, SCRIPT_CALL_FINISH, (unsigned)ARRAY_LEN(keys) + job->body.chunks);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
    for (unsigned i = 0; i < job->body.chunks; i++) {
        struct key chunk = key_of_chunk(id, i);
        link_arg(c, key_slice(&chunk));
    }
}

static void
add_record(struct queue_finish_state *s)
{
    char revision[RECORD_REVISION_BYTES];
    struct buf record;
    buf_init(&record, QUEUE_COMMAND_MAX);
    record_put_revision(s->revision, revision);
    record_add_delivery(&record, s->current, s->revision + 1);
    link_arg(&s->cmd, slice_from(revision, sizeof revision));
    link_arg(&s->cmd, buf_slice(&record));
    buf_fini(&record);
}

static void
add_due(struct queue_finish_state *s)
{
    struct queue_delivery *d = s->current;
    if (d->due_unix_ms > 0)
        link_arg_int(&s->cmd, d->due_unix_ms);
    else
        link_arg_str(&s->cmd, "");
}

/* The debt's name holds the attempt's revision: one finish, one notice. */
static void
add_debt(struct queue_finish_state *s)
{
    struct buf name, debt;
    buf_init(&name, KEY_BYTES_MAX);
    buf_init(&debt, QUEUE_RECORD_MAX);
    if (s->owes) {
        buf_addf(&name, "%s.%llu", s->job->member, (unsigned long long)s->revision);
        record_add_debt(&debt, s->job->delivery.index, s->current, s->owed);
    }
    link_arg(&s->cmd, buf_slice(&name));
    link_arg(&s->cmd, buf_slice(&debt));
    buf_fini(&debt);
    buf_fini(&name);
}

static enum queue_event_kind
event_of(enum queue_state state)
{
    static const enum queue_event_kind KINDS[] = {
        [QUEUE_QUEUED] = QUEUE_EVENT_DEFERRED,
        [QUEUE_DEFERRED] = QUEUE_EVENT_DEFERRED,
        [QUEUE_HELD] = QUEUE_EVENT_HELD,
        [QUEUE_DELIVERED] = QUEUE_EVENT_SUCCEEDED,
        [QUEUE_BOUNCED] = QUEUE_EVENT_BOUNCED,
        [QUEUE_EXPIRED] = QUEUE_EVENT_EXPIRED,
        [QUEUE_SUPPRESSED] = QUEUE_EVENT_SUPPRESSED,
        [QUEUE_CANCELLED] = QUEUE_EVENT_CANCELLED,
    };
    return KINDS[state];
}

/* Whether the consumer has found out something about this target. */
static bool
is_news(const struct queue_job *job, unsigned i)
{
    const struct queue_target *t = &job->delivery.targets[i];
    const struct job_before *b = &job->before[i];
    return !job->old[i] && (t->state != b->state || t->attempts != b->attempts ||
                            (t->reply.n > 0 && t->reply.p != b->reply));
}

static void
add_trace(struct queue_finish_state *s)
{
    const struct queue_job *job = s->job;
    const struct queue_delivery *d = &job->delivery;
    struct trace_record r = {.at_unix_ms = clock_sched_unix_ms(),
                             .retry_at_unix_ms = s->current->due_unix_ms,
                             .delivery = d->index,
                             .attempt = d->attempts};
    struct trace_writer w;
    struct buf b;
    unsigned news = 0;
    buf_init(&b, QUEUE_TRACE_RECORD_MAX);
    for (unsigned i = 0; i < d->target_count; i++)
        news += is_news(job, i);
    if (news > 0)
        trace_begin(&w, &b, &r, news);
    for (unsigned i = 0; i < d->target_count && news > 0; i++)
        if (is_news(job, i))
            trace_add(&w, event_of(d->targets[i].state), i, &d->targets[i]);
    link_arg(&s->cmd, buf_slice(&b));
    buf_fini(&b);
}

static void on_finished(struct link_cmd *c);

/* A late fact does not move what somebody else has scheduled. */
static int64_t
next_due(const struct queue_finish_state *s)
{
    bool merged = strcmp(s->mode, "merged") == 0;
    if (!record_is_schedulable(s->current))
        return 0;
    if (merged && s->current->due_unix_ms > 0)
        return s->current->due_unix_ms;
    int64_t at = s->op->retry_at_unix_ms;
    return at > 0 ? at : clock_sched_unix_ms(); /* never left outside of the schedule */
}

static void
finish_send(struct queue_finish_state *s)
{
    struct queue_job *job = s->job;
    struct link_cmd *c = &s->cmd;
    char id[ID_TEXT_BYTES + 1];
    id_format(job->message.id, id);
    queue_cmd_init(c, job->q, job_partition(job)->number, on_finished);
    c->sticky = true;
    add_keys(c, job);
    link_arg(c, slice_from(job->member, job->member_n));
    link_arg_int(c, job->delivery.index);
    link_arg(c, slice_from(job->attempt.id, sizeof job->attempt.id));
    s->current->due_unix_ms = next_due(s);
    add_record(s);
    link_arg_str(c, s->mode);
    add_due(s);
    link_arg(c, job_lane(job));
    link_arg(c, s->op->event);
    add_debt(s);
    link_arg_int(c, clock_sched_unix_ms());
    link_arg_str(c, id);
    link_arg_str(c, job->q->me.hex);
    link_arg_int(c, job_partition(job)->number);
    link_arg_str(c, record_is_held(s->current) ? "1" : "");
    add_trace(s);
    link_cmd_start(c);
}

/* ---- judging --------------------------------------------------------------- */

static void
note_owed(struct queue_finish_state *s)
{
    const struct queue_delivery *d = &s->job->delivery;
    s->owes = false;
    for (unsigned i = 0; i < d->target_count; i++) {
        s->owed[i] = d->targets[i].notice_owed;
        s->owes |= s->owed[i];
    }
}

/* The record is another one by now: joins our facts to it. */
static void
finish_merge(struct queue_finish_state *s, struct slice record)
{
    struct queue_job *job = s->job;
    struct slice copy;
    arena_fini(&s->arena);
    arena_init(&s->arena, MERGE_MEMORY_MAX);
    struct queue_delivery *now = arena_alloc(&s->arena, sizeof *now);
    bool ok = now != NULL && arena_copy(&s->arena, record, &copy) &&
              record_read_delivery(copy, &s->arena, now);
    int twice = ok ? record_merge(now, &job->delivery, job->old, &s->arena) : -1;
    if (twice < 0) {
        LOG(LOG_ERROR, "queue.finish.unmergeable", LF_ID("msg", job->message.id),
            LF_U("delivery", job->delivery.index));
        finish_end(s, true);
        return;
    }
    if (twice > 0) {
        metrics_add(METRIC_UNCERTAIN, (uint64_t)twice);
        LOG(LOG_WARN, "queue.attempted-twice", LF_ID("msg", job->message.id),
            LF_U("delivery", job->delivery.index), LF_U("targets", twice));
    }
    s->current = now;
    s->revision = now->revision;
    s->mode = "merged";
    note_owed(s);
    finish_send(s);
}

static void
finish_recorded(struct queue_finish_state *s, const struct redisReply *r)
{
    struct partition *p = job_partition(s->job);
    bool owes = s->owes, late = strcmp(s->mode, "merged") == 0;
    int64_t due = s->current->due_unix_ms;
    FAILPOINT("finish.sent");
    event_deliver(p, resp_text(resp_at(r, 1)), s->op->event);
    history_note(p, resp_int(resp_at(r, 2), 0));
    finish_end(s, late);
    if (p->held && due > 0)
        schedule_note_due(p, due);
    if (owes)
        notice_sweep(p);
    FAILPOINT("finish.done");
}

static void
on_finished(struct link_cmd *c)
{
    struct queue_finish_state *s = container_of(c, struct queue_finish_state, cmd);
    const struct redisReply *what = resp_at(c->reply, 0);
    struct partition *p = job_partition(s->job);
    if (c->outcome == LINK_REFUSED) {
        struct err err;
        link_cmd_explain(c, &err);
        LOG(LOG_ERROR, "queue.finish.refused", LF_ID("msg", s->job->message.id), LF_ERR(&err));
        finish_end(s, true);
    } else if (c->outcome != LINK_ANSWERED || resp_is(what, "GONE")) {
        finish_end(s, true);
    } else if (resp_is(what, "OK")) {
        finish_recorded(s, c->reply);
    } else if (resp_is(what, "DONE")) {
        int64_t due = s->current->due_unix_ms;
        finish_end(s, false);
        event_read_left(p); /* its id was in the answer that was lost */
        notice_sweep(p);
        if (p->held && due > 0)
            schedule_note_due(p, due);
    } else if (strcmp(s->mode, "direct") == 0) {
        finish_end(s, true); /* no attempt, no fact: whoever has it decides */
        schedule_scan_soon(p);
    } else {
        finish_merge(s, resp_text(resp_at(c->reply, 1)));
    }
}

void
queue_finish_start(struct queue_finish_op *op, struct queue *q, struct queue_job *job)
{
    struct queue_finish_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || q != job->q);
    unsigned n = job->delivery.target_count;
    FAILPOINT("finish.before");
    s->op = op;
    op->state = s;
    s->job = job;
    s->owed = calloc(n > 0 ? n : 1, sizeof *s->owed);
    BUG_ON(s->owed == NULL);
    arena_init(&s->arena, MERGE_MEMORY_MAX);
    s->mode = job->sm.state == JOB_OUT ? "direct" : "attempt";
    if (job->sm.state == JOB_OUT)
        random_bytes(job->attempt.id, sizeof job->attempt.id);
    else
        job->delivery.crashes = 0;
    q->outcomes++;
    job_move(job, JOB_FINISHING);
    s->current = &job->delivery;
    s->revision = job->delivery.revision;
    note_owed(s);
    finish_send(s);
}
