/*
 * Questions: what became of a message, who is suppressed, how deep the queue is,
 * and the schedule clock. Each is read-only but for the clock, and each ends
 * with an answer, ERR_AWAY, or ERR_CANCELLED; a cancelled one keeps its own
 * memory until Redis has answered.
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/greet.h"
#include "queue/message.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

enum { SUPPRESSION_SHARDS = 16, DEPTH_KEYS = 3 };

/* ---- lookup ---------------------------------------------------------------- */

struct queue_lookup_state {
    struct queue_lookup_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
};

static void
lookup_tell(struct queue_lookup_state *s)
{
    struct queue_lookup_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_lookup_cancelled(struct deferred *d)
{
    struct queue_lookup_state *s = container_of(d, struct queue_lookup_state, cancelled);
    s->op->message = NULL;
    err_set(&s->op->err, ERR_CANCELLED, "lookup: cancelled");
    lookup_tell(s);
}

static void
lookup_judge(struct queue_lookup_op *op, const struct redisReply *r)
{
    struct record_body body;
    struct queue_message *m = arena_alloc(op->arena, sizeof *m);
    enum message_read got = m != NULL ? message_read(r, op->arena, m, &body) : MESSAGE_TOO_LARGE;
    if (got == MESSAGE_OK && (op->tenant.n == 0 || slice_eq(m->tenant, op->tenant)))
        op->message = m;
    else if (got == MESSAGE_TOO_LARGE)
        err_set(&op->err, ERR_FULL, "lookup: the answer is larger than its budget");
    else if (got == MESSAGE_BROKEN)
        err_set(&op->err, ERR_BAD, "lookup: the record cannot be read");
    else
        err_set(&op->err, ERR_NOT_FOUND, "lookup: no such message");
}

static void
on_lookup(struct link_cmd *c)
{
    struct queue_lookup_state *s = container_of(c, struct queue_lookup_state, cmd);
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (c->outcome == LINK_ANSWERED)
            lookup_judge(s->op, c->reply);
        else
            err_set(&s->op->err, ERR_AWAY, "lookup: Redis cannot be had");
        lookup_tell(s);
    }
    s->q->questions--;
    free(s);
}

void
queue_lookup_start(struct queue_lookup_op *op, struct queue *q)
{
    struct queue_lookup_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    struct key key = key_of_message(op->id);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->message = NULL;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_lookup_cancelled);
    /* What was answered as committed is there whatever link asks. */
    unsigned link = link_up_near(q->links, queue_link_of(q, id_partition(op->id)));
    link_cmd_init(&s->cmd, q->links, link, on_lookup);
    link_cmd_plain(&s->cmd, "HGETALL");
    link_arg(&s->cmd, key_slice(&key));
    link_cmd_start(&s->cmd);
}

