/*
 * Happy path: sweep (pages of `ndr`; all debts of a message are one notice) ->
 * load the message's hash and bytes -> the consumer, who pays (notice_pay.c).
 *
 * Ways a notice ends before that: broken (quarantine); left to wait for more debts
 * of its message (gather.h); not loadable now (comes again with the next sweep); the
 * lease is lost while it is loaded (the next owner's).
 */
#include "queue/notice_internal.h"

#include <stdlib.h>

#include "queue/gather.h"
#include "queue/message.h"
#include "queue/quarantine.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

enum { PAGE = 64, NOTICE_MEMORY_MAX = 8 * QUEUE_RECORD_MAX };

struct notice_sweep {
    struct partition *p;
    struct link_cmd cmd;
};

static void sweep_page(struct notice_sweep *s, struct slice cursor);

/* ---- in memory ------------------------------------------------------------- */

static struct queue_notice *
notice_find(struct queue *q, struct msg_id id)
{
    struct queue_notice *n = NULL;
    HASH_FIND(hh, q->notices, &id, sizeof id, n);
    return n;
}

static bool
notice_has(const struct queue_notice *n, struct slice name)
{
    LIST_EACH(&n->debts, i)
    if (slice_eq(container_of(i, struct debt, node)->name, name))
        return true;
    return false;
}

/* What does not fit comes again with the next notice. */
static void
notice_add_debt(struct queue_notice *n, struct slice name, struct slice value)
{
    struct debt *d = arena_alloc(&n->debts_arena, sizeof *d);
    if (n->debt_count == QUEUE_DELIVERIES_MAX || d == NULL ||
        !arena_copy(&n->debts_arena, name, &d->name) ||
        !arena_copy(&n->debts_arena, value, &d->value)) {
        n->more = true;
        return;
    }
    list_node_init(&d->node);
    list_push(&n->debts, &d->node);
    n->debt_count++;
}

void
notice_free(struct queue_notice *n)
{
    struct queue *q = n->p->q;
    HASH_DELETE(hh, q->notices, n);
    q->notice_count--;
    if (n->more)
        n->p->notices_wanted = true;
    arena_fini(&n->arena);
    arena_fini(&n->debts_arena);
    content_unref(&n->content);
    free(n);
    for (unsigned i = 0; i < QUEUE_PARTITIONS && !q->closing; i++)
        if (q->partitions[i].notices_wanted) {
            notice_sweep(&q->partitions[i]); /* what had no room before */
            break;
        }
}

/* ---- loading --------------------------------------------------------------- */

static void
quarantine_debts(struct queue_notice *n)
{
    LIST_EACH(&n->debts, i)
    {
        const struct debt *d = container_of(i, struct debt, node);
        quarantine_entry(n->p, d->name, d->value, SLICE_NONE);
    }
    gather_forget(n->p->q, n->id);
}

static void
on_loaded(struct body_load *l)
{
    struct queue_notice *n = container_of(l, struct queue_notice, load);
    struct queue *q = n->p->q;
    if (l->err.code == ERR_BAD)
        quarantine_debts(n);
    else if (l->err.code == ERR_AWAY)
        n->p->notices_wanted = true;
    if (l->err.code != ERR_NONE || !n->p->held || q->draining) {
        content_unref(&l->content);
        notice_free(n);
        return;
    }
    n->content = l->content;
    n->out = true;
    q->consumer->on_notice(q->consumer, n);
}

/* A target may owe for its delay and for its end: that is told. */
static void
note_target(struct queue_notice *n, unsigned delivery, uint32_t marked)
{
    uint32_t target = marked & ~(uint32_t)RECORD_DEBT_WAITING;
    bool waiting = target != marked;
    for (unsigned i = 0; i < n->target_count; i++)
        if (n->targets[i].delivery == delivery && n->targets[i].target == target) {
            n->targets[i].waiting = n->targets[i].waiting && waiting;
            return;
        }
    n->targets[n->target_count++] =
        (struct queue_notice_target){.delivery = delivery, .target = target, .waiting = waiting};
}

static bool
read_debt(struct queue_notice *n, const struct debt *d, bool *owing)
{
    unsigned delivery, count;
    uint32_t *list;
    if (!record_read_debt(d->value, &n->arena, &delivery, &list, &count) ||
        delivery >= n->message.delivery_count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if ((list[i] & ~(uint32_t)RECORD_DEBT_WAITING) >=
            n->message.deliveries[delivery].target_count)
            return false;
        note_target(n, delivery, list[i]);
    }
    owing[delivery] = true;
    return true;
}

/* owing: per delivery. A debt that cannot be read is put away. */
static bool
read_debts(struct queue_notice *n, bool *owing)
{
    unsigned targets = 0;
    for (unsigned i = 0; i < n->message.delivery_count; i++)
        targets += n->message.deliveries[i].target_count;
    n->targets = arena_alloc(&n->arena, targets * sizeof *n->targets);
    LIST_EACH(&n->debts, i)
    {
        struct debt *d = container_of(i, struct debt, node);
        if (n->targets != NULL && read_debt(n, d, owing))
            continue;
        quarantine_entry(n->p, d->name, d->value, SLICE_NONE);
        list_remove(&d->node);
        n->debt_count--;
    }
    return n->debt_count > 0;
}

/* Whether the debts are left for later, when there may be more of them. */
static bool
waits_for_more(struct queue_notice *n, const bool *owing)
{
    unsigned others;
    int64_t until = gather_until(&n->message, owing, clock_sched_unix_ms(), &others);
    return until > 0 && !n->p->q->cfg.no_gathering &&
           gather_start(n->p, n->id, until, n->debt_count + others);
}

