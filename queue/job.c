#include "queue/job.h"

#include <stdlib.h>
#include <string.h>

#include "queue/attempt.h"
#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

enum {
    JOB_MEMORY_MAX = 4 * QUEUE_RECORD_MAX, /* two records, targets and replies */
    RELEASE_LEAST_MS = 20,                 /* so that giving back at once cannot spin */
    BITS = 64,
};

static const struct sm_row JOB_ROWS[JOB_STATE_COUNT] = {
    [JOB_READY] = {.name = "ready", .doing = "waiting for the consumer", .next = SM_TO(JOB_OUT)},
    [JOB_OUT] = {.name = "out",
                 .doing = "waiting for a connection",
                 .next = SM_TO(JOB_INTENDING) | SM_TO(JOB_FINISHING)},
    [JOB_INTENDING] = {.name = "intending",
                       .doing = "recording the intent",
                       .next = SM_TO(JOB_INTENDED) | SM_TO(JOB_OUT) | SM_TO(JOB_DOUBTFUL)},
    [JOB_INTENDED] = {.name = "intended",
                      .doing = "being attempted",
                      .next = SM_TO(JOB_FINISHING) | SM_TO(JOB_RETURNING),
                      .may_be_delivered = true},
    [JOB_DOUBTFUL] = {.name = "doubtful",
                      .doing = "not knowing whether the intent was recorded",
                      .next = SM_TO(JOB_RETURNING) | SM_TO(JOB_FINISHING)},
    [JOB_RETURNING] = {.name = "returning", .doing = "taking the intent back", .next = 0},
    [JOB_FINISHING] = {.name = "finishing",
                       .doing = "recording the outcome",
                       .next = 0,
                       .may_be_delivered = true},
};

struct lane {
    struct queue *q;
    unsigned jobs;
    uint64_t aside[QUEUE_PARTITIONS / BITS]; /* partitions with entries left unread */
    struct timer rest;                       /* active: nothing of this lane is handed out */
    size_t name_n;
    UT_hash_handle hh;
    char name[];
};

/* ---- lanes ----------------------------------------------------------------- */

static struct lane *
lane_find(struct queue *q, struct slice name)
{
    struct lane *lane = NULL;
    HASH_FIND(hh, q->lanes, name.p, name.n, lane);
    return lane;
}

static unsigned
lane_share(const struct queue *q)
{
    unsigned max = q->cfg.jobs_in_memory_max;
    unsigned free_jobs = q->job_count < max ? max - q->job_count : 0;
    if (free_jobs == 0 && q->job_count >= max + max / 4 + 1)
        return 0;
    return 1 + free_jobs / 4;
}

static bool
lane_has_aside(const struct lane *lane)
{
    for (unsigned i = 0; i < ARRAY_LEN(lane->aside); i++)
        if (lane->aside[i] != 0)
            return true;
    return false;
}

/* Scans again what was left of this lane, and frees a lane without a use. */
static void
lane_settle(struct lane *lane)
{
    struct queue *q = lane->q;
    if (timer_active(&lane->rest))
        return;
    if (lane_has_aside(lane) && lane->jobs <= lane_share(q) / 2) {
        for (unsigned p = 0; p < QUEUE_PARTITIONS; p++)
            if (lane->aside[p / BITS] >> (p % BITS) & 1)
                schedule_scan_soon(&q->partitions[p]);
        memset(lane->aside, 0, sizeof lane->aside);
    }
    if (lane->jobs > 0 || lane_has_aside(lane))
        return;
    HASH_DELETE(hh, q->lanes, lane);
    free(lane);
}

static void
on_rested(struct timer *t)
{
    lane_settle(container_of(t, struct lane, rest));
}

static struct lane *
lane_get(struct queue *q, struct slice name)
{
    struct lane *lane = lane_find(q, name);
    if (lane != NULL)
        return lane;
    lane = calloc(1, sizeof *lane + name.n);
    BUG_ON(lane == NULL);
    lane->q = q;
    lane->name_n = name.n;
    memcpy(lane->name, name.p, name.n);
    timer_init(&lane->rest, q->loop, on_rested);
    HASH_ADD(hh, q->lanes, name, name.n, lane);
    return lane;
}

