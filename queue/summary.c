/*
 * Happy path: the fullest lanes of every partition -> one table of rows -> for
 * the rows with the most deliveries, their ages and some members from every
 * partition that has them -> the records of these members -> the answer.
 * Partitions are asked a few at a time, so that nobody waits behind this.
 *
 * Ways it ends: answered; Redis away; the arena is full; cancelled, when it
 * keeps its own memory until Redis has answered.
 */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "queue/message.h"
#include "queue/operate.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

enum {
    AT_ONCE = 8, /* commands */
    BITS = 64,
    LOOK_LEAST = 5, /* deliveries of one lane in one partition */
    GIVEN = 2,      /* members of one lane in one partition */
    SCRATCH_MAX = 4 * QUEUE_RECORD_MAX,
};

const unsigned QUEUE_AGE_MINUTES[QUEUE_AGES - 1] = {5, 10, 20, 40, 80, 160, 320, 640, 1280};

/* What is counted of one lane. */
struct counted {
    uint64_t scheduled, held, inflight;
    uint64_t in[QUEUE_PARTITIONS / BITS]; /* partitions that have it in the schedule or held */
    UT_hash_handle hh;
    size_t name_n;
    char name[];
};

struct sample {
    struct msg_id id;
    unsigned index;
};

/* A row that will be shown. */
struct shown {
    struct counted *lane;
    struct queue_row *row;
    struct sample samples[QUEUE_SUMMARY_SAMPLES];
    unsigned sample_count, looked, tried; /* records read; of them attempted before */
};

/* One command under way: what it asks depends on the step. */
struct asking {
    struct queue_summary_state *owner; /* NULL: free */
    struct link_cmd cmd;
    unsigned partition, row;
    unsigned rows[QUEUE_SUMMARY_ROWS_MAX], row_count;
};

struct queue_summary_state {
    struct queue_summary_op *op; /* NULL: cancelled */
    struct queue *q;
    struct counted *table;
    struct shown shown[QUEUE_SUMMARY_ROWS_MAX];
    unsigned shown_count;
    struct asking asking[AT_ONCE];
    enum { STEP_LANES, STEP_SHAPE, STEP_SAMPLES } step;
    unsigned next, pending; /* of the step: partition or sample */
    bool failed;
    struct arena scratch;
    struct deferred cancelled;
};

static void go_on(struct queue_summary_state *s);

/* ---- the end --------------------------------------------------------------- */

