#include "tests/unit/support/fake_queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"

enum { FAKE_ARENA = 64 << 20, DAY_MS = 86400000 };

struct queue_job {
    struct queue *q;
    struct queue_message message;
    struct queue_delivery delivery;
    struct queue_target targets[FAKE_TARGETS];
    struct content content, stored;
    bool intended;
};

struct queue_notice {
    struct queue *q;
    const struct queue_message *message;
    const struct content *content;
    const struct queue_notice_target *targets;
    unsigned count;
};

/* The answer to an operation, on a later turn. */
struct answer {
    struct queue *q;
    struct deferred later;
    struct list_node node;
    struct queue_intend_op *intend;
    struct queue_load_op *load;
    struct queue_finish_op *finish;
    struct queue_notice_op *notice;
};

static struct slice
keep(struct queue *q, struct slice s)
{
    struct slice out;
    BUG_ON(!arena_copy(&q->arena, s, &out));
    return out;
}

void
fake_queue_init(struct queue *q, struct loop *l)
{
    *q = (struct queue){.loop = l, .may_send_dot = true, .intent = QUEUE_INTENT_OK};
    arena_init(&q->arena, FAKE_ARENA);
    list_init(&q->waiting);
}

void
fake_queue_fini(struct queue *q)
{
    BUG_ON(q->jobs_out != 0 || q->notices_out != 0 || !list_empty(&q->waiting));
    arena_fini(&q->arena);
}

static void
on_answer(struct deferred *d)
{
    struct answer *a = container_of(d, struct answer, later);
    struct answer copy = *a;
    free(a);
    if (copy.intend != NULL) {
        copy.intend->result = copy.q->intent;
        copy.intend->job->intended = copy.q->intent == QUEUE_INTENT_OK;
        copy.intend->done(copy.intend);
    } else if (copy.load != NULL) {
        struct queue_job *job = copy.load->job;
        copy.load->state = NULL;
        if (copy.load->err.code == ERR_NONE)
            copy.load->err.code = copy.q->load_error;
        if (copy.load->err.code == ERR_NONE)
            job->content = content_ref(&job->stored);
        copy.load->done(copy.load);
    } else if (copy.finish != NULL) {
        copy.finish->done(copy.finish);
    } else {
        copy.notice->done(copy.notice);
    }
}

static struct answer *
answer_new(struct queue *q)
{
    struct answer *a = calloc(1, sizeof *a);
    BUG_ON(a == NULL);
    a->q = q;
    list_node_init(&a->node);
    deferred_init(&a->later, q->loop, on_answer);
    return a;
}

void
fake_queue_answer(struct queue *q)
{
    struct list_node *n;
    q->intent_waits = false;
    while ((n = list_pop(&q->waiting)) != NULL)
        deferred_schedule(&container_of(n, struct answer, node)->later);
}

bool
queue_state_is_terminal(enum queue_state s)
{
    return s >= QUEUE_DELIVERED;
}

/* ---- jobs ---------------------------------------------------------------- */

static void
fill_targets(struct queue *q, struct queue_job *job, const struct fake_job_spec *spec)
{
    BUG_ON(spec->targets == 0 || spec->targets > FAKE_TARGETS);
    for (unsigned i = 0; i < spec->targets; i++) {
        char address[300];
        snprintf(address, sizeof address, "r%u@%s", i, spec->next_hop);
        job->targets[i] = (struct queue_target){.address = keep(q, slice_str(address)),
                                                .options = keep(q, spec->options),
                                                .attempts = spec->attempts};
    }
}

struct queue_job *
fake_job_new(struct queue *q, const struct fake_job_spec *spec)
{
    struct queue_job *job = calloc(1, sizeof *job);
    const char *text = spec->text != NULL ? spec->text : "Subject: x\r\n\r\nhello\r\n";
    int64_t now = clock_sched_unix_ms();
    BUG_ON(job == NULL);
    job->q = q;
    fill_targets(q, job, spec);
    job->delivery = (struct queue_delivery){
        .next_hop = keep(q, slice_str(spec->next_hop)),
        .due_unix_ms = now,
        .expires_unix_ms = spec->expires_unix_ms != 0 ? spec->expires_unix_ms : now + DAY_MS,
        .attempts = spec->attempts,
        .targets = job->targets,
        .target_count = spec->targets};
    job->message = (struct queue_message){.id = id_new(7),
                                          .tenant = SLICE("tenant"),
                                          .klass = spec->klass,
                                          .created_unix_ms = now,
                                          .size_bytes = spec->size_bytes,
                                          .envelope = keep(q, spec->envelope),
                                          .deliveries = &job->delivery,
                                          .delivery_count = 1};
    job->stored.rest = blob_new_copy(slice_str(text));
    if (!spec->not_in_memory)
        job->content = content_ref(&job->stored);
    q->jobs_out++;
    return job;
}

