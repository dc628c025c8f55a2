/*
 * What is known of one message: its events, and its bytes. Each reads the
 * message's hash, bytes also the chunks, and ends with an answer, ERR_AWAY or
 * ERR_CANCELLED; a cancelled one keeps its own memory until Redis has answered.
 */
#include <stdlib.h>

#include "queue/body.h"
#include "queue/message.h"
#include "queue/operate.h"
#include "queue/trace.h"
#include "relay/sys/base/limits.h"

/* ---- events: collecting ---------------------------------------------------- */

/* All events of a message: those of its trace, and those that the message itself
 * tells of. Counted first (at most so many), then filled. */
struct story {
    const struct queue_message *m;
    struct slice trace;
    uint64_t dropped;
    unsigned *first;            /* per delivery: place of its first target in last_at */
    int64_t *last_at;           /* per target: time of its last event in the trace; 0: none */
    struct queue_event *events; /* NULL: only count */
    unsigned count;
};

enum { FIRST_RECORDS = 2 /* of a trace: never dropped, see common.lua */ };

static void
tell(struct story *s, const struct queue_event *e)
{
    if (s->events != NULL)
        s->events[s->count] = *e;
    s->count++;
}

static bool
name_target(const struct story *s, struct queue_event *e)
{
    if (e->delivery >= s->m->delivery_count)
        return false;
    const struct queue_delivery *d = &s->m->deliveries[e->delivery];
    if (e->target >= d->target_count)
        return false;
    e->domain = d->next_hop;
    e->recipient = d->targets[e->target].address;
    return true;
}

static void
tell_record(struct story *s, const struct trace_record *r, struct slice entries, unsigned record)
{
    static const unsigned AGAIN =
        1u << QUEUE_EVENT_DEFERRED | 1u << QUEUE_EVENT_RELEASED | 1u << QUEUE_EVENT_RETRIED;
    struct trace_entry entry = {0};
    while (trace_cut_entry(&entries, &entry)) {
        struct queue_event e = {.kind = entry.kind,
                                .at_unix_ms = r->at_unix_ms,
                                .attempt = r->attempt,
                                .delivery = r->delivery,
                                .target = entry.target,
                                .reply = entry.reply,
                                .uncertain = entry.uncertain,
                                .record = record};
        if ((AGAIN >> e.kind & 1) != 0)
            e.retry_at_unix_ms = r->retry_at_unix_ms;
        if (!name_target(s, &e))
            continue;
        s->last_at[s->first[e.delivery] + e.target] = e.at_unix_ms;
        tell(s, &e);
    }
}

static void
tell_trace(struct story *s)
{
    struct slice rest = s->trace, entries;
    struct trace_record r;
    for (unsigned i = 0; trace_cut_record(&rest, &r, &entries); i++) {
        unsigned before = i < FIRST_RECORDS ? 0 : (unsigned)s->dropped;
        tell_record(s, &r, entries, 1 + i + before);
    }
}

static int64_t
time_of(struct msg_id id)
{
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.b[i];
    return ms;
}

/* What the message says of a target that its trace does not. */
static void
tell_target(struct story *s, unsigned delivery, unsigned target)
{
    const struct queue_target *t = &s->m->deliveries[delivery].targets[target];
    int64_t last_at = s->last_at[s->first[delivery] + target];
    struct queue_event e = {.delivery = delivery, .target = target};
    name_target(s, &e);
    if (t->state == QUEUE_SUPPRESSED && last_at == 0) {
        e.kind = QUEUE_EVENT_SUPPRESSED;
        e.at_unix_ms = s->m->created_unix_ms;
        tell(s, &e);
    }
    if (!t->has_notice_id)
        return;
    /* An id follows the wall clock, the trace the schedule clock: a notice is
     * never older than the outcome that it reports. */
    e.kind = QUEUE_EVENT_NOTICE;
    e.notice_id = t->notice_id;
    e.at_unix_ms = time_of(t->notice_id) > last_at ? time_of(t->notice_id) : last_at;
    tell(s, &e);
}

static void
tell_all(struct story *s)
{
    struct queue_event accepted = {.kind = QUEUE_EVENT_ACCEPTED,
                                   .at_unix_ms = s->m->created_unix_ms};
    s->count = 0;
    tell(s, &accepted);
    tell_trace(s);
    for (unsigned i = 0; i < s->m->delivery_count; i++)
        for (unsigned j = 0; j < s->m->deliveries[i].target_count; j++)
            tell_target(s, i, j);
}

