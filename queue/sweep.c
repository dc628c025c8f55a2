/*
 * Happy path: partition by partition, a page of the submitter's messages from
 * the index, oldest first -> which of them are unfinished -> the action on each
 * -> the next page.
 *
 * Ways it ends: all partitions seen; Redis away (asking again begins anew, and
 * finds nothing to do where it was); cancelled: nothing new is begun.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/core.h"
#include "queue/index.h"
#include "queue/operate.h"
#include "relay/sys/base/limits.h"

struct sweep_item {
    struct queue_sweep_state *owner;
    struct link_cmd left;
    struct queue_action_op action;
};

struct queue_sweep_state {
    struct queue_sweep_op *op; /* NULL: cancelled */
    struct queue *q;
    struct buf submitter, tenant, recipient;
    struct slice name; /* of the recipient */
    enum queue_action action;
    struct index_property property;
    unsigned partition;
    struct msg_id last;
    bool has_last, last_page, failed;
    struct link_cmd page;
    struct sweep_item items[QUEUE_ACTIONS_AT_ONCE];
    unsigned pending;
    struct deferred cancelled;
};

static void sweep_page(struct queue_sweep_state *s);

/* ---- the end --------------------------------------------------------------- */

static void
sweep_tell(struct queue_sweep_state *s)
{
    struct queue_sweep_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_cancelled(struct deferred *d)
{
    struct queue_sweep_state *s = container_of(d, struct queue_sweep_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "sweep: cancelled");
    sweep_tell(s);
}

static void
sweep_end(struct queue_sweep_state *s)
{
    struct queue *q = s->q;
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (s->failed)
            err_set(&s->op->err, ERR_AWAY, "sweep: Redis cannot be had");
        sweep_tell(s);
    }
    buf_fini(&s->submitter);
    buf_fini(&s->tenant);
    buf_fini(&s->recipient);
    free(s);
    q->questions--;
}

static void
page_over(struct queue_sweep_state *s)
{
    if (s->last_page) {
        s->has_last = false;
        s->partition++;
    }
    if (s->failed || s->op == NULL || s->partition == QUEUE_PARTITIONS)
        sweep_end(s);
    else
        sweep_page(s);
}

/* ---- one message ----------------------------------------------------------- */

static void
item_over(struct sweep_item *item, enum err_code code)
{
    struct queue_sweep_state *s = item->owner;
    if (code == ERR_AWAY || code == ERR_CANCELLED)
        s->failed = true; /* a broken record or one that is gone stops nobody */
    if (--s->pending == 0)
        page_over(s);
}

static void
on_action(struct queue_action_op *op)
{
    struct sweep_item *item = container_of(op, struct sweep_item, action);
    struct queue_sweep_state *s = item->owner;
    if (s->op != NULL) {
        s->op->affected += op->affected;
        s->op->in_flight += op->in_flight;
    }
    item_over(item, op->err.code);
}

static void
on_left(struct link_cmd *c)
{
    struct sweep_item *item = container_of(c, struct sweep_item, left);
    struct queue_sweep_state *s = item->owner;
    if (c->outcome != LINK_ANSWERED) {
        item_over(item, ERR_AWAY);
    } else if (s->op == NULL || resp_int(c->reply, 0) <= 0) {
        item_over(item, ERR_NONE);
    } else {
        item->action.done = on_action;
        item->action.action = s->action;
        item->action.submitter = buf_slice(&s->submitter);
        item->action.tenant = buf_slice(&s->tenant);
        item->action.recipients = &s->name;
        item->action.recipient_count = s->name.n > 0 ? 1 : 0;
        item->action.careful = true;
        queue_action_start(&item->action, s->q);
    }
}

static void
item_start(struct sweep_item *item)
{
    struct key key = key_of_message(item->action.id);
    queue_cmd_init(&item->left, item->owner->q, item->owner->partition, on_left);
    link_cmd_plain(&item->left, "HGET");
    link_arg(&item->left, key_slice(&key));
    link_arg_str(&item->left, "left");
    link_cmd_start(&item->left);
}

/* ---- a page ---------------------------------------------------------------- */

static void
on_page(struct link_cmd *c)
{
    struct queue_sweep_state *s = container_of(c, struct queue_sweep_state, page);
    size_t n = c->outcome == LINK_ANSWERED ? resp_count(c->reply) : 0;
    s->failed |= c->outcome != LINK_ANSWERED;
    s->last_page = n < QUEUE_ACTIONS_AT_ONCE;
    s->pending = 0;
    for (size_t i = 0; i < n && i < QUEUE_ACTIONS_AT_ONCE; i++) {
        struct sweep_item *item = &s->items[s->pending];
        *item = (struct sweep_item){.owner = s};
        if (!index_member_id(resp_text(resp_at(c->reply, i)), &s->property, &item->action.id))
            continue;
        s->last = item->action.id;
        s->has_last = true;
        s->pending++;
    }
    if (s->pending == 0) {
        s->last_page = true;
        page_over(s);
        return;
    }
    for (unsigned i = 0, started = s->pending; i < started; i++)
        item_start(&s->items[i]);
}

static void
sweep_page(struct queue_sweep_state *s)
{
    struct key idx = key_of_part(s->partition, KEY_IDX);
    struct link_cmd *c = &s->page;
    struct msg_id first, last;
    struct buf bound;
    memset(first.b, 0, sizeof first.b);
    memset(last.b, 0xff, sizeof last.b);
    buf_init(&bound, 1 + INDEX_MEMBER_BYTES);
    queue_cmd_init(c, s->q, s->partition, on_page);
    link_cmd_plain(c, "ZRANGEBYLEX");
    link_arg(c, key_slice(&idx));
    index_add_bound(&bound, s->has_last ? '(' : '[', &s->property, s->has_last ? s->last : first);
    link_arg(c, buf_slice(&bound));
    buf_clear(&bound);
    index_add_bound(&bound, '[', &s->property, last);
    link_arg(c, buf_slice(&bound));
    link_arg_str(c, "LIMIT");
    link_arg_int(c, 0);
    link_arg_int(c, QUEUE_ACTIONS_AT_ONCE);
    buf_fini(&bound);
    link_cmd_start(c);
}

static void
keep(struct buf *b, struct slice text)
{
    buf_init(b, text.n);
    buf_add(b, text);
}

static void
keep_names(struct queue_sweep_state *s, const struct queue_sweep_op *op)
{
    keep(&s->submitter, op->submitter);
    keep(&s->tenant, op->submitter.n > 0 ? SLICE_NONE : op->tenant);
    keep(&s->recipient, op->recipient);
    s->name = buf_slice(&s->recipient);
    s->property = op->submitter.n > 0
                      ? index_property(INDEX_SUBMITTER, SLICE_NONE, op->submitter)
                      : index_property(INDEX_TENANT_RECIPIENT, op->tenant, op->recipient);
}

void
queue_sweep_start(struct queue_sweep_op *op, struct queue *q)
{
    struct queue_sweep_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || (op->submitter.n == 0) == (op->recipient.n == 0));
    q->questions++;
    s->op = op;
    s->q = q;
    s->action = op->action;
    op->state = s;
    op->affected = op->in_flight = 0;
    err_clear(&op->err);
    keep_names(s, op);
    deferred_init(&s->cancelled, q->loop, on_cancelled);
    sweep_page(s);
}

void
queue_sweep_cancel(struct queue_sweep_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