static void
lane_rest(struct lane *lane, uint64_t delay_ms)
{
    uint64_t until = clock_mono_ms() + delay_ms;
    if (!timer_active(&lane->rest) || lane->rest.due_ms < until)
        timer_start(&lane->rest, delay_ms);
}

unsigned
lane_room(struct queue *q, struct slice name, unsigned *jobs)
{
    unsigned share = lane_share(q);
    const struct lane *lane = lane_find(q, name);
    if (jobs != NULL)
        *jobs = lane != NULL ? lane->jobs : 0;
    if (lane == NULL)
        return share;
    if (timer_active(&lane->rest) || lane->jobs >= share)
        return 0;
    return share - lane->jobs;
}

void
lane_set_aside(struct queue *q, struct slice name, unsigned partition)
{
    if (lane_share(q) == 0) {
        q->starved = true; /* everything is scanned again when there is room */
        return;
    }
    struct lane *lane = lane_get(q, name);
    lane->aside[partition / BITS] |= 1ull << (partition % BITS);
}

/* ---- making and freeing ---------------------------------------------------- */

static bool
job_read(struct queue_job *job, const struct job_source *src)
{
    struct slice m, d;
    if (!arena_copy(&job->arena, src->message_record, &m) ||
        !arena_copy(&job->arena, src->delivery_record, &d))
        return false;
    job->delivery.index = src->index;
    if (!record_read_message(m, &job->message, &job->body) ||
        !record_read_delivery(d, &job->arena, &job->delivery))
        return false;
    job->message.deliveries = &job->delivery;
    unsigned deliveries = job->message.delivery_count;
    job->message.delivery_count = 1;
    return id_eq(job->message.id, src->id) && src->index < deliveries;
}

static bool
job_note_old(struct queue_job *job)
{
    unsigned n = job->delivery.target_count;
    job->old = arena_alloc(&job->arena, n > 0 ? n : 1);
    job->before = arena_alloc(&job->arena, (n > 0 ? n : 1) * sizeof *job->before);
    if (job->old == NULL || job->before == NULL)
        return false;
    for (unsigned i = 0; i < n; i++) {
        const struct queue_target *t = &job->delivery.targets[i];
        job->old[i] = queue_state_is_terminal(t->state);
        job->before[i] = (struct job_before){t->state, t->attempts, t->reply.p};
    }
    return true;
}

static void
job_free(struct queue_job *job)
{
    arena_fini(&job->arena);
    content_unref(&job->content);
    free(job);
}

static struct queue_job *
job_new(struct queue *q, const struct job_source *src)
{
    struct queue_job *job = calloc(1, sizeof *job);
    BUG_ON(job == NULL);
    job->q = q;
    sm_init(&job->sm, JOB_ROWS, JOB_STATE_COUNT, JOB_READY, NULL);
    arena_init(&job->arena, JOB_MEMORY_MAX);
    list_node_init(&job->ready);
    struct key lane;
    if (!job_read(job, src) || !job_note_old(job) ||
        !key_lane(job->message.klass, job->delivery.next_hop, job->message.tenant, &lane)) {
        job_free(job);
        return NULL;
    }
    if (src->content != NULL && blob_total_bytes() <= QUEUE_BODIES_IN_MEMORY_MAX)
        job->content = content_ref(src->content);
    job->due_unix_ms = job->delivery.due_unix_ms;
    job->lane = lane_get(q, key_slice(&lane));
    return job;
}

bool
job_offer(struct queue *q, const struct job_source *src)
{
    char member[KEY_MEMBER_MAX + 1];
    size_t n = key_member(src->id, src->index, member);
    if (job_in_memory(q, slice_from(member, n)))
        return true;
    struct queue_job *job = job_new(q, src);
    if (job == NULL)
        return false;
    if (job->due_unix_ms > clock_sched_unix_ms() || job->due_unix_ms == 0) {
        lane_settle(job->lane); /* attempted since the schedule was read */
        job_free(job);
        return true;
    }
    memcpy(job->member, member, n + 1);
    job->member_n = n;
    HASH_ADD(hh, q->jobs, member, job->member_n, job);
    q->job_count++;
    job->lane->jobs++;
    job_partition(job)->jobs++;
    list_push(&q->ready, &job->ready);
    deferred_schedule(&q->hand_out_call);
    return true;
}

