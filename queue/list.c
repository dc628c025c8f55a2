/*
 * Happy path: a page of the index of every partition -> merge them, newest
 * first, into a batch -> read the messages of the batch and keep those that
 * match -> the next batch; a partition whose page is used up is read on first.
 *
 * Ways it ends: enough messages; nothing left; as much looked at as one answer
 * may cost (has_more); the arena is full (has_more, or ERR_FULL when not even
 * one fits); Redis away; cancelled, when it keeps its own memory until Redis has
 * answered.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/index.h"
#include "queue/message.h"
#include "queue/operate.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

enum {
    BATCH = 16,         /* messages read at once */
    SLACK_MS = 3600000, /* an id is made when a submission begins, which may be earlier */
    SCRATCH_MAX = 8 * QUEUE_RECORD_MAX,
};

/* What is known of one partition's part of the index. */
struct list_stream {
    struct queue_list_state *owner;
    struct link_cmd cmd;
    struct msg_id ids[QUEUE_LIST_PAGE];
    unsigned n, at;
    bool ended; /* nothing behind ids[] */
};

struct list_read {
    struct queue_list_state *owner;
    struct link_cmd cmd;
    struct msg_id id;
};

struct queue_list_state {
    struct queue_list_op *op; /* NULL: cancelled */
    struct queue *q;
    struct index_property property;
    struct list_stream streams[QUEUE_PARTITIONS];
    struct list_read batch[BATCH];
    unsigned batch_n, taken; /* of the batch: judged already */
    unsigned pending, pages, examined;
    bool failed;
    struct msg_id last, lowest; /* last judged; nothing below is wanted */
    bool has_last, stopped;
    struct deferred cancelled;
    struct arena scratch;
};

static void list_merge(struct queue_list_state *s);

/* ---- states ---------------------------------------------------------------- */

static const enum queue_state ORDER[] = {
    QUEUE_QUEUED,  QUEUE_DEFERRED,   QUEUE_HELD,      QUEUE_BOUNCED,
    QUEUE_EXPIRED, QUEUE_SUPPRESSED, QUEUE_CANCELLED, QUEUE_DELIVERED,
};

enum queue_state
queue_message_state(const struct queue_message *m)
{
    unsigned present = 0;
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; j < m->deliveries[i].target_count; j++)
            present |= 1u << m->deliveries[i].targets[j].state;
    for (size_t i = 0; i < ARRAY_LEN(ORDER); i++)
        if (present >> ORDER[i] & 1)
            return ORDER[i];
    return QUEUE_DELIVERED;
}

/* ---- the end --------------------------------------------------------------- */

static void
list_tell(struct queue_list_state *s)
{
    struct queue_list_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_cancelled(struct deferred *d)
{
    struct queue_list_state *s = container_of(d, struct queue_list_state, cancelled);
    s->op->count = 0;
    err_set(&s->op->err, ERR_CANCELLED, "list: cancelled");
    list_tell(s);
}

static void
list_end(struct queue_list_state *s)
{
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        s->op->next = s->has_last ? s->last : s->op->after;
        list_tell(s);
    }
    arena_fini(&s->scratch);
    s->q->questions--;
    free(s);
}

/* The last command of a step is done: goes on, unless the answer is needed by
 * nobody or cannot be had. */
static bool
step_over(struct queue_list_state *s)
{
    if (--s->pending > 0)
        return false;
    if (s->op != NULL && !s->failed)
        return true;
    if (s->op != NULL && s->op->err.code == ERR_NONE)
        err_set(&s->op->err, ERR_AWAY, "list: Redis cannot be had");
    list_end(s);
    return false;
}

/* ---- reading messages ------------------------------------------------------ */

static bool
has_recipient(const struct queue_message *m, struct slice address)
{
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; j < m->deliveries[i].target_count; j++)
            if (slice_eq(m->deliveries[i].targets[j].address, address))
                return true;
    return false;
}

static bool
matches(const struct queue_list_op *op, const struct queue_message *m)
{
    return (op->tenant.n == 0 || slice_eq(op->tenant, m->tenant)) &&
           (op->submitter.n == 0 || slice_eq(op->submitter, m->submitter)) &&
           (op->recipient.n == 0 || has_recipient(m, op->recipient)) &&
           (!op->has_wanted || queue_message_state(m) == op->wanted) &&
           (op->since_unix_ms == 0 || m->created_unix_ms >= op->since_unix_ms) &&
           (op->until_unix_ms == 0 || m->created_unix_ms < op->until_unix_ms);
}