static void
summary_tell(struct queue_summary_state *s)
{
    struct queue_summary_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_cancelled(struct deferred *d)
{
    struct queue_summary_state *s = container_of(d, struct queue_summary_state, cancelled);
    s->op->count = 0;
    err_set(&s->op->err, ERR_CANCELLED, "summary: cancelled");
    summary_tell(s);
}

static void
summary_end(struct queue_summary_state *s)
{
    struct counted *c, *next;
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (s->failed && s->op->err.code == ERR_NONE)
            err_set(&s->op->err, ERR_AWAY, "summary: Redis cannot be had");
        summary_tell(s);
    }
    /* The analyser does not see that HASH_DELETE has moved on.
     * NOLINTBEGIN(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    HASH_ITER(hh, s->table, c, next)
    {
        HASH_DELETE(hh, s->table, c);
        free(c);
    }
    /* NOLINTEND(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    arena_fini(&s->scratch);
    s->q->questions--;
    free(s);
}

/* ---- step 1: which lanes there are ------------------------------------------ */

static bool
is_wanted(const struct queue_summary_op *op, struct slice lane)
{
    enum queue_class klass;
    struct slice next_hop, tenant;
    return key_lane_parse(lane, &klass, &next_hop, &tenant) &&
           (op->tenant.n == 0 || slice_eq(op->tenant, tenant)) &&
           (op->next_hop.n == 0 || slice_eq(op->next_hop, next_hop));
}

/* NULL: the table is full. */
static struct counted *
count_lane(struct queue_summary_state *s, struct slice lane)
{
    struct counted *c = NULL;
    HASH_FIND(hh, s->table, lane.p, lane.n, c);
    if (c != NULL)
        return c;
    if (HASH_COUNT(s->table) >= QUEUE_SUMMARY_TABLE_MAX) {
        s->op->truncated = true;
        return NULL;
    }
    c = calloc(1, sizeof *c + lane.n);
    BUG_ON(c == NULL);
    c->name_n = lane.n;
    memcpy(c->name, lane.p, lane.n);
    HASH_ADD(hh, s->table, name, c->name_n, c);
    return c;
}

/* Adds pairs of lane and number: which of the three counts is `offset`. */
static void
count_pairs(struct queue_summary_state *s, unsigned partition, const struct redisReply *pairs,
            size_t offset)
{
    bool somewhere = offset != offsetof(struct counted, inflight);
    for (size_t i = 0; i + 1 < resp_count(pairs); i += 2) {
        struct slice lane = resp_text(resp_at(pairs, i));
        int64_t n = resp_int(resp_at(pairs, i + 1), 0); /* "-inf": the permanent member */
        if (n <= 0 || lane.n > KEY_LANE_MAX || !is_wanted(s->op, lane))
            continue;
        struct counted *c = count_lane(s, lane);
        if (c == NULL)
            continue;
        *(uint64_t *)(void *)((char *)c + offset) += (uint64_t)n;
        if (somewhere)
            c->in[partition / BITS] |= 1ull << (partition % BITS);
    }
}

static void
take_lanes(struct queue_summary_state *s, unsigned partition, const struct redisReply *r)
{
    const struct redisReply *lanes = resp_at(r, 0), *held = resp_at(r, 1);
    if (resp_int(resp_at(lanes, 0), 0) > QUEUE_SUMMARY_LANES_MAX ||
        resp_int(resp_at(held, 0), 0) > QUEUE_SUMMARY_LANES_MAX)
        s->op->truncated = true;
    count_pairs(s, partition, resp_at(lanes, 1), offsetof(struct counted, scheduled));
    count_pairs(s, partition, resp_at(held, 1), offsetof(struct counted, held));
    count_pairs(s, partition, resp_at(r, 2), offsetof(struct counted, inflight));
}

static void
ask_lanes(struct asking *a)
{
    static const enum key_part PARTS[] = {KEY_LANES, KEY_HELD, KEY_INFLIGHT};
    link_cmd_script(&a->cmd, SCRIPT_CALL_LANES, ARRAY_LEN(PARTS));
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        struct key k = key_of_part(a->partition, PARTS[i]);
        link_arg(&a->cmd, key_slice(&k));
    }
    link_arg_int(&a->cmd, QUEUE_SUMMARY_LANES_MAX);
}

/* ---- the rows that are shown ------------------------------------------------ */

static uint64_t
all_of(const struct counted *c)
{
    return c->scheduled + c->held + c->inflight;
}

static int
compare(struct counted *a, struct counted *b)
{
    if (all_of(a) != all_of(b))
        return all_of(a) > all_of(b) ? -1 : 1;
    return slice_compare(slice_from(a->name, a->name_n), slice_from(b->name, b->name_n));
}

/* false: the arena is full. */
static bool
fill_row(struct queue_summary_state *s, struct counted *c, struct queue_row *row)
{
    struct slice lane;
    if (!arena_copy(s->op->arena, slice_from(c->name, c->name_n), &lane))
        return false;
    *row = (struct queue_row){.queued = c->scheduled, .held = c->held, .inflight = c->inflight};
    return key_lane_parse(lane, &row->klass, &row->next_hop, &row->tenant);
}

static void
choose_rows(struct queue_summary_state *s)
{
    struct queue_summary_op *op = s->op;
    struct counted *c, *next;
    op->rows = arena_alloc(op->arena, op->limit * sizeof *op->rows);
    HASH_SORT(s->table, compare);
    HASH_ITER(hh, s->table, c, next)
    {
        op->total.queued += c->scheduled;
        op->total.held += c->held;
        op->total.inflight += c->inflight;
        if (op->count == op->limit) {
            op->truncated = true;
            continue;
        }
        if (op->rows == NULL || !fill_row(s, c, &op->rows[op->count])) {
            err_set(&op->err, ERR_FULL, "summary: the answer is larger than its budget");
            s->failed = true;
            return;
        }
        s->shown[op->count] = (struct shown){.lane = c, .row = &op->rows[op->count]};
        s->shown_count = ++op->count;
    }
}

/* ---- step 2: how old, and whom to look at ----------------------------------- */