static void
notice_load(struct queue_notice *n)
{
    bool *owing = arena_alloc(&n->arena, n->message.delivery_count * sizeof *owing);
    if (owing == NULL || !read_debts(n, owing)) {
        gather_forget(n->p->q, n->id);
        notice_free(n);
    } else if (waits_for_more(n, owing)) {
        notice_free(n);
    } else {
        n->load.done = on_loaded;
        body_load_start(&n->load, n->p->q, &n->message, &n->info);
    }
}

static void
on_hash(struct link_cmd *c)
{
    struct queue_notice *n = container_of(c, struct queue_notice, cmd);
    if (c->outcome != LINK_ANSWERED) {
        n->p->notices_wanted = true;
        notice_free(n);
        return;
    }
    enum message_read got = message_read(c->reply, &n->arena, &n->message, &n->info);
    if (got == MESSAGE_OK) {
        notice_load(n);
        return;
    }
    quarantine_debts(n);
    notice_free(n);
}

static struct queue_notice *
notice_new(struct partition *p, struct msg_id id)
{
    struct queue *q = p->q;
    struct queue_notice *n = calloc(1, sizeof *n);
    BUG_ON(n == NULL);
    n->p = p;
    n->id = id;
    n->collecting = true;
    list_init(&n->debts);
    arena_init(&n->arena, NOTICE_MEMORY_MAX);
    arena_init(&n->debts_arena, NOTICE_MEMORY_MAX);
    HASH_ADD(hh, q->notices, id, sizeof n->id, n);
    q->notice_count++;
    return n;
}

static void
notice_start(struct queue_notice *n)
{
    struct key message = key_of_message(n->id);
    n->collecting = false;
    queue_cmd_init(&n->cmd, n->p->q, n->p->number, on_hash);
    link_cmd_plain(&n->cmd, "HGETALL");
    link_arg(&n->cmd, key_slice(&message));
    link_cmd_start(&n->cmd);
}

/* ---- sweeping -------------------------------------------------------------- */

/* false: no room for more. */
static bool
sweep_take(struct partition *p, struct slice name, struct slice debt)
{
    struct msg_id id;
    if (name.n == 0)
        return true;
    if (name.n < ID_TEXT_BYTES || name.n > DEBT_NAME_MAX ||
        !id_parse(slice_from(name.p, ID_TEXT_BYTES), &id) || debt.n > QUEUE_RECORD_MAX) {
        quarantine_entry(p, name, debt, SLICE_NONE);
        return true;
    }
    struct queue_notice *n = notice_find(p->q, id);
    if (n == NULL && gather_meets(p, id))
        return true;
    if (n == NULL && p->q->notice_count >= QUEUE_NOTICES_IN_MEMORY_MAX)
        return false;
    if (n == NULL)
        n = notice_new(p, id);
    if (!notice_has(n, name)) {
        if (n->collecting)
            notice_add_debt(n, name, debt);
        else
            n->more = true;
    }
    return true;
}

/* Everything of the messages that were found is known. */
static void
start_found(struct partition *p)
{
    struct queue_notice *n, *next;
    HASH_ITER(hh, p->q->notices, n, next)
    if (n->p == p && n->collecting)
        notice_start(n);
}

static void
sweep_end(struct notice_sweep *s, bool complete)
{
    struct partition *p = s->p;
    free(s);
    p->notices_reading = false;
    start_found(p);
    bool again = p->notices_wanted && complete;
    if (!complete)
        p->notices_wanted = true;
    if (again)
        notice_sweep(p);
}

static void
on_page(struct link_cmd *c)
{
    struct notice_sweep *s = container_of(c, struct notice_sweep, cmd);
    struct partition *p = s->p;
    if (c->outcome != LINK_ANSWERED || !p->held || p->q->draining) {
        sweep_end(s, false);
        return;
    }
    const struct redisReply *page = resp_at(c->reply, 1);
    bool room = true;
    for (size_t i = 0; room && i + 1 < resp_count(page); i += 2)
        room = sweep_take(p, resp_text(resp_at(page, i)), resp_text(resp_at(page, i + 1)));
    struct slice cursor = resp_text(resp_at(c->reply, 0));
    if (!room || slice_eq(cursor, SLICE("0")) || cursor.n == 0)
        sweep_end(s, room);
    else
        sweep_page(s, cursor);
}

static void
sweep_page(struct notice_sweep *s, struct slice cursor)
{
    struct key ndr = key_of_part(s->p->number, KEY_NDR);
    queue_cmd_init(&s->cmd, s->p->q, s->p->number, on_page);
    link_cmd_plain(&s->cmd, "HSCAN");
    link_arg(&s->cmd, key_slice(&ndr));
    link_arg(&s->cmd, cursor);
    link_arg_str(&s->cmd, "COUNT");
    link_arg_int(&s->cmd, PAGE);
    link_cmd_start(&s->cmd);
}

void
notice_sweep(struct partition *p)
{
    if (!p->held || p->q->draining || p->q->closing)
        return;
    if (p->notices_reading) {
        p->notices_wanted = true;
        return;
    }
    struct notice_sweep *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->p = p;
    p->notices_reading = true;
    p->notices_wanted = false;
    p->sweeps++;
    sweep_page(s, SLICE("0"));
}

void
notices_fini(struct queue *q)
{
    BUG_ON(q->notices != NULL); /* the consumer must pay or drop them first */
    gather_fini(q);
}

/* ---- the consumer's side --------------------------------------------------- */

const struct queue_message *
queue_notice_message(const struct queue_notice *n)
{
    return &n->message;
}

const struct content *
queue_notice_content(const struct queue_notice *n)
{
    return &n->content;
}

unsigned
queue_notice_targets(const struct queue_notice *n, const struct queue_notice_target **out)
{
    *out = n->targets;
    return n->target_count;
}