static int
compare_numbers(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int
compare(const void *a, const void *b)
{
    const struct queue_event *x = a, *y = b;
    int by_time = compare_numbers(x->at_unix_ms, y->at_unix_ms);
    int by_kind = compare_numbers(x->kind == QUEUE_EVENT_NOTICE, y->kind == QUEUE_EVENT_NOTICE);
    int by_record = compare_numbers(x->record, y->record);
    int by_delivery = compare_numbers(x->delivery, y->delivery);
    if (by_time != 0 || by_kind != 0)
        return by_time != 0 ? by_time : by_kind;
    if (by_record != 0 || by_delivery != 0)
        return by_record != 0 ? by_record : by_delivery;
    return compare_numbers(x->target, y->target);
}

/* false: the arena is full. */
static bool
story_begin(struct story *s, struct arena *a)
{
    size_t targets = 0;
    s->first = arena_alloc(a, (s->m->delivery_count + 1) * sizeof *s->first);
    for (unsigned i = 0; s->first != NULL && i < s->m->delivery_count; i++) {
        s->first[i] = (unsigned)targets;
        targets += s->m->deliveries[i].target_count;
    }
    s->last_at = arena_alloc(a, (targets + 1) * sizeof *s->last_at);
    return s->first != NULL && s->last_at != NULL;
}

/* ---- events: the operation -------------------------------------------------- */

struct queue_events_state {
    struct queue_events_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
};

static void
events_tell(struct queue_events_state *s)
{
    struct queue_events_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_events_cancelled(struct deferred *d)
{
    struct queue_events_state *s = container_of(d, struct queue_events_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "events: cancelled");
    events_tell(s);
}

static bool
events_fill(struct queue_events_op *op, const struct queue_message *m, const struct redisReply *r)
{
    struct story s = {.m = m};
    uint64_t dropped = 0;
    if (!arena_copy(op->arena, message_field(r, "tr"), &s.trace) || !story_begin(&s, op->arena))
        return false;
    slice_to_u64(message_field(r, "td"), &dropped);
    s.dropped = op->dropped = dropped;
    tell_all(&s);
    s.events = arena_alloc(op->arena, s.count * sizeof *s.events);
    if (s.events == NULL)
        return false;
    tell_all(&s);
    qsort(s.events, s.count, sizeof *s.events, compare);
    op->events = s.events;
    op->count = s.count;
    return true;
}

static bool
is_of(struct slice tenant, const struct queue_message *m)
{
    return tenant.n == 0 || slice_eq(tenant, m->tenant);
}

static void
events_judge(struct queue_events_op *op, const struct redisReply *r)
{
    struct queue_message m;
    struct record_body body;
    enum message_read got = message_read(r, op->arena, &m, &body);
    if (got == MESSAGE_BROKEN)
        err_set(&op->err, ERR_BAD, "events: the record cannot be read");
    else if (got == MESSAGE_ABSENT || (got == MESSAGE_OK && !is_of(op->tenant, &m)))
        err_set(&op->err, ERR_NOT_FOUND, "events: no such message");
    else if (got == MESSAGE_TOO_LARGE || !events_fill(op, &m, r))
        err_set(&op->err, ERR_FULL, "events: the answer is larger than its budget");
}

static void
on_events(struct link_cmd *c)
{
    struct queue_events_state *s = container_of(c, struct queue_events_state, cmd);
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (c->outcome == LINK_ANSWERED)
            events_judge(s->op, c->reply);
        else
            err_set(&s->op->err, ERR_AWAY, "events: Redis cannot be had");
        events_tell(s);
    }
    s->q->questions--;
    free(s);
}

static void
ask_hash(struct link_cmd *c, struct queue *q, struct msg_id id, void (*done)(struct link_cmd *))
{
    struct key key = key_of_message(id);
    link_cmd_init(c, q->links, link_up_near(q->links, queue_link_of(q, id_partition(id))), done);
    link_cmd_plain(c, "HGETALL");
    link_arg(c, key_slice(&key));
    link_cmd_start(c);
}

void
queue_events_start(struct queue_events_op *op, struct queue *q)
{
    struct queue_events_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->events = NULL;
    op->count = 0;
    op->dropped = 0;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_events_cancelled);
    ask_hash(&s->cmd, q, op->id, on_events);
}

void
queue_events_cancel(struct queue_events_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- bytes ------------------------------------------------------------------ */

struct queue_raw_state {
    struct queue_raw_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct body_load load;
    struct deferred cancelled;
};

static void
raw_tell(struct queue_raw_state *s)
{
    struct queue_raw_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_raw_cancelled(struct deferred *d)
{
    struct queue_raw_state *s = container_of(d, struct queue_raw_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "raw: cancelled");
    raw_tell(s);
}

static void
raw_end(struct queue_raw_state *s, enum err_code code, const char *why)
{
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (code != ERR_NONE)
            err_set(&s->op->err, code, "raw: %s", why);
        raw_tell(s);
    }
    s->q->questions--;
    free(s);
}

static void
on_loaded(struct body_load *l)
{
    struct queue_raw_state *s = container_of(l, struct queue_raw_state, load);
    if (s->op == NULL)
        content_unref(&l->content);
    else
        s->op->content = l->content;
    raw_end(s, l->err.code, "the stored bytes cannot be had");
}

static void
on_raw_record(struct link_cmd *c)
{
    struct queue_raw_state *s = container_of(c, struct queue_raw_state, cmd);
    struct queue_message m = {0};
    struct record_body body;
    struct slice record = resp_text(resp_at(c->reply, 0));
    if (s->op == NULL || c->outcome != LINK_ANSWERED)
        raw_end(s, ERR_AWAY, "Redis cannot be had");
    else if (record.n == 0)
        raw_end(s, ERR_NOT_FOUND, "no such message");
    else if (!record_read_message(record, &m, &body))
        raw_end(s, ERR_BAD, "the record cannot be read");
    else if (!is_of(s->op->tenant, &m))
        raw_end(s, ERR_NOT_FOUND, "no such message");
    else if (resp_int(resp_at(c->reply, 1), 0) <= 0)
        raw_end(s, ERR_STALE, "the message is finished");
    else
        body_load_start(&s->load, s->q, &m, &body);
}

void
queue_raw_start(struct queue_raw_op *op, struct queue *q)
{
    struct queue_raw_state *s = calloc(1, sizeof *s);
    struct key key = key_of_message(op->id);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    s->load.done = on_loaded;
    op->state = s;
    op->content = (struct content){0};
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_raw_cancelled);
    queue_cmd_init(&s->cmd, q, id_partition(op->id), on_raw_record);
    link_cmd_plain(&s->cmd, "HMGET");
    link_arg(&s->cmd, key_slice(&key));
    link_arg_str(&s->cmd, "r");
    link_arg_str(&s->cmd, "left");
    link_cmd_start(&s->cmd);
}

void
queue_raw_cancel(struct queue_raw_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