/* false: no row is in this partition. */
static bool
rows_in(struct asking *a)
{
    const struct queue_summary_state *s = a->owner;
    unsigned p = a->partition;
    a->row_count = 0;
    for (unsigned i = 0; i < s->shown_count; i++)
        if ((s->shown[i].lane->in[p / BITS] >> (p % BITS) & 1) != 0)
            a->rows[a->row_count++] = i;
    return a->row_count > 0;
}

static void
ask_shape(struct asking *a)
{
    const struct queue_summary_state *s = a->owner;
    unsigned look = QUEUE_SUMMARY_LOOK_MAX / a->row_count;
    link_cmd_script(&a->cmd, SCRIPT_CALL_SHAPE, 2 * a->row_count);
    for (unsigned i = 0; i < a->row_count; i++) {
        const struct counted *c = s->shown[a->rows[i]].lane;
        struct slice lane = slice_from(c->name, c->name_n);
        struct key queue = key_of_queue(a->partition, lane), held = key_of_held(a->partition, lane);
        link_arg(&a->cmd, key_slice(&queue));
        link_arg(&a->cmd, key_slice(&held));
    }
    link_arg_int(&a->cmd, clock_sched_unix_ms());
    link_arg_int(&a->cmd, look > LOOK_LEAST ? look : LOOK_LEAST);
    link_arg_int(&a->cmd, GIVEN);
    for (unsigned i = 0; i < QUEUE_AGES - 1; i++)
        link_arg_int(&a->cmd, (int64_t)QUEUE_AGE_MINUTES[i] * 60000);
}

static void
note_earlier(int64_t *at, int64_t t)
{
    if (t > 0 && (*at == 0 || t < *at))
        *at = t;
}

static void
take_samples(struct shown *shown, const struct redisReply *members)
{
    for (size_t i = 0; i < resp_count(members); i++) {
        struct slice member = resp_text(resp_at(members, i));
        struct sample *sample = &shown->samples[shown->sample_count];
        if (shown->sample_count < QUEUE_SUMMARY_SAMPLES && member.n <= KEY_MEMBER_MAX &&
            key_member_parse(member, &sample->id, &sample->index))
            shown->sample_count++;
    }
}

static void
take_shape(struct queue_summary_state *s, const struct asking *a, const struct redisReply *r)
{
    for (unsigned i = 0; i < a->row_count; i++) {
        const struct redisReply *of = resp_at(r, i);
        struct shown *shown = &s->shown[a->rows[i]];
        struct queue_row *row = shown->row;
        note_earlier(&row->next_due_unix_ms, resp_int(resp_at(of, 0), 0));
        note_earlier(&row->oldest_unix_ms, resp_int(resp_at(of, 1), 0));
        row->sampled |= resp_int(resp_at(of, 2), 0) != 0;
        for (unsigned age = 0; age < QUEUE_AGES; age++) {
            int64_t n = resp_int(resp_at(resp_at(of, 3), age), 0);
            row->ages[age] += n > 0 ? (uint64_t)n : 0;
        }
        take_samples(shown, resp_at(of, 4));
    }
}

/* ---- step 3: some records --------------------------------------------------- */

static struct shown *
sample_at(struct queue_summary_state *s, unsigned number, struct sample *out)
{
    struct shown *shown = &s->shown[number / QUEUE_SUMMARY_SAMPLES];
    unsigned i = number % QUEUE_SUMMARY_SAMPLES;
    if (i >= shown->sample_count)
        return NULL;
    *out = shown->samples[i];
    return shown;
}

static void
ask_sample(struct asking *a, const struct sample *sample)
{
    struct key key = key_of_message(sample->id);
    char field[16];
    size_t n = key_field('d', sample->index, field);
    link_cmd_plain(&a->cmd, "HGET");
    link_arg(&a->cmd, key_slice(&key));
    link_arg(&a->cmd, slice_from(field, n));
}

static void
take_sample(struct queue_summary_state *s, struct shown *shown, const struct redisReply *r)
{
    struct queue_delivery d = {0};
    arena_reset(&s->scratch);
    if (!record_read_delivery(resp_text(r), &s->scratch, &d))
        return; /* finished meanwhile, or broken */
    shown->looked++;
    shown->tried += d.attempts > 0;
    for (unsigned i = 0; i < d.target_count && shown->row->reply.n == 0; i++)
        if (d.targets[i].reply.n > 0 &&
            !arena_copy(s->op->arena, d.targets[i].reply, &shown->row->reply))
            shown->row->reply = SLICE_NONE; /* the numbers matter more */
}

