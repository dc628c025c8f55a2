#include "tests/unit/support/queue_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"

/* ---- the loop -------------------------------------------------------------- */

static struct loop *turning; /* the loop that a pause ends; one test at a time */

static void
end_pause(struct timer *t)
{
    (void)t;
    loop_stop(turning);
}

void
world_run_ms(struct world *w, uint64_t ms)
{
    struct timer t;
    timer_init(&t, w->loop, end_pause);
    timer_start(&t, ms);
    turning = w->loop;
    loop_run(w->loop);
    timer_cancel(&t);
}

uint64_t
world_limit(void)
{
    return clock_mono_ms() + WORLD_LIMIT_MS;
}

void
world_turn(struct world *w, uint64_t limit_ms, const char *what)
{
    if (clock_mono_ms() > limit_ms) {
        fprintf(stderr,
                "waited in vain for: %s (or the test failed before, with something in hand)\n",
                what);
        abort();
    }
    world_run_ms(w, 2);
}

/* ---- workers --------------------------------------------------------------- */

static void
on_job(struct queue_consumer *c, struct queue_job *job)
{
    struct worker *k = container_of(c, struct worker, consumer);
    k->jobs_seen++;
    if (k->on_job != NULL && k->on_job(k, job))
        return;
    BUG_ON(k->job_count == WORLD_JOBS_MAX);
    k->jobs[k->job_count++] = job;
}

static void
on_notice(struct queue_consumer *c, struct queue_notice *n)
{
    struct worker *k = container_of(c, struct worker, consumer);
    BUG_ON(k->notice_count == 64);
    k->notices[k->notice_count++] = n;
}

static void
on_event(struct queue_consumer *c, struct slice id, struct slice event)
{
    struct worker *k = container_of(c, struct worker, consumer);
    if (k->event_count == WORLD_EVENTS_MAX)
        return;
    struct world_event *e = &k->events[k->event_count++];
    snprintf(e->id, sizeof e->id, "%.*s", SLICE_FMT(id));
    snprintf(e->text, sizeof e->text, "%.*s", SLICE_FMT(event));
}

void
world_open(struct world *w, const char *const *redis_args)
{
    memset(w, 0, sizeof *w);
    clock_sched_set_offset_ms(0);
    redis_start(&w->redis, redis_args);
    w->loop = loop_new();
    worker_configure(w, &w->a);
    worker_configure(w, &w->b);
}

void
worker_configure(struct world *w, struct worker *k)
{
    memset(k, 0, sizeof *k);
    k->consumer = (struct queue_consumer){on_job, on_notice, on_event};
    k->cfg = (struct queue_config){.redis.kind = NET_UNIX,
                                   .links = 2,
                                   .lease_ms = 4000, /* a slow machine keeps it */
                                   .history_bytes = 64 << 20,
                                   .history_age_ms = 86400000,
                                   .commit_timeout_ms = 5000,
                                   .unknown_timeout_ms = 10000,
                                   .idempotency_ttl_ms = 86400000,
                                   .jobs_in_memory_max = 1000,
                                   .no_gathering = true};
    snprintf(k->cfg.redis.path, sizeof k->cfg.redis.path, "%s", w->redis.socket);
    random_bytes(k->cfg.owner, sizeof k->cfg.owner);
}

void
worker_start(struct world *w, struct worker *k)
{
    k->q = queue_open(w->loop, &k->cfg, &k->consumer);
}

void
worker_open(struct world *w, struct worker *k)
{
    worker_start(w, k);
    WORLD_UNTIL(w, queue_status(k->q) == QUEUE_UP);
}

struct closing {
    struct queue_close_op op;
    bool done;
};

static void
on_closed(struct queue_close_op *op)
{
    container_of(op, struct closing, op)->done = true;
}

void
worker_close(struct world *w, struct worker *k)
{
    struct closing c = {.op.done = on_closed};
    queue_drain(k->q);
    for (unsigned i = 0; i < k->job_count; i++)
        queue_job_release(k->q, k->jobs[i], 0);
    k->job_count = 0;
    while (k->notice_count > 0)
        notice_pay(w, k, k->notices[0], NULL);
    WORLD_UNTIL(w, !queue_busy(k->q));
    queue_close_start(&c.op, k->q);
    WORLD_UNTIL(w, c.done);
    k->q = NULL;
    k->job_count = 0;
}

void
world_close(struct world *w)
{
    if (w->a.q != NULL)
        worker_close(w, &w->a);
    if (w->b.q != NULL)
        worker_close(w, &w->b);
    loop_free(w->loop);
    redis_stop(&w->redis);
}

/* ---- mail ------------------------------------------------------------------ */

void
mail_init(struct mail *mail, unsigned partition, const char *text)
{
    memset(mail, 0, sizeof *mail);
    snprintf(mail->body, sizeof mail->body, "%s", text);
    mail->m = (struct queue_message){.id = id_new(partition),
                                     .tenant = SLICE("tenant"),
                                     .created_unix_ms = clock_sched_unix_ms(),
                                     .envelope = SLICE("envelope"),
                                     .deliveries = mail->d};
    mail_body(mail, slice_str(mail->body));
}

void
mail_body(struct mail *mail, struct slice bytes)
{
    content_unref(&mail->op.content);
    mail->op.content.rest = blob_new_copy(bytes);
    mail->m.size_bytes = bytes.n;
}

