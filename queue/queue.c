/*
 * Opening and closing: the parts, the links and what they tell.
 *
 * Closing: leases go back first, for as long as CLOSE_MOST_MS; then everything
 * that still waits for Redis is told that it will not come.
 */
#include "queue/queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/body.h"
#include "queue/disk.h"
#include "queue/event.h"
#include "queue/greet.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/notice.h"
#include "queue/quarantine.h"
#include "queue/schedule.h"
#include "queue/workers.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

enum { CLOSE_MOST_MS = 2000, CLOSE_POLL_MS = 5 };

/* ---- states ---------------------------------------------------------------- */

static const struct {
    const char *name;
    bool terminal;
} STATES[] = {
    [QUEUE_QUEUED] = {"queued", false},
    [QUEUE_DEFERRED] = {"deferred", false},
    [QUEUE_HELD] = {"held", false},
    [QUEUE_DELIVERED] = {"delivered", true},
    [QUEUE_BOUNCED] = {"bounced", true},
    [QUEUE_EXPIRED] = {"expired", true},
    [QUEUE_SUPPRESSED] = {"suppressed", true},
    [QUEUE_CANCELLED] = {"cancelled", true},
};

bool
queue_state_is_terminal(enum queue_state s)
{
    return STATES[s].terminal;
}

const char *
queue_state_name(enum queue_state s)
{
    return STATES[s].name;
}

/* ---- links ----------------------------------------------------------------- */

static struct queue *
queue_of(struct link_pool_user *u)
{
    return container_of(u, struct queue, link_user);
}

static void
on_connected(struct link_pool_user *u, unsigned link)
{
    greet_link(queue_of(u), link);
}

static void
on_up(struct link_pool_user *u, unsigned link)
{
    struct queue *q = queue_of(u);
    if (link == link_count(q->links))
        return;
    q->ever_up = q->ever_up || link_all_up(q->links);
    lease_tick_soon(q);
}

static void
on_down(struct link_pool_user *u, unsigned link)
{
    (void)u;
    (void)link; /* what was under way is told by its commands */
}

/* "<partition>": somebody else changed its schedule. "clock": it was advanced. */
static void
on_hint(struct link_pool_user *u, struct slice payload)
{
    struct queue *q = queue_of(u);
    uint64_t number;
    if (slice_eq(payload, SLICE("clock"))) {
        workers_beat(q);
        return;
    }
    if (!slice_to_u64(payload, &number) || number >= QUEUE_PARTITIONS)
        return;
    struct partition *p = &q->partitions[number];
    if (!p->held)
        return;
    schedule_scan_soon(p);
    notice_sweep(p);
}

unsigned
queue_link_of(const struct queue *q, unsigned partition)
{
    return partition % link_count(q->links);
}

unsigned
account_link(const struct queue *q, const uint8_t digest[32])
{
    return link_up_near(q->links, digest[0] % link_count(q->links));
}

void
queue_cmd_init(struct link_cmd *c, struct queue *q, unsigned partition,
               void (*done)(struct link_cmd *))
{
    link_cmd_init(c, q->links, queue_link_of(q, partition), done);
}

struct owner
owner_from_bytes(const uint8_t b[QUEUE_OWNER_BYTES])
{
    struct owner o;
    for (size_t i = 0; i < QUEUE_OWNER_BYTES; i++)
        snprintf(o.hex + 2 * i, 3, "%02x", b[i]);
    return o;
}

/* ---- opening and closing --------------------------------------------------- */

struct queue *
queue_open(struct loop *l, const struct queue_config *cfg, struct queue_consumer *consumer)
{
    struct queue *q = calloc(1, sizeof *q);
    BUG_ON(q == NULL || cfg->lease_ms < 4);
    q->loop = l;
    q->cfg = *cfg;
    if (cfg->dataset != NULL)
        snprintf(q->dataset, sizeof q->dataset, "%s", cfg->dataset);
    q->consumer = consumer;
    q->me = owner_from_bytes(cfg->owner);
    q->link_user = (struct link_pool_user){
        .on_up = on_up, .on_down = on_down, .on_hint = on_hint, .on_connected = on_connected};
    struct link_pool_config links = {.redis = cfg->redis,
                                     .tls = cfg->redis_tls,
                                     .count = cfg->links,
                                     .timeout_ms = cfg->commit_timeout_ms};
    q->links = link_pool_open(l, &links, &q->link_user);
    body_open(q);
    jobs_init(q);
    schedule_open(q);
    disk_tick(q);
    lease_init(q);
    return q;
}

void
queue_drain(struct queue *q)
{
    q->draining = true;
    jobs_drop_ready(q);
}