void
queue_lookup_cancel(struct queue_lookup_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- suppression ----------------------------------------------------------- */

struct shard {
    struct link_cmd cmd;
    struct queue_suppressed_state *owner;
    unsigned count;
};

struct queue_suppressed_state {
    struct queue_suppressed_op *op;
    struct queue *q;
    struct shard shards[SUPPRESSION_SHARDS];
    uint8_t *shard_of; /* per address */
    unsigned pending;
    struct deferred told; /* an empty question, or cancelled */
};

static unsigned
suppression_place(struct slice tenant, struct slice address, uint8_t field[32])
{
    key_digest(tenant, address, field);
    return field[0] % SUPPRESSION_SHARDS;
}

static void
suppression_key(unsigned shard, struct buf *key)
{
    buf_addf(key, "sp:{s%u}:sup", shard);
}

void
queue_suppression_place(struct slice tenant, struct slice address, struct buf *key,
                        struct buf *field)
{
    uint8_t digest[32];
    suppression_key(suppression_place(tenant, address, digest), key);
    buf_add(field, slice_from(digest, sizeof digest));
}

static void
suppressed_tell(struct queue_suppressed_state *s)
{
    struct queue_suppressed_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
suppressed_maybe_free(struct queue_suppressed_state *s)
{
    if (s->pending > 0 || s->op != NULL)
        return;
    s->q->questions--;
    deferred_cancel(&s->told);
    free(s->shard_of);
    free(s);
}

static void
on_suppressed_told(struct deferred *d)
{
    struct queue_suppressed_state *s = container_of(d, struct queue_suppressed_state, told);
    if (s->pending > 0)
        err_set(&s->op->err, ERR_CANCELLED, "suppressions: cancelled");
    suppressed_tell(s);
    suppressed_maybe_free(s);
}

static void
shard_judge(struct shard *shard, const struct link_cmd *c)
{
    struct queue_suppressed_state *s = shard->owner;
    size_t next = 0;
    if (c->outcome != LINK_ANSWERED) {
        err_set(&s->op->err, ERR_AWAY, "suppressions: Redis cannot be had");
        return;
    }
    for (unsigned i = 0; i < s->op->count; i++)
        if (s->shard_of[i] == shard - s->shards)
            s->op->suppressed[i] = !resp_is_nil(resp_at(c->reply, next++));
}

static void
on_shard(struct link_cmd *c)
{
    struct shard *shard = container_of(c, struct shard, cmd);
    struct queue_suppressed_state *s = shard->owner;
    s->pending--;
    if (s->op != NULL) {
        shard_judge(shard, c);
        if (s->pending == 0) {
            deferred_cancel(&s->told);
            suppressed_tell(s);
        }
    }
    suppressed_maybe_free(s);
}

static void
shard_begin(struct shard *shard, struct queue_suppressed_state *s, unsigned number)
{
    struct buf key;
    shard->owner = s;
    buf_init(&key, 64);
    suppression_key(number, &key);
    unsigned link = link_up_near(s->q->links, number % link_count(s->q->links));
    link_cmd_init(&shard->cmd, s->q->links, link, on_shard);
    link_cmd_plain(&shard->cmd, "HMGET");
    link_arg(&shard->cmd, buf_slice(&key));
    buf_fini(&key);
}

void
queue_suppressed_start(struct queue_suppressed_op *op, struct queue *q)
{
    struct queue_suppressed_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    err_clear(&op->err);
    s->shard_of = calloc(op->count > 0 ? op->count : 1, 1);
    BUG_ON(s->shard_of == NULL);
    deferred_init(&s->told, q->loop, on_suppressed_told);
    for (unsigned i = 0; i < op->count; i++) {
        uint8_t field[32];
        unsigned number = suppression_place(op->tenant, op->addresses[i], field);
        struct shard *shard = &s->shards[number];
        op->suppressed[i] = false;
        s->shard_of[i] = (uint8_t)number;
        if (shard->count++ == 0)
            shard_begin(shard, s, number);
        link_arg(&shard->cmd, slice_from(field, sizeof field));
    }
    for (unsigned i = 0; i < SUPPRESSION_SHARDS; i++)
        s->pending += s->shards[i].count > 0;
    for (unsigned i = 0; i < SUPPRESSION_SHARDS; i++)
        if (s->shards[i].count > 0)
            link_cmd_start(&s->shards[i].cmd);
    if (s->pending == 0)
        deferred_schedule(&s->told);
}

void
queue_suppressed_cancel(struct queue_suppressed_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->told);
}

/* ---- depth ----------------------------------------------------------------- */

struct depth_cmd {
    struct link_cmd cmd;
    struct queue_depth_state *owner;
};

struct queue_depth_state {
    struct queue_depth_op *op;
    struct queue *q;
    struct depth_cmd cmds[QUEUE_PARTITIONS];
    unsigned pending;
    struct deferred cancelled;
};

static void
depth_tell(struct queue_depth_state *s)
{
    struct queue_depth_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_depth_cancelled(struct deferred *d)
{
    struct queue_depth_state *s = container_of(d, struct queue_depth_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "depth: cancelled");
    depth_tell(s);
}

static uint64_t
count_at(const struct redisReply *r, size_t i)
{
    int64_t n = resp_int(resp_at(r, i), 0);
    return n > 0 ? (uint64_t)n : 0;
}

static void
on_depth(struct link_cmd *c)
{
    struct queue_depth_state *s = container_of(c, struct depth_cmd, cmd)->owner;
    s->pending--;
    if (s->op != NULL && c->outcome != LINK_ANSWERED)
        err_set(&s->op->err, ERR_AWAY, "depth: Redis cannot be had");
    if (s->op != NULL && c->outcome == LINK_ANSWERED) {
        struct queue_depth *d = &s->op->depth;
        d->live_messages += count_at(c->reply, 0);
        d->scheduled += count_at(c->reply, 1);
        d->inflight += count_at(c->reply, 2);
        d->notices += count_at(c->reply, 3);
        d->held += count_at(c->reply, 4);
    }
    if (s->pending > 0)
        return;
    deferred_cancel(&s->cancelled);
    if (s->op != NULL)
        depth_tell(s);
    s->q->questions--;
    free(s);
}

void
queue_depth_start(struct queue_depth_op *op, struct queue *q)
{
    static const enum key_part KEYS[DEPTH_KEYS] = {KEY_STAT, KEY_INFLIGHT, KEY_NDR};
    struct queue_depth_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->depth = (struct queue_depth){0};
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_depth_cancelled);
    s->pending = QUEUE_PARTITIONS;
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++) {
        struct link_cmd *c = &s->cmds[p].cmd;
        s->cmds[p].owner = s;
        link_cmd_init(c, q->links, link_up_near(q->links, queue_link_of(q, p)), on_depth);
        link_cmd_script(c, SCRIPT_CALL_DEPTH, DEPTH_KEYS);
        for (unsigned i = 0; i < DEPTH_KEYS; i++) {
            struct key k = key_of_part(p, KEYS[i]);
            link_arg(c, key_slice(&k));
        }
        link_cmd_start(c);
    }
}

