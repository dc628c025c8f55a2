/*
 * Happy path: read the message -> for each delivery that the action applies to,
 * write the next revision of its record (act.lua), some at a time.
 *
 * Ways a delivery ends: changed; being attempted now (counted, left alone);
 * finished meanwhile (left alone); another revision by now (everything is read
 * again, and what was changed already is not changed twice).
 *
 * Ways it ends: all deliveries judged; no such message; Redis away (what was
 * written and not answered may be changed or not: asking again is harmless);
 * cancelled, when it keeps its own memory until Redis has answered.
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/event.h"
#include "queue/history.h"
#include "queue/message.h"
#include "queue/operate.h"
#include "queue/schedule.h"
#include "queue/trace.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"

enum { ACTION_MEMORY_MAX = 8 * QUEUE_RECORD_MAX };

#define ON(s) (1u << (s))

static const struct action_row {
    unsigned applies_to; /* ON(state), ... */
    enum queue_state becomes;
    enum queue_event_kind kind;
    const char *event;
} ROWS[QUEUE_ACTIONS] = {
    [QUEUE_RETRY] = {ON(QUEUE_QUEUED) | ON(QUEUE_DEFERRED), QUEUE_QUEUED, QUEUE_EVENT_RETRIED,
                     "message.retried"},
    [QUEUE_CANCEL] = {ON(QUEUE_QUEUED) | ON(QUEUE_DEFERRED) | ON(QUEUE_HELD), QUEUE_CANCELLED,
                      QUEUE_EVENT_CANCELLED, "message.cancelled"},
    [QUEUE_HOLD] = {ON(QUEUE_QUEUED) | ON(QUEUE_DEFERRED), QUEUE_HELD, QUEUE_EVENT_HELD,
                    "message.held"},
    [QUEUE_RELEASE] = {ON(QUEUE_HELD), QUEUE_QUEUED, QUEUE_EVENT_RELEASED, "message.released"},
    [QUEUE_SUPPRESS] = {ON(QUEUE_QUEUED) | ON(QUEUE_DEFERRED) | ON(QUEUE_HELD), QUEUE_SUPPRESSED,
                        QUEUE_EVENT_SUPPRESSED, "message.suppressed"},
};

/* One delivery that is being changed. */
struct act_slot {
    struct queue_action_state *owner; /* NULL: free */
    struct link_cmd cmd;
    struct buf event;
    unsigned index, targets;
    int64_t due_unix_ms; /* 0: not scheduled */
};

struct queue_action_state {
    struct queue_action_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd read;
    struct arena arena;
    struct queue_message message;
    struct record_body body;
    bool *judged; /* per delivery; kept over rounds */
    struct act_slot slots[QUEUE_ACTIONS_AT_ONCE];
    unsigned next, pending, rounds;
    bool stale, failed;
    struct deferred cancelled;
};

static void act_read(struct queue_action_state *s);
static void act_go_on(struct queue_action_state *s);

/* ---- the end --------------------------------------------------------------- */

static void
act_tell(struct queue_action_state *s)
{
    struct queue_action_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_cancelled(struct deferred *d)
{
    struct queue_action_state *s = container_of(d, struct queue_action_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "action: cancelled");
    act_tell(s);
}

static void
act_end(struct queue_action_state *s, enum err_code code, const char *why)
{
    struct queue *q = s->q;
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (code != ERR_NONE)
            err_set(&s->op->err, code, "action: %s", why);
        act_tell(s);
    }
    for (unsigned i = 0; i < QUEUE_ACTIONS_AT_ONCE; i++)
        buf_fini(&s->slots[i].event);
    arena_fini(&s->arena);
    free(s->judged);
    free(s);
    q->questions--;
}

/* ---- one delivery ---------------------------------------------------------- */

static bool
is_named(const struct queue_action_op *op, struct slice address)
{
    for (unsigned i = 0; i < op->recipient_count; i++)
        if (slice_eq(op->recipients[i], address))
            return true;
    return op->recipient_count == 0;
}

/* An operator's hold leaves the due time in the record; nobody else's does. */
static bool
held_by_operator(const struct queue_delivery *d)
{
    return d->due_unix_ms > 0 && !record_is_schedulable(d);
}

static bool
applies(const struct queue_action_op *op, const struct queue_delivery *d,
        const struct queue_target *t)
{
    bool risky = (t->uncertain || d->crashes >= QUEUE_CRASHES_MAX) && !held_by_operator(d);
    return (ROWS[op->action].applies_to & ON(t->state)) != 0 && is_named(op, t->address) &&
           !(op->careful && op->action == QUEUE_RELEASE && risky);
}

/* Changes the delivery in memory and says so in `trace`. Returns how many of its
 * targets were changed. */