const char *
queue_dataset(const struct queue *q)
{
    return q->dataset;
}

void
queue_set_hold_uncertain(struct queue *q, bool hold)
{
    q->cfg.hold_uncertain = hold;
}

bool
queue_busy(const struct queue *q)
{
    return q->job_count > 0 || q->commits > 0 || q->outcomes > 0 || q->notice_count > 0;
}

/* The links end, and with them every command that waits. */
static void
queue_disconnect(struct queue *q)
{
    if (q->closing)
        return;
    q->closing = true;
    lease_fini(q);
    link_pool_close(q->links);
}

static void
queue_fini(struct queue *q)
{
    struct queue_close_op *op = q->close_op;
    queue_disconnect(q);
    bool working = q->questions + q->commits + q->outcomes > 0; /* bytes in the thread pool */
    if (working || !link_pool_try_free(q->links)) {
        timer_start(&q->close_timer, CLOSE_POLL_MS);
        return;
    }
    schedule_close(q);
    jobs_fini(q);
    notices_fini(q);
    workers_fini(q);
    body_close(q);
    free(q);
    op->done(op);
}

static void
on_close_timer(struct timer *t)
{
    queue_fini(container_of(t, struct queue, close_timer));
}

static void
on_each_released(struct queue *q)
{
    if (q->releasing == 0 && !q->closing)
        timer_start(&q->close_timer, 0);
}

void
queue_close_start(struct queue_close_op *op, struct queue *q)
{
    queue_drain(q);
    q->close_op = op;
    timer_init(&q->close_timer, q->loop, on_close_timer);
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        event_flush_acks(&q->partitions[i]);
    if (link_any_up(q->links))
        workers_strike(q, &q->me);
    lease_release_all(q, on_each_released);
    timer_start(&q->close_timer, q->releasing > 0 ? CLOSE_MOST_MS : 0);
}

enum queue_status
queue_status(const struct queue *q)
{
    if (q->trouble != NULL)
        return QUEUE_AWAY_NOW;
    if (!link_any_up(q->links))
        return q->ever_up ? QUEUE_AWAY_NOW : QUEUE_STARTING;
    if (!q->ever_up) /* a partition whose link is not up yet would refuse */
        return QUEUE_STARTING;
    bool is_full = q->disk_is_low || clock_mono_ms() < q->full_until_ms;
    return is_full ? QUEUE_FULL_NOW : QUEUE_UP;
}

unsigned
queue_partitions_held(const struct queue *q)
{
    return q->held;
}

/* ---- partitions ------------------------------------------------------------ */

unsigned
queue_pick_partition(struct queue *q)
{
    unsigned first = random_below(QUEUE_PARTITIONS), any = first;
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        unsigned n = (first + i) % QUEUE_PARTITIONS;
        const struct partition *p = &q->partitions[n];
        if (!link_is_up(q->links, queue_link_of(q, n)))
            continue;
        if (lease_is_fresh(p) && !p->leaving)
            return n;
        any = n;
    }
    return any;
}

unsigned
queue_partition_for_key(struct slice credential, struct slice key)
{
    uint8_t digest[32];
    key_digest(credential, key, digest);
    return digest[31];
}

/* ---- a job's bytes --------------------------------------------------------- */

struct queue_load_state {
    struct queue_load_op *op; /* NULL: cancelled */
    struct queue *q;
    struct body_load load;
    struct deferred cancelled;
};

static void
load_tell(struct queue_load_state *s)
{
    struct queue_load_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_load_cancelled(struct deferred *d)
{
    struct queue_load_state *s = container_of(d, struct queue_load_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "load: cancelled");
    load_tell(s);
}

static void
put_away(struct queue_job *job)
{
    quarantine_entry(job_partition(job), slice_from(job->member, job->member_n), SLICE_NONE,
                     job_lane(job));
}

static void
on_loaded(struct body_load *l)
{
    struct queue_load_state *s = container_of(l, struct queue_load_state, load);
    deferred_cancel(&s->cancelled);
    if (s->op == NULL) {
        content_unref(&l->content);
    } else {
        struct queue_job *job = s->op->job;
        s->op->err = l->err;
        content_unref(&job->content);
        job->content = l->content;
        if (l->err.code == ERR_BAD && !s->q->closing)
            put_away(job);
        load_tell(s);
    }
    s->q->questions--;
    free(s);
}

void
queue_load_start(struct queue_load_op *op, struct queue *q, struct queue_job *job)
{
    struct queue_load_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->job = job;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_load_cancelled);
    s->load.done = on_loaded;
    body_load_start(&s->load, q, &job->message, &job->body);
}

void
queue_load_cancel(struct queue_load_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
