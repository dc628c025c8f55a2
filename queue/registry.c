/*
 * Happy path: one script reads, one writes; all of the registry is in one slot.
 * Ways it ends: answered, away, cancelled; a cancelled operation keeps its own
 * memory until Redis has answered.
 */
#include "queue/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/core.h"
#include "relay/sys/base/limits.h"

enum { KIND_BYTES_MAX = 32 };

static void
add_keys(struct link_cmd *c, const char *kind)
{
    char key[sizeof "sp:{reg}::gen" + KIND_BYTES_MAX];
    BUG_ON(strlen(kind) > KIND_BYTES_MAX);
    snprintf(key, sizeof key, "sp:{reg}:%s:gen", kind);
    link_arg_str(c, key);
    snprintf(key, sizeof key, "sp:{reg}:%s", kind);
    link_arg_str(c, key);
}

/* ---- reading ---------------------------------------------------------------- */

struct queue_registry_read_state {
    struct queue_registry_read_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
};

static void
read_tell(struct queue_registry_read_state *s)
{
    struct queue_registry_read_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
read_judge(struct queue_registry_read_op *op, const struct redisReply *r)
{
    const struct redisReply *entries = resp_at(r, 1);
    op->generation = resp_int(resp_at(r, 0), 0);
    for (size_t i = 0; i + 1 < resp_count(entries); i += 2)
        op->each(op, resp_text(resp_at(entries, i)), resp_text(resp_at(entries, i + 1)));
}

static void
on_read(struct link_cmd *c)
{
    struct queue_registry_read_state *s = container_of(c, struct queue_registry_read_state, cmd);
    deferred_cancel(&s->cancelled);
    s->q->questions--;
    if (s->op != NULL) {
        s->op->dataset = s->q->dataset;
        if (c->outcome == LINK_ANSWERED)
            read_judge(s->op, c->reply);
        else
            err_set(&s->op->err, ERR_AWAY, "registry: Redis cannot be had");
        read_tell(s);
    }
    free(s);
}

static void
on_read_cancelled(struct deferred *d)
{
    struct queue_registry_read_state *s =
        container_of(d, struct queue_registry_read_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "registry: cancelled");
    read_tell(s);
}

void
queue_registry_read_start(struct queue_registry_read_op *op, struct queue *q)
{
    struct queue_registry_read_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->generation = op->known;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_read_cancelled);
    link_cmd_init(&s->cmd, q->links, link_up_near(q->links, 0), on_read);
    link_cmd_script(&s->cmd, SCRIPT_CALL_REGISTRY_READ, 2);
    add_keys(&s->cmd, op->kind);
    link_arg_int(&s->cmd, op->known);
    link_cmd_start(&s->cmd);
}

void
queue_registry_read_cancel(struct queue_registry_read_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- writing ---------------------------------------------------------------- */

struct queue_registry_put_state {
    struct queue_registry_put_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
};

static void
put_tell(struct queue_registry_put_state *s)
{
    struct queue_registry_put_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static enum queue_registry_result
put_judge(const struct link_cmd *c)
{
    const struct redisReply *word = resp_at(c->reply, 0);
    if (c->outcome == LINK_REFUSED && c->class == RESP_NO_ROOM)
        return REGISTRY_FULL;
    if (c->outcome != LINK_ANSWERED)
        return REGISTRY_AWAY;
    return resp_is(word, "OK")     ? REGISTRY_DONE
           : resp_is(word, "FULL") ? REGISTRY_FULL
                                   : REGISTRY_CHANGED;
}

static void
on_put(struct link_cmd *c)
{
    struct queue_registry_put_state *s = container_of(c, struct queue_registry_put_state, cmd);
    deferred_cancel(&s->cancelled);
    s->q->questions--;
    if (s->op != NULL) {
        s->op->result = put_judge(c);
        put_tell(s);
    }
    free(s);
}

static void
on_put_cancelled(struct deferred *d)
{
    struct queue_registry_put_state *s =
        container_of(d, struct queue_registry_put_state, cancelled);
    s->op->result = REGISTRY_AWAY;
    put_tell(s);
}

void
queue_registry_put_start(struct queue_registry_put_op *op, struct queue *q)
{
    struct queue_registry_put_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->value.n > QUEUE_REGISTRY_VALUE_MAX);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    deferred_init(&s->cancelled, q->loop, on_put_cancelled);
    link_cmd_init(&s->cmd, q->links, link_up_near(q->links, 0), on_put);
    link_cmd_script(&s->cmd, SCRIPT_CALL_REGISTRY_PUT, 2);
    add_keys(&s->cmd, op->kind);
    link_arg(&s->cmd, op->name);
    link_arg(&s->cmd, op->old);
    link_arg(&s->cmd, op->value);
    link_arg_int(&s->cmd, QUEUE_REGISTRY_ENTRIES_MAX);
    link_cmd_start(&s->cmd);
}

void
queue_registry_put_cancel(struct queue_registry_put_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