/* From what was looked at to all that is scheduled. */
static void
split_scheduled(struct queue_summary_state *s)
{
    for (unsigned i = 0; i < s->shown_count; i++) {
        const struct shown *shown = &s->shown[i];
        struct queue_row *row = shown->row;
        uint64_t scheduled = row->queued;
        if (shown->looked == 0)
            continue;
        row->deferred = (scheduled * shown->tried + shown->looked / 2) / shown->looked;
        row->queued = scheduled - row->deferred;
        row->sampled |= shown->looked < scheduled;
    }
}

/* ---- all steps -------------------------------------------------------------- */

static void
on_answer(struct link_cmd *c)
{
    struct asking *a = container_of(c, struct asking, cmd);
    struct queue_summary_state *s = a->owner;
    if (c->outcome != LINK_ANSWERED)
        s->failed = true;
    else if (s->op != NULL && s->step == STEP_LANES)
        take_lanes(s, a->partition, c->reply);
    else if (s->op != NULL && s->step == STEP_SHAPE)
        take_shape(s, a, c->reply);
    else if (s->op != NULL)
        take_sample(s, &s->shown[a->row], c->reply);
    a->owner = NULL;
    s->pending--;
    go_on(s);
}

static void
begin(struct queue_summary_state *s, struct asking *a, unsigned partition)
{
    a->owner = s;
    a->partition = partition;
    unsigned link = link_up_near(s->q->links, queue_link_of(s->q, partition));
    link_cmd_init(&a->cmd, s->q->links, link, on_answer);
}

/* Asks the next thing of the step. false: nothing is left of it. */
static bool
ask_next(struct queue_summary_state *s, struct asking *a)
{
    unsigned end = s->step == STEP_SAMPLES ? s->shown_count * QUEUE_SUMMARY_SAMPLES
                                           : (unsigned)QUEUE_PARTITIONS;
    while (s->next < end) {
        struct sample sample;
        unsigned number = s->next++;
        struct shown *of = s->step == STEP_SAMPLES ? sample_at(s, number, &sample) : NULL;
        if (s->step == STEP_SAMPLES && of == NULL)
            continue;
        begin(s, a, of != NULL ? id_partition(sample.id) : number);
        if (s->step == STEP_LANES) {
            ask_lanes(a);
        } else if (of != NULL) {
            a->row = (unsigned)(of - s->shown);
            ask_sample(a, &sample);
        } else if (rows_in(a)) {
            ask_shape(a);
        } else {
            a->owner = NULL;
            continue;
        }
        s->pending++;
        link_cmd_start(&a->cmd);
        return true;
    }
    return false;
}

static bool
fill_slots(struct queue_summary_state *s)
{
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (s->asking[i].owner == NULL && !ask_next(s, &s->asking[i]))
            return false;
    return true;
}

static void
go_on(struct queue_summary_state *s)
{
    for (;;) {
        if (s->op != NULL && !s->failed)
            fill_slots(s);
        if (s->pending > 0)
            return;
        if (s->op == NULL || s->failed || s->step == STEP_SAMPLES)
            break;
        if (s->step == STEP_LANES)
            choose_rows(s);
        s->step = s->step == STEP_LANES ? STEP_SHAPE : STEP_SAMPLES;
        s->next = 0;
    }
    if (s->op != NULL && !s->failed)
        split_scheduled(s);
    summary_end(s);
}

void
queue_summary_start(struct queue_summary_op *op, struct queue *q)
{
    struct queue_summary_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->limit == 0 || op->limit > QUEUE_SUMMARY_ROWS_MAX);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->rows = NULL;
    op->count = 0;
    op->truncated = false;
    op->total = (struct queue_row){0};
    err_clear(&op->err);
    arena_init(&s->scratch, SCRATCH_MAX);
    deferred_init(&s->cancelled, q->loop, on_cancelled);
    fill_slots(s);
}

void
queue_summary_cancel(struct queue_summary_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