/* false: the answer is full. */
static bool
keep(struct queue_list_state *s, const struct redisReply *hash)
{
    struct queue_list_op *op = s->op;
    struct record_body body;
    struct queue_message *m = arena_alloc(op->arena, sizeof *m);
    if (m != NULL && message_read(hash, op->arena, m, &body) == MESSAGE_OK) {
        op->messages[op->count++] = m;
        return true;
    }
    op->has_more = true;
    if (op->count == 0)
        err_set(&op->err, ERR_FULL, "list: a message is larger than the answer may be");
    return false;
}

static void
judge(struct queue_list_state *s, const struct list_read *read, const struct redisReply *hash)
{
    struct queue_message m;
    struct record_body body;
    arena_reset(&s->scratch);
    bool fits = message_read(hash, &s->scratch, &m, &body) == MESSAGE_OK && matches(s->op, &m);
    if (fits && !keep(s, hash)) {
        s->stopped = true;
        return;
    }
    s->examined++;
    s->taken++;
    s->last = read->id;
    s->has_last = true;
    s->stopped = s->op->count == s->op->limit;
}

static void
on_read(struct link_cmd *c)
{
    struct list_read *read = container_of(c, struct list_read, cmd);
    struct queue_list_state *s = read->owner;
    if (c->outcome != LINK_ANSWERED)
        s->failed = true;
    else if (s->op != NULL && !s->failed && !s->stopped)
        judge(s, read, c->reply);
    if (step_over(s))
        list_merge(s);
}

/* All on one link, so that they are answered in their order. */
static void
read_batch(struct queue_list_state *s)
{
    unsigned link = link_up(s->q->links);
    s->pending = s->batch_n;
    s->taken = 0;
    for (unsigned i = 0; i < s->batch_n; i++) {
        struct list_read *read = &s->batch[i];
        struct key key = key_of_message(read->id);
        read->owner = s;
        link_cmd_init(&read->cmd, s->q->links, link, on_read);
        link_cmd_plain(&read->cmd, "HGETALL");
        link_arg(&read->cmd, key_slice(&key));
    }
    for (unsigned i = 0; i < s->batch_n; i++)
        link_cmd_start(&s->batch[i].cmd);
}

/* ---- merging --------------------------------------------------------------- */

static struct list_stream *
newest(struct queue_list_state *s)
{
    struct list_stream *best = NULL;
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        struct list_stream *t = &s->streams[i];
        if (t->at < t->n && (best == NULL || memcmp(t->ids[t->at].b, best->ids[best->at].b,
                                                    sizeof best->ids[0].b) > 0))
            best = t;
    }
    return best;
}

/* Whether a partition must be read on before anything more can be said. */
static bool
some_is_used_up(const struct queue_list_state *s)
{
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        if (s->streams[i].at == s->streams[i].n && !s->streams[i].ended)
            return true;
    return false;
}

static void stream_read(struct list_stream *t, unsigned partition);

static void
read_on(struct queue_list_state *s)
{
    bool wanted[QUEUE_PARTITIONS];
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        wanted[i] = s->streams[i].at == s->streams[i].n && !s->streams[i].ended;
        s->pending += wanted[i];
    }
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        if (wanted[i])
            stream_read(&s->streams[i], i);
}

static void
fill_batch(struct queue_list_state *s)
{
    struct list_stream *t;
    s->batch_n = 0;
    while (s->batch_n < BATCH && s->examined + s->batch_n < QUEUE_LIST_EXAMINED_MAX &&
           !some_is_used_up(s) && (t = newest(s)) != NULL)
        s->batch[s->batch_n++].id = t->ids[t->at++];
}

static void
list_merge(struct queue_list_state *s)
{
    bool left = s->taken < s->batch_n || newest(s) != NULL || some_is_used_up(s);
    if (s->stopped || !left || s->examined >= QUEUE_LIST_EXAMINED_MAX ||
        s->pages >= QUEUE_LIST_PAGES_MAX) {
        s->op->has_more |= left;
        list_end(s);
        return;
    }
    fill_batch(s);
    if (s->batch_n > 0)
        read_batch(s);
    else
        read_on(s);
}

/* ---- reading the index ----------------------------------------------------- */