struct queue_target *
mail_add(struct mail *mail, const char *next_hop, const char *address)
{
    unsigned i = 0;
    while (i < mail->m.delivery_count && !slice_eq(mail->d[i].next_hop, slice_str(next_hop)))
        i++;
    struct queue_delivery *d = &mail->d[i];
    if (i == mail->m.delivery_count) {
        mail->m.delivery_count++;
        *d = (struct queue_delivery){.next_hop = slice_str(next_hop),
                                     .due_unix_ms = clock_sched_unix_ms(),
                                     .expires_unix_ms = clock_sched_unix_ms() + 86400000,
                                     .targets = mail->t[i]};
    }
    struct queue_target *t = &d->targets[d->target_count++];
    *t = (struct queue_target){.address = slice_str(address), .options = SLICE("options")};
    return t;
}

static void
on_committed(struct queue_commit_op *op)
{
    container_of(op, struct mail, op)->done = true;
}

void
mail_start(struct mail *mail, struct worker *k)
{
    mail->done = false;
    mail->op.done = on_committed;
    mail->op.message = &mail->m;
    queue_commit_start(&mail->op, k->q);
}

void
mail_commit(struct world *w, struct worker *k, struct mail *mail)
{
    mail_start(mail, k);
    WORLD_UNTIL(w, mail->done);
}

void
mail_fini(struct mail *mail)
{
    content_unref(&mail->op.content);
}

/* ---- jobs ------------------------------------------------------------------ */

struct queue_job *
worker_job(struct world *w, struct worker *k)
{
    WORLD_UNTIL(w, k->job_count > 0);
    struct queue_job *job = k->jobs[0];
    memmove(k->jobs, k->jobs + 1, --k->job_count * sizeof k->jobs[0]);
    return job;
}

struct intending {
    struct queue_intend_op op;
    bool done;
};

static void
on_intended(struct queue_intend_op *op)
{
    container_of(op, struct intending, op)->done = true;
}

enum queue_intent
job_intend(struct world *w, struct worker *k, struct queue_job *job)
{
    struct intending i = {.op.done = on_intended};
    queue_intend_start(&i.op, k->q, job);
    WORLD_UNTIL(w, i.done);
    return i.op.result;
}

static void
on_ended(struct queue_finish_op *op)
{
    container_of(op, struct ending, op)->done = true;
}

void
job_end_start(struct worker *k, struct queue_job *job, struct ending *e, enum queue_state state)
{
    struct queue_delivery *d = queue_job_delivery(job);
    *e = (struct ending){.op = {.done = on_ended,
                                .retry_at_unix_ms = clock_sched_unix_ms() + 3600000,
                                .event = SLICE("{\"event\":\"outcome\"}")}};
    d->attempts++;
    for (unsigned i = 0; i < d->target_count; i++) {
        struct queue_target *t = &d->targets[i];
        if (queue_state_is_terminal(t->state))
            continue;
        t->state = state;
        t->attempts++;
        t->notice_owed = state == QUEUE_BOUNCED;
        queue_job_set_reply(job, i, slice_str(queue_state_name(state)));
    }
    queue_finish_start(&e->op, k->q, job);
}

bool
job_end(struct world *w, struct worker *k, struct queue_job *job, enum queue_state state)
{
    struct ending e;
    job_end_start(k, job, &e, state);
    WORLD_UNTIL(w, e.done);
    return e.op.stale;
}

struct paying {
    struct queue_notice_op op;
    bool done;
};

static void
on_paid(struct queue_notice_op *op)
{
    container_of(op, struct paying, op)->done = true;
}

bool
notice_pay(struct world *w, struct worker *k, struct queue_notice *n, struct mail *with)
{
    struct paying p = {.op.done = on_paid};
    unsigned i = 0;
    while (i < k->notice_count && k->notices[i] != n)
        i++;
    BUG_ON(i == k->notice_count);
    k->notices[i] = k->notices[--k->notice_count];
    if (with != NULL) {
        p.op.message = &with->m;
        p.op.content = with->op.content;
    }
    queue_notice_commit_start(&p.op, k->q, n);
    WORLD_UNTIL(w, p.done);
    return p.op.gone;
}

/* ---- questions ------------------------------------------------------------- */

struct looking {
    struct queue_lookup_op op;
    bool done;
};

static void
on_found(struct queue_lookup_op *op)
{
    container_of(op, struct looking, op)->done = true;
}

struct queue_message *
world_lookup(struct world *w, struct worker *k, struct msg_id id, struct arena *a)
{
    struct looking l = {.op = {.done = on_found, .id = id, .tenant = SLICE("tenant"), .arena = a}};
    do { /* a link may be on its way back */
        l.done = false;
        queue_lookup_start(&l.op, k->q);
        WORLD_UNTIL(w, l.done);
    } while (l.op.err.code == ERR_AWAY);
    BUG_ON((l.op.message == NULL) != (l.op.err.code != ERR_NONE));
    return l.op.message;
}

struct sounding {
    struct queue_depth_op op;
    bool done;
};

static void
on_depth(struct queue_depth_op *op)
{
    container_of(op, struct sounding, op)->done = true;
}

struct queue_depth
world_depth(struct world *w, struct worker *k)
{
    struct sounding s = {.op.done = on_depth};
    do { /* a link may be on its way back */
        s.done = false;
        queue_depth_start(&s.op, k->q);
        WORLD_UNTIL(w, s.done);
    } while (s.op.err.code == ERR_AWAY);
    BUG_ON(s.op.err.code != ERR_NONE);
    return s.op.depth;
}