void
queue_depth_cancel(struct queue_depth_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- clock ----------------------------------------------------------------- */

struct queue_clock_state {
    struct queue_clock_op *op;
    struct queue *q;
    struct link_cmd cmd, hint;
    int64_t offset_ms;
};

static void
clock_end(struct queue_clock_state *s)
{
    struct queue_clock_op *op = s->op;
    s->q->questions--;
    op->state = NULL;
    free(s);
    op->done(op);
}

static void
on_clock_told(struct link_cmd *c)
{
    clock_end(container_of(c, struct queue_clock_state, hint)); /* others poll it as well */
}

static void
on_clock_moved(struct link_cmd *c)
{
    struct queue_clock_state *s = container_of(c, struct queue_clock_state, cmd);
    if (c->outcome != LINK_ANSWERED) {
        link_cmd_explain(c, &s->op->err);
        err_context(&s->op->err, "clock");
        clock_end(s);
        return;
    }
    greet_take_clock(s->q, resp_int(c->reply, 0));
    link_cmd_init(&s->hint, s->q->links, LINK_ANY, on_clock_told);
    link_cmd_plain(&s->hint, "PUBLISH");
    link_arg_str(&s->hint, "sp:hint");
    link_arg_str(&s->hint, "clock");
    link_cmd_start(&s->hint);
}

void
queue_clock_advance_start(struct queue_clock_op *op, struct queue *q)
{
    struct queue_clock_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->delta_ms < 0);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    err_clear(&op->err);
    link_cmd_init(&s->cmd, q->links, LINK_ANY, on_clock_moved);
    link_cmd_plain(&s->cmd, "INCRBY");
    link_arg_str(&s->cmd, "sp:clock");
    link_arg_int(&s->cmd, op->delta_ms);
    link_cmd_start(&s->cmd);
}