static void
take_page(struct list_stream *t, const struct redisReply *r)
{
    const struct index_property *p = &t->owner->property;
    t->n = t->at = 0;
    for (size_t i = 0; i < resp_count(r) && t->n < QUEUE_LIST_PAGE; i++)
        if (index_member_id(resp_text(resp_at(r, i)), p, &t->ids[t->n]))
            t->n++;
    t->ended = t->n < QUEUE_LIST_PAGE;
}

static void
on_page(struct link_cmd *c)
{
    struct list_stream *t = container_of(c, struct list_stream, cmd);
    struct queue_list_state *s = t->owner;
    if (c->outcome == LINK_ANSWERED)
        take_page(t, c->reply);
    else
        s->failed = true;
    if (step_over(s))
        list_merge(s);
}

static struct msg_id
id_at(int64_t unix_ms, uint8_t fill)
{
    struct msg_id id;
    memset(id.b, fill, sizeof id.b);
    for (int i = 0; i < 6 && unix_ms > 0; i++)
        id.b[i] = (uint8_t)(unix_ms >> (40 - 8 * i));
    return id;
}

/* Ids follow the wall clock, creation times the schedule clock, which is never
 * behind it: what is created before `until` has an id of before that. */
static void
add_highest(struct buf *b, const struct list_stream *t)
{
    const struct queue_list_state *s = t->owner;
    const struct queue_list_op *op = s->op;
    struct msg_id top = id_at(0, 0xff), until = top;
    if (t->n > 0) {
        index_add_bound(b, '(', &s->property, t->ids[t->n - 1]);
        return;
    }
    if (op->until_unix_ms > 0)
        until = id_at(op->until_unix_ms + SLACK_MS, 0xff);
    if (op->has_after && memcmp(op->after.b, until.b, sizeof until.b) < 0)
        index_add_bound(b, '(', &s->property, op->after);
    else
        index_add_bound(b, '[', &s->property, until);
}

static void
stream_read(struct list_stream *t, unsigned partition)
{
    struct queue_list_state *s = t->owner;
    struct key idx = key_of_part(partition, KEY_IDX);
    struct link_cmd *c = &t->cmd;
    struct buf bound;
    s->pages++;
    buf_init(&bound, 1 + INDEX_MEMBER_BYTES);
    link_cmd_init(c, s->q->links, link_up_near(s->q->links, queue_link_of(s->q, partition)),
                  on_page);
    link_cmd_plain(c, "ZREVRANGEBYLEX");
    link_arg(c, key_slice(&idx));
    add_highest(&bound, t);
    link_arg(c, buf_slice(&bound));
    buf_clear(&bound);
    index_add_bound(&bound, '[', &s->property, s->lowest);
    link_arg(c, buf_slice(&bound));
    link_arg_str(c, "LIMIT");
    link_arg_int(c, 0);
    link_arg_int(c, QUEUE_LIST_PAGE);
    buf_fini(&bound);
    link_cmd_start(c);
}

/* ---- start ----------------------------------------------------------------- */

/* The one that fewest messages have. */
static struct index_property
choose_property(const struct queue_list_op *op)
{
    if (op->recipient.n > 0)
        return index_property(op->tenant.n > 0 ? INDEX_TENANT_RECIPIENT : INDEX_RECIPIENT,
                              op->tenant, op->recipient);
    if (op->submitter.n > 0)
        return index_property(INDEX_SUBMITTER, SLICE_NONE, op->submitter);
    return index_property(op->tenant.n > 0 ? INDEX_TENANT : INDEX_ALL, op->tenant, SLICE_NONE);
}

void
queue_list_start(struct queue_list_op *op, struct queue *q)
{
    struct queue_list_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->limit == 0 || op->limit > QUEUE_LIST_LIMIT_MAX);
    int64_t since = op->since_unix_ms - SLACK_MS - clock_sched_offset_ms();
    q->questions++;
    s->op = op;
    s->q = q;
    s->property = choose_property(op);
    s->lowest = id_at(op->since_unix_ms > 0 && since > 0 ? since : 0, 0);
    op->state = s;
    op->count = 0;
    op->has_more = false;
    err_clear(&op->err);
    arena_init(&s->scratch, SCRATCH_MAX);
    deferred_init(&s->cancelled, q->loop, on_cancelled);
    op->messages = arena_alloc(op->arena, op->limit * sizeof(struct queue_message *));
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        s->streams[i].owner = s;
    s->failed = op->messages == NULL;
    if (s->failed)
        err_set(&op->err, ERR_FULL, "list: no memory for the answer");
    read_on(s);
}

void
queue_list_cancel(struct queue_list_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
