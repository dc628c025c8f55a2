#include "tests/unit/support/fake_operate.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"

static struct fake_operate fake;

struct fake_operate *
fake_operate(void)
{
    return &fake;
}

/* One answer on its way; each state is one. */
struct reply {
    struct timer timer;
    void *op;
    void (*run)(void *op);
};

static void
on_timer(struct timer *t)
{
    struct reply *r = container_of(t, struct reply, timer);
    void *op = r->op;
    void (*run)(void *op) = r->run;
    free(r);
    run(op);
}

static void *
reply_later(void *op, void (*run)(void *op))
{
    struct reply *r = calloc(1, sizeof *r);
    BUG_ON(r == NULL);
    r->op = op;
    r->run = run;
    timer_init(&r->timer, fake.loop, on_timer);
    if (!fake.hold)
        timer_start(&r->timer, 0);
    return r;
}

static void
reply_now(void *state)
{
    struct reply *r = state;
    fake.cancelled++;
    timer_start(&r->timer, 0);
}

static void
note(const char *what, struct slice tenant, struct msg_id id, struct slice more)
{
    char text[ID_TEXT_BYTES + 1];
    id_format(id, text);
    snprintf(fake.asked, sizeof fake.asked, "%s tenant=%.*s id=%s %.*s", what, SLICE_FMT(tenant),
             text, SLICE_FMT(more));
}

enum queue_state
queue_message_state(const struct queue_message *m)
{
    return m->deliveries[m->delivery_count - 1].targets[0].state;
}

/* ---- list ------------------------------------------------------------------- */

static void
list_run(void *p)
{
    struct queue_list_op *op = p;
    op->err.code = fake.error;
    op->messages = arena_alloc(op->arena, 2 * sizeof *op->messages);
    op->count = fake.error == ERR_NONE ? 2 : 0;
    for (unsigned i = 0; i < op->count; i++)
        op->messages[i] = fake.message(op->arena);
    op->has_more = fake.has_more;
    if (op->count > 0)
        op->next = op->messages[0]->id;
    op->done(op);
}

void
queue_list_start(struct queue_list_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "to=%.*s state=%d since=%lld until=%lld limit=%u",
             SLICE_FMT(op->recipient), op->has_wanted ? (int)op->wanted : -1,
             (long long)op->since_unix_ms, (long long)op->until_unix_ms, op->limit);
    note("list", op->tenant, op->after, slice_str(more));
    op->state = reply_later(op, list_run);
}

void
queue_list_cancel(struct queue_list_op *op)
{
    reply_now(op->state);
}

/* ---- events and bytes -------------------------------------------------------- */

static void
events_run(void *p)
{
    struct queue_events_op *op = p;
    op->err.code = fake.error;
    op->events = arena_alloc(op->arena, 2 * sizeof *op->events);
    op->count = 2;
    op->dropped = 3;
    op->events[0] = (struct queue_event){.kind = QUEUE_EVENT_ACCEPTED, .at_unix_ms = 1795420800123};
    op->events[1] = (struct queue_event){.kind = QUEUE_EVENT_DEFERRED,
                                         .at_unix_ms = 1795420801000,
                                         .retry_at_unix_ms = 1795424400000,
                                         .attempt = 1,
                                         .target = 1,
                                         .record = 1,
                                         .recipient = SLICE("b@two.example"),
                                         .domain = SLICE("two.example"),
                                         .uncertain = true};
    op->done(op);
}

void
queue_events_start(struct queue_events_op *op, struct queue *q)
{
    (void)q;
    note("events", op->tenant, op->id, SLICE_NONE);
    op->state = reply_later(op, events_run);
}

void
queue_events_cancel(struct queue_events_op *op)
{
    reply_now(op->state);
}

static void
raw_run(void *p)
{
    struct queue_raw_op *op = p;
    op->err.code = fake.error;
    if (fake.error == ERR_NONE)
        op->content.rest = blob_new_copy(SLICE("From: a@b.example\r\n\r\nraw\r\n"));
    op->done(op);
}

void
queue_raw_start(struct queue_raw_op *op, struct queue *q)
{
    (void)q;
    note("raw", op->tenant, op->id, SLICE_NONE);
    fake.raws++;
    op->state = reply_later(op, raw_run);
}

void
queue_raw_cancel(struct queue_raw_op *op)
{
    reply_now(op->state);
}

/* ---- actions ------------------------------------------------------------------ */