static void
job_gone(struct queue_job *job)
{
    job->q->jobs_out--;
    content_unref(&job->content);
    content_unref(&job->stored);
    free(job);
}

static struct fake_end *
note_end(struct queue_job *job)
{
    struct queue *q = job->q;
    if (q->forgets_ends)
        q->end_count = 0;
    BUG_ON(q->end_count == FAKE_ENDS);
    struct fake_end *e = &q->ends[q->end_count++];
    *e = (struct fake_end){.intended = job->intended,
                           .count = job->delivery.target_count,
                           .attempts = job->delivery.attempts};
    for (unsigned i = 0; i < e->count; i++) {
        e->targets[i] = job->targets[i];
        e->targets[i].reply = keep(q, job->targets[i].reply);
    }
    return e;
}

const struct queue_message *
queue_job_message(const struct queue_job *job)
{
    return &job->message;
}

struct queue_delivery *
queue_job_delivery(struct queue_job *job)
{
    return &job->delivery;
}

const struct content *
queue_job_content(const struct queue_job *job)
{
    return &job->content;
}

void
queue_job_set_reply(struct queue_job *job, unsigned target, struct slice reply)
{
    BUG_ON(target >= job->delivery.target_count);
    job->targets[target].reply = keep(job->q, reply);
}

void
queue_load_start(struct queue_load_op *op, struct queue *q, struct queue_job *job)
{
    struct answer *a = answer_new(q);
    q->loads++;
    op->job = job;
    op->err = (struct err){0};
    op->state = (struct queue_load_state *)(void *)a;
    a->load = op;
    deferred_schedule(&a->later);
}

void
queue_load_cancel(struct queue_load_op *op)
{
    if (op->state != NULL)
        op->err.code = ERR_CANCELLED;
}

void
queue_intend_start(struct queue_intend_op *op, struct queue *q, struct queue_job *job)
{
    struct answer *a = answer_new(q);
    BUG_ON(job->intended);
    q->intents++;
    op->job = job;
    a->intend = op;
    if (q->intent_waits)
        list_push(&q->waiting, &a->node);
    else
        deferred_schedule(&a->later);
}

bool
queue_job_may_send_dot(const struct queue *q, const struct queue_job *job)
{
    return q->may_send_dot && job->intended;
}

void
queue_finish_start(struct queue_finish_op *op, struct queue *q, struct queue_job *job)
{
    struct answer *a = answer_new(q);
    struct fake_end *e = note_end(job);
    e->retry_at_unix_ms = op->retry_at_unix_ms;
    e->event = keep(q, op->event);
    op->stale = false;
    a->finish = op;
    job_gone(job);
    deferred_schedule(&a->later);
}

void
queue_job_release(struct queue *q, struct queue_job *job, uint64_t delay_ms)
{
    (void)q;
    BUG_ON(job->intended); /* an attempt that began must be finished */
    struct fake_end *e = note_end(job);
    e->released = true;
    e->delay_ms = delay_ms;
    job_gone(job);
}

/* ---- notices ---------------------------------------------------------------- */

struct queue_notice *
fake_notice_new(struct queue *q, const struct queue_message *m, const struct content *content,
                const struct queue_notice_target *targets, unsigned count)
{
    struct queue_notice *n = calloc(1, sizeof *n);
    BUG_ON(n == NULL);
    *n = (struct queue_notice){q, m, content, targets, count};
    q->notices_out++;
    return n;
}

const struct queue_message *
queue_notice_message(const struct queue_notice *n)
{
    return n->message;
}

const struct content *
queue_notice_content(const struct queue_notice *n)
{
    return n->content;
}

unsigned
queue_notice_targets(const struct queue_notice *n, const struct queue_notice_target **out)
{
    *out = n->targets;
    return n->count;
}

void
queue_notice_commit_start(struct queue_notice_op *op, struct queue *q, struct queue_notice *n)
{
    struct answer *a = answer_new(q);
    BUG_ON(q->report_count == FAKE_ENDS);
    struct fake_report *r = &q->reports[q->report_count++];
    *r = (struct fake_report){.dropped = op->message == NULL};
    if (op->message != NULL) {
        r->message = *op->message;
        r->message.envelope = keep(q, op->message->envelope);
        r->delivery = op->message->deliveries[0];
        r->delivery.next_hop = keep(q, r->delivery.next_hop);
        r->targets = r->delivery.target_count;
        r->to = keep(q, r->delivery.targets[0].address);
        r->delivery.targets = NULL;
        r->message.deliveries = NULL;
        if (op->content.head != NULL)
            r->head = keep(q, blob_slice(op->content.head));
        r->text = keep(q, slice_skip(blob_slice(op->content.rest), op->content.rest_at));
    }
    op->gone = false;
    q->notices_out--;
    free(n);
    a->notice = op;
    deferred_schedule(&a->later);
}