static unsigned
change(const struct queue_action_op *op, struct queue_delivery *d, struct buf *trace)
{
    const struct action_row *row = &ROWS[op->action];
    bool hurry = op->action == QUEUE_RETRY || op->action == QUEUE_RELEASE;
    int64_t now = clock_sched_unix_ms();
    struct trace_record r = {.at_unix_ms = now,
                             .retry_at_unix_ms = hurry ? now : 0,
                             .delivery = d->index,
                             .attempt = d->attempts};
    struct trace_writer w;
    unsigned count = 0;
    bool meant[QUEUE_TARGETS_MAX];
    for (unsigned i = 0; i < d->target_count; i++)
        meant[i] = applies(op, d, &d->targets[i]);
    trace_begin(&w, trace, &r, d->target_count);
    for (unsigned i = 0; i < d->target_count; i++) {
        struct queue_target *t = &d->targets[i], silent = {.uncertain = t->uncertain};
        if (!meant[i])
            continue;
        if (op->action == QUEUE_RELEASE)
            t->state = t->attempts > 0 ? QUEUE_DEFERRED : QUEUE_QUEUED;
        else if (op->action != QUEUE_RETRY)
            t->state = row->becomes;
        trace_add(&w, row->kind, i, &silent);
        count++;
    }
    if (count > 0 && op->action == QUEUE_RELEASE)
        d->crashes = 0;
    if (count > 0 && hurry)
        d->due_unix_ms = now;
    if (record_is_finished(d))
        d->due_unix_ms = 0;
    return count;
}

static void
add_keys(struct link_cmd *c, const struct queue_action_state *s, struct slice lane)
{
    struct msg_id id = s->message.id;
    unsigned p = id_partition(id);
    struct key keys[] = {
        key_of_message(id),        key_of_part(p, KEY_INFLIGHT), key_of_queue(p, lane),
        key_of_part(p, KEY_DUE),   key_of_part(p, KEY_LANES),    key_of_part(p, KEY_HELD),
        key_of_held(p, lane),      key_of_part(p, KEY_STAT),     key_of_part(p, KEY_HIST),
        key_of_part(p, KEY_LEASE), key_of_part(p, KEY_OUT)};
    link_cmd_script(c, SCRIPT_CALL_ACT, (unsigned)ARRAY_LEN(keys) + s->body.chunks);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
    for (unsigned i = 0; i < s->body.chunks; i++) {
        struct key chunk = key_of_chunk(id, i);
        link_arg(c, key_slice(&chunk));
    }
}

static void
add_record(struct link_cmd *c, const struct queue_delivery *d)
{
    char revision[RECORD_REVISION_BYTES];
    struct buf record;
    buf_init(&record, QUEUE_RECORD_MAX + QUEUE_FIELD_MAX);
    record_put_revision(d->revision, revision);
    record_add_delivery(&record, d, d->revision + 1);
    link_arg(c, slice_from(revision, sizeof revision));
    link_arg(c, buf_slice(&record));
    buf_fini(&record);
}

static void on_acted(struct link_cmd *c);

static void
act_send(struct act_slot *slot, const struct queue_delivery *d, struct slice trace)
{
    struct queue_action_state *s = slot->owner;
    struct msg_id id = s->message.id;
    struct link_cmd *c = &slot->cmd;
    char text[ID_TEXT_BYTES + 1], member[KEY_MEMBER_MAX + 1];
    struct slice name = slice_from(member, key_member(id, d->index, member));
    struct key lane;
    BUG_ON(!key_lane(s->message.klass, d->next_hop, s->message.tenant, &lane));
    id_format(id, text);
    event_describe(&slot->event, ROWS[s->op->action].event, name);
    queue_cmd_init(c, s->q, id_partition(id), on_acted);
    add_keys(c, s, key_slice(&lane));
    link_arg(c, name);
    link_arg_int(c, d->index);
    add_record(c, d);
    if (slot->due_unix_ms > 0)
        link_arg_int(c, slot->due_unix_ms);
    else
        link_arg_str(c, "");
    link_arg(c, key_slice(&lane));
    link_arg_str(c, record_is_held(d) ? "1" : "");
    link_arg(c, trace);
    link_arg(c, buf_slice(&slot->event));
    link_arg_int(c, clock_sched_unix_ms());
    link_arg_str(c, text);
    link_arg_str(c, s->q->me.hex);
    link_arg_int(c, id_partition(id));
    link_cmd_start(c);
    FAILPOINT("act.sent");
}

static void
acted(struct act_slot *slot, const struct redisReply *r)
{
    struct queue_action_state *s = slot->owner;
    struct partition *p = &s->q->partitions[id_partition(s->message.id)];
    FAILPOINT("act.done");
    s->judged[slot->index] = true;
    if (s->op != NULL)
        s->op->affected += slot->targets;
    event_deliver(p, resp_text(resp_at(r, 1)), buf_slice(&slot->event));
    history_note(p, resp_int(resp_at(r, 2), 0));
    if (slot->due_unix_ms > 0 && p->held)
        schedule_note_due(p, slot->due_unix_ms);
}