static void
action_run(void *p)
{
    struct queue_action_op *op = p;
    op->err.code = fake.error;
    op->affected = fake.affected;
    op->in_flight = fake.in_flight;
    op->done(op);
}

void
queue_action_start(struct queue_action_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "action=%d recipients=%u %.*s", (int)op->action,
             op->recipient_count,
             SLICE_FMT(op->recipient_count > 0 ? op->recipients[0] : SLICE_NONE));
    note("act", op->tenant, op->id, slice_str(more));
    op->state = reply_later(op, action_run);
}

void
queue_action_cancel(struct queue_action_op *op)
{
    reply_now(op->state);
}

/* ---- summary ------------------------------------------------------------------ */

static void
summary_run(void *p)
{
    struct queue_summary_op *op = p;
    op->err.code = fake.error;
    op->rows = arena_alloc(op->arena, sizeof *op->rows);
    op->count = 1;
    op->rows[0] = (struct queue_row){.next_hop = SLICE("two.example"),
                                     .tenant = SLICE("dev"),
                                     .klass = QUEUE_BULK,
                                     .queued = 5,
                                     .deferred = 2,
                                     .held = 1,
                                     .oldest_unix_ms = 1795420800123,
                                     .ages = {8}};
    op->total = (struct queue_row){.queued = 21, .held = 1};
    op->done(op);
}

void
queue_summary_start(struct queue_summary_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "domain=%.*s limit=%u", SLICE_FMT(op->next_hop), op->limit);
    note("summary", op->tenant, (struct msg_id){{0}}, slice_str(more));
    op->state = reply_later(op, summary_run);
}

void
queue_summary_cancel(struct queue_summary_op *op)
{
    reply_now(op->state);
}

const unsigned QUEUE_AGE_MINUTES[QUEUE_AGES - 1] = {5, 10, 20, 40, 80, 160, 320, 640, 1280};

/* ---- sweeps and suppressions ---------------------------------------------------- */

static void
sweep_run(void *p)
{
    struct queue_sweep_op *op = p;
    op->err.code = fake.error;
    op->affected = fake.affected;
    op->done(op);
}

void
queue_sweep_start(struct queue_sweep_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "action=%d recipient=%.*s", (int)op->action,
             SLICE_FMT(op->recipient));
    note("sweep", op->tenant, (struct msg_id){{0}}, slice_str(more));
    op->state = reply_later(op, sweep_run);
}

void
queue_sweep_cancel(struct queue_sweep_op *op)
{
    reply_now(op->state);
}

const char *
queue_suppression_reason_name(enum queue_suppression_reason r)
{
    static const char *const NAMES[] = {"manual", "hard_bounce", "complaint"};
    return NAMES[r];
}

static void
suppression_run(void *p)
{
    struct queue_suppression_op *op = p;
    op->err.code = fake.error;
    op->existed = fake.existed;
    op->entry.tenant = op->tenant;
    op->entry.address = op->address;
    op->entry.created_unix_ms = 1795420800123;
    op->done(op);
}

void
queue_suppression_start(struct queue_suppression_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "verb=%d address=%.*s reason=%d", (int)op->verb,
             SLICE_FMT(op->address), (int)op->entry.reason);
    note("suppression", op->tenant, (struct msg_id){{0}}, slice_str(more));
    op->state = reply_later(op, suppression_run);
}

void
queue_suppression_cancel(struct queue_suppression_op *op)
{
    reply_now(op->state);
}

static void
suppressions_run(void *p)
{
    struct queue_suppressions_op *op = p;
    op->err.code = fake.error;
    op->entries = arena_alloc(op->arena, sizeof *op->entries);
    op->entries[0] = (struct queue_suppression){.tenant = SLICE("dev"),
                                                .address = SLICE("a@b.example"),
                                                .reason = QUEUE_SUPPRESSED_COMPLAINT};
    op->count = 1;
    op->has_more = fake.has_more;
    op->next[0] = 0xab;
    op->done(op);
}

void
queue_suppressions_start(struct queue_suppressions_op *op, struct queue *q)
{
    (void)q;
    char more[300];
    snprintf(more, sizeof more, "limit=%u after=%02x", op->limit,
             op->has_after ? op->after[0] : 0u);
    note("suppressions", op->tenant, (struct msg_id){{0}}, slice_str(more));
    op->state = reply_later(op, suppressions_run);
}

void
queue_suppressions_cancel(struct queue_suppressions_op *op)
{
    reply_now(op->state);
}
