/*
 * Happy path: out -> intending -> intended; finish.c goes on from there.
 *
 * Ways an intent ends: recorded; refused as stale (another lease, another
 * revision, not in the schedule); Redis away, known not to be recorded (the job
 * is out again) or not known (doubtful: release takes it back).
 */
#include "queue/attempt.h"

#include <stdlib.h>
#include <string.h>

#include "queue/lease.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"

struct queue_intend_state {
    struct queue_intend_op *op;
    struct link_cmd cmd;
    struct deferred at_once;
};

static void
intend_end(struct queue_intend_state *s, enum queue_intent result, enum job_state to)
{
    struct queue_intend_op *op = s->op;
    free(s);
    job_move(op->job, to);
    op->state = NULL;
    op->result = result;
    if (result == QUEUE_INTENT_OK)
        FAILPOINT("intend.done");
    op->done(op);
}

static void
on_intended(struct link_cmd *c)
{
    struct queue_intend_state *s = container_of(c, struct queue_intend_state, cmd);
    bool refused = c->outcome == LINK_UNSENT || link_cmd_was_refused(c);
    if (c->outcome == LINK_ANSWERED && resp_is(c->reply, "OK"))
        intend_end(s, QUEUE_INTENT_OK, JOB_INTENDED);
    else if (c->outcome == LINK_ANSWERED)
        intend_end(s, QUEUE_INTENT_STALE, JOB_OUT);
    else
        intend_end(s, QUEUE_INTENT_AWAY, refused ? JOB_OUT : JOB_DOUBTFUL);
}

static void
on_not_held(struct deferred *d)
{
    struct queue_intend_state *s = container_of(d, struct queue_intend_state, at_once);
    const struct partition *p = job_partition(s->op->job);
    intend_end(s, p->held ? QUEUE_INTENT_AWAY : QUEUE_INTENT_STALE, JOB_OUT);
}

static void
attempt_new(struct queue_job *job)
{
    const struct partition *p = job_partition(job);
    job->attempt = (struct record_attempt){.epoch = p->epoch,
                                           .revision = job->delivery.revision,
                                           .started_unix_ms = clock_sched_unix_ms(),
                                           .lane = job_lane(job)};
    random_bytes(job->attempt.id, sizeof job->attempt.id);
    memcpy(job->attempt.owner, job->q->cfg.owner, sizeof job->attempt.owner);
}

static void
add_intend_keys(struct link_cmd *c, const struct queue_job *job, struct slice lane)
{
    unsigned p = job_partition(job)->number;
    struct key keys[] = {key_of_part(p, KEY_LEASE),       key_of_queue(p, lane),
                         key_of_part(p, KEY_DUE),         key_of_part(p, KEY_INFLIGHT),
                         key_of_message(job->message.id), key_of_part(p, KEY_STAT),
                         key_of_part(p, KEY_LANES)};
    link_cmd_script(c, SCRIPT_CALL_INTEND, ARRAY_LEN(keys));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
}

static void
add_record(struct link_cmd *c, const struct record_attempt *a)
{
    struct buf b;
    buf_init(&b, RECORD_ATTEMPT_MAX);
    record_add_attempt(&b, a);
    link_arg(c, buf_slice(&b));
    buf_fini(&b);
}

static void
add_field(struct link_cmd *c, const struct queue_job *job)
{
    char field[16];
    size_t n = key_field('d', job->delivery.index, field);
    link_arg(c, slice_from(field, n));
}

static void
add_revision(struct link_cmd *c, uint64_t revision)
{
    char bytes[RECORD_REVISION_BYTES];
    record_put_revision(revision, bytes);
    link_arg(c, slice_from(bytes, sizeof bytes));
}

static void
intend_send(struct queue_intend_state *s, struct queue_job *job)
{
    struct partition *p = job_partition(job);
    struct link_cmd *c = &s->cmd;
    struct slice lane = job_lane(job);
    queue_cmd_init(c, job->q, p->number, on_intended);
    add_intend_keys(c, job, lane);
    link_arg_str(c, job->q->me.hex);
    link_arg_int(c, (int64_t)p->epoch);
    link_arg(c, slice_from(job->member, job->member_n));
    link_arg(c, lane);
    add_field(c, job);
    add_revision(c, job->attempt.revision);
    add_record(c, &job->attempt);
    link_cmd_start(c);
}

void
queue_intend_start(struct queue_intend_op *op, struct queue *q, struct queue_job *job)
{
    struct queue_intend_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || q != job->q);
    s->op = op;
    op->state = s;
    op->job = job;
    job_move(job, JOB_INTENDING);
    attempt_new(job);
    deferred_init(&s->at_once, q->loop, on_not_held);
    if (lease_is_fresh(job_partition(job)) && q->trouble == NULL)
        intend_send(s, job);
    else
        deferred_schedule(&s->at_once);
}

bool
queue_job_may_send_dot(const struct queue *q, const struct queue_job *job)
{
    const struct partition *p = job_partition(job);
    (void)q;
    return job->sm.state == JOB_INTENDED && lease_is_fresh(p) && p->epoch == job->attempt.epoch;
}

/* ---- taking back ----------------------------------------------------------- */

struct take_back {
    struct link_cmd cmd;
    struct queue_job *job;
};

static void
on_taken_back(struct link_cmd *c)
{
    struct take_back *t = container_of(c, struct take_back, cmd);
    struct queue *q = t->job->q;
    job_forget(t->job);
    q->outcomes--;
    free(t);
}

void
attempt_take_back(struct queue_job *job)
{
    struct take_back *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    unsigned p = job_partition(job)->number;
    struct link_cmd *c = &t->cmd;
    struct slice lane = job_lane(job);
    struct key keys[] = {key_of_part(p, KEY_INFLIGHT), key_of_queue(p, lane),
                         key_of_part(p, KEY_DUE),      key_of_message(job->message.id),
                         key_of_part(p, KEY_STAT),     key_of_part(p, KEY_LANES)};
    t->job = job;
    job->q->outcomes++;
    job_move(job, JOB_RETURNING);
    queue_cmd_init(c, job->q, p, on_taken_back);
    c->sticky = true;
    link_cmd_script(c, SCRIPT_CALL_UNINTEND, ARRAY_LEN(keys));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
    link_arg(c, slice_from(job->member, job->member_n));
    link_arg(c, lane);
    add_field(c, job);
    add_revision(c, job->attempt.revision);
    add_revision(c, job->attempt.revision + 1);
    add_record(c, &job->attempt);
    link_arg_int(c, job->due_unix_ms);
    link_cmd_start(c);
}