static void
on_acted(struct link_cmd *c)
{
    struct act_slot *slot = container_of(c, struct act_slot, cmd);
    struct queue_action_state *s = slot->owner;
    const struct redisReply *what = resp_at(c->reply, 0);
    if (c->outcome != LINK_ANSWERED) {
        s->failed = true;
    } else if (resp_is(what, "OK")) {
        acted(slot, c->reply);
    } else if (resp_is(what, "STALE")) {
        s->stale = true;
    } else {
        s->judged[slot->index] = true;
        if (s->op != NULL && resp_is(what, "INFLIGHT"))
            s->op->in_flight += slot->targets;
    }
    slot->owner = NULL;
    s->pending--;
    act_go_on(s);
}

/* ---- all of them ----------------------------------------------------------- */

static struct act_slot *
free_slot(struct queue_action_state *s)
{
    for (unsigned i = 0; i < QUEUE_ACTIONS_AT_ONCE; i++)
        if (s->slots[i].owner == NULL)
            return &s->slots[i];
    return NULL;
}

static void
act_one(struct queue_action_state *s, struct act_slot *slot, struct queue_delivery *d)
{
    struct buf trace;
    buf_init(&trace, QUEUE_TRACE_RECORD_MAX);
    slot->targets = change(s->op, d, &trace);
    if (slot->targets == 0) {
        s->judged[d->index] = true;
    } else {
        slot->owner = s;
        slot->index = d->index;
        slot->due_unix_ms = record_is_schedulable(d) ? d->due_unix_ms : 0;
        buf_clear(&slot->event);
        s->pending++;
        act_send(slot, d, buf_slice(&trace));
    }
    buf_fini(&trace);
}

static void
act_go_on(struct queue_action_state *s)
{
    struct act_slot *slot;
    while (s->op != NULL && !s->failed && s->next < s->message.delivery_count &&
           (slot = free_slot(s)) != NULL) {
        unsigned i = s->next++;
        if (!s->judged[i])
            act_one(s, slot, &s->message.deliveries[i]);
    }
    if (s->pending > 0)
        return;
    if (s->failed)
        act_end(s, ERR_AWAY, "Redis cannot be had");
    else if (s->op != NULL && s->stale && s->rounds < QUEUE_ACTION_ROUNDS_MAX)
        act_read(s);
    else if (s->stale)
        act_end(s, ERR_AWAY, "the message changes all the time");
    else
        act_end(s, ERR_NONE, "");
}

static bool
is_meant(const struct queue_action_op *op, const struct queue_message *m)
{
    return (op->tenant.n == 0 || slice_eq(op->tenant, m->tenant)) &&
           (op->submitter.n == 0 || slice_eq(op->submitter, m->submitter));
}

static void
on_message(struct link_cmd *c)
{
    struct queue_action_state *s = container_of(c, struct queue_action_state, read);
    if (s->op == NULL || c->outcome != LINK_ANSWERED) {
        act_end(s, ERR_AWAY, "Redis cannot be had");
        return;
    }
    enum message_read got = message_read(c->reply, &s->arena, &s->message, &s->body);
    if (got == MESSAGE_TOO_LARGE) {
        act_end(s, ERR_FULL, "the message is larger than its budget");
    } else if (got == MESSAGE_BROKEN) {
        act_end(s, ERR_BAD, "the record cannot be read");
    } else if (got == MESSAGE_ABSENT || !is_meant(s->op, &s->message)) {
        act_end(s, ERR_NOT_FOUND, "no such message");
    } else {
        if (s->judged == NULL)
            s->judged = calloc(s->message.delivery_count + 1, sizeof *s->judged);
        BUG_ON(s->judged == NULL);
        act_go_on(s);
    }
}

static void
act_read(struct queue_action_state *s)
{
    struct key key = key_of_message(s->op->id);
    s->rounds++;
    s->next = 0;
    s->stale = false;
    arena_reset(&s->arena);
    queue_cmd_init(&s->read, s->q, id_partition(s->op->id), on_message);
    link_cmd_plain(&s->read, "HGETALL");
    link_arg(&s->read, key_slice(&key));
    link_cmd_start(&s->read);
}

void
queue_action_start(struct queue_action_op *op, struct queue *q)
{
    struct queue_action_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->action >= QUEUE_ACTIONS);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->affected = op->in_flight = 0;
    err_clear(&op->err);
    arena_init(&s->arena, ACTION_MEMORY_MAX);
    deferred_init(&s->cancelled, q->loop, on_cancelled);
    for (unsigned i = 0; i < QUEUE_ACTIONS_AT_ONCE; i++)
        buf_init(&s->slots[i].event, KEY_BYTES_MAX);
    act_read(s);
}

void
queue_action_cancel(struct queue_action_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