void
job_forget(struct queue_job *job)
{
    struct queue *q = job->q;
    struct lane *lane = job->lane;
    HASH_DELETE(hh, q->jobs, job);
    q->job_count--;
    lane->jobs--;
    job_partition(job)->jobs--;
    list_remove(&job->ready);
    job_free(job);
    lane_settle(lane);
    if (q->starved && q->job_count < q->cfg.jobs_in_memory_max) {
        q->starved = false;
        schedule_scan_all(q);
    }
}

static struct queue_job *
job_find(struct queue *q, struct slice member)
{
    struct queue_job *job = NULL;
    HASH_FIND(hh, q->jobs, member.p, member.n, job);
    return job;
}

bool
job_in_memory(struct queue *q, struct slice member)
{
    return job_find(q, member) != NULL;
}

bool
job_runs_attempt(struct queue *q, struct slice member, const uint8_t *attempt_id)
{
    const struct queue_job *job = job_find(q, member);
    return job != NULL && memcmp(job->attempt.id, attempt_id, sizeof job->attempt.id) == 0;
}

void
job_move(struct queue_job *job, enum job_state to)
{
    sm_move(&job->sm, to);
}

struct partition *
job_partition(const struct queue_job *job)
{
    return &job->q->partitions[id_partition(job->message.id)];
}

struct slice
job_lane(const struct queue_job *job)
{
    return slice_from(job->lane->name, job->lane->name_n);
}

/* ---- the consumer's side --------------------------------------------------- */

static void
hand_out(struct deferred *d)
{
    struct queue *q = container_of(d, struct queue, hand_out_call);
    struct list now; /* what the consumer causes comes next time */
    list_init(&now);
    for (struct list_node *n; (n = list_pop(&q->ready)) != NULL;)
        list_push(&now, n);
    for (struct list_node *n; (n = list_pop(&now)) != NULL;) {
        struct queue_job *job = container_of(n, struct queue_job, ready);
        if (q->draining) {
            job_forget(job);
            continue;
        }
        job_move(job, JOB_OUT);
        q->consumer->on_job(q->consumer, job);
    }
}

void
jobs_init(struct queue *q)
{
    list_init(&q->ready);
    deferred_init(&q->hand_out_call, q->loop, hand_out);
}

void
jobs_drop_ready(struct queue *q)
{
    LIST_EACH(&q->ready, n)
    {
        job_forget(container_of(n, struct queue_job, ready));
    }
}

void
jobs_fini(struct queue *q)
{
    struct lane *lane, *next_lane;
    jobs_drop_ready(q);
    deferred_cancel(&q->hand_out_call);
    BUG_ON(q->jobs != NULL); /* the consumer must give all jobs back first */
    /* The analyser does not see that HASH_DELETE has moved on.
     * NOLINTBEGIN(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    HASH_ITER(hh, q->lanes, lane, next_lane)
    {
        timer_cancel(&lane->rest);
        HASH_DELETE(hh, q->lanes, lane);
        free(lane);
    }
    /* NOLINTEND(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
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
    struct slice cut = slice_from(reply.p, reply.n < QUEUE_FIELD_MAX ? reply.n : QUEUE_FIELD_MAX);
    struct slice *to = &job->delivery.targets[target].reply;
    if (!arena_copy(&job->arena, cut, to))
        *to = SLICE_NONE; /* many long replies in one job: the state matters more */
}

void
queue_job_release(struct queue *q, struct queue_job *job, uint64_t delay_ms)
{
    struct partition *p = job_partition(job);
    lane_rest(job->lane, delay_ms > RELEASE_LEAST_MS ? delay_ms : RELEASE_LEAST_MS);
    job->lane->aside[p->number / BITS] |= 1ull << (p->number % BITS);
    if (job->sm.state == JOB_DOUBTFUL || job->sm.state == JOB_INTENDED) {
        attempt_take_back(job);
        return;
    }
    BUG_ON(job->sm.state != JOB_OUT || q != job->q);
    job_forget(job);
}
