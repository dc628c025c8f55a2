/*
 * Happy path: sweep (pages of `ndr`; all debts of a message are one notice) ->
 * load the message's hash and bytes -> the consumer -> chunks, if it is large,
 * and notice.lua -> gone.
 *
 * Ways a notice ends: paid; dropped; paid by somebody else (gone); broken
 * (quarantine); left to wait for more debts of its message (gather.h); not loadable now (comes
 * again with the next sweep); the lease is lost while it is loaded (the next owner's).
 */
#include "queue/notice.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "queue/body.h"
#include "queue/gather.h"
#include "queue/history.h"
#include "queue/index.h"
#include "queue/message.h"
#include "queue/quarantine.h"
#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { PAGE = 64, NOTICE_MEMORY_MAX = 8 * QUEUE_RECORD_MAX, DEBT_NAME_MAX = KEY_MEMBER_MAX + 24 };

/* A field in `ndr`. */
struct debt {
    struct list_node node;
    struct slice name, value;
};

struct queue_notice {
    struct partition *p;
    struct msg_id id;
    bool collecting; /* the sweep that found it goes on */
    bool more;       /* there are debts that came too late for it */
    struct arena debts_arena, arena;
    struct list debts;
    unsigned debt_count;
    struct queue_message message;
    struct record_body info;
    struct queue_notice_target *targets;
    unsigned target_count;
    struct content content;
    struct link_cmd cmd;
    struct body_load load;
    bool out; /* the consumer's, or being paid */
    UT_hash_handle hh;
};

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

static void
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

/* ---- paying ---------------------------------------------------------------- */

struct pay_chunk {
    struct link_cmd cmd;
    struct queue_notice_state *owner;
};

struct queue_notice_state {
    struct queue_notice_op *op;
    struct queue_notice *n;
    struct queue *q;
    struct body body;
    struct buf record, delivery_record, properties;
    struct key lane;
    int64_t due_unix_ms; /* 0: not scheduled */
    struct pay_chunk *chunks;
    unsigned chunks_pending;
    struct link_cmd cmd;
};

static void
pay_end(struct queue_notice_state *s, bool gone)
{
    struct queue_notice_op *op = s->op;
    struct partition *p = s->n->p;
    int64_t due = gone ? 0 : s->due_unix_ms;
    op->gone = gone;
    op->state = NULL;
    body_fini(&s->body);
    buf_fini(&s->record);
    buf_fini(&s->delivery_record);
    buf_fini(&s->properties);
    free(s->chunks);
    gather_forget(s->q, s->n->id);
    notice_free(s->n);
    s->q->outcomes--;
    free(s);
    op->done(op);
    if (due > 0 && p->held)
        schedule_note_due(p, due);
    FAILPOINT("notice.done");
}

static void
on_paid(struct link_cmd *c)
{
    struct queue_notice_state *s = container_of(c, struct queue_notice_state, cmd);
    const struct redisReply *what = resp_at(c->reply, 0);
    bool paid = c->outcome == LINK_ANSWERED && resp_is(what, "OK");
    if (paid) {
        if (s->op->message != NULL)
            metrics_add(METRIC_NDR_SENT, 1);
        history_note(s->n->p, resp_int(resp_at(c->reply, 1), 0));
    } else if (c->outcome == LINK_REFUSED || resp_is(what, "CHUNK")) {
        LOG(LOG_ERROR, "queue.notice.refused", LF_ID("msg", s->n->id));
        s->n->p->notices_wanted = true; /* it stays owed */
    } else if (s->n->debt_count > 1) {
        s->n->p->notices_wanted = true; /* somebody else paid some of them */
    }
    pay_end(s, !paid);
}

static void
add_keys(struct queue_notice_state *s)
{
    const struct queue_notice *n = s->n;
    const struct queue_message *m = s->op->message;
    unsigned p = n->p->number, chunks = s->body.info.chunks;
    struct msg_id id = m != NULL ? m->id : n->id;
    struct key keys[] = {key_of_part(p, KEY_NDR),
                         key_of_message(n->id),
                         key_of_part(p, KEY_STAT),
                         key_of_part(p, KEY_HIST),
                         key_of_part(p, KEY_LEASE),
                         key_of_part(p, KEY_DUE),
                         m != NULL ? key_of_message(id) : key_of_tombstone(id),
                         key_of_queue(p, key_slice(&s->lane)),
                         key_of_part(p, KEY_IDX),
                         key_of_part(p, KEY_LANES)};
    link_cmd_script(&s->cmd, SCRIPT_CALL_NOTICE,
                    (unsigned)ARRAY_LEN(keys) + chunks + n->info.chunks);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(&s->cmd, key_slice(&keys[i]));
    for (unsigned i = 0; i < chunks + n->info.chunks; i++) {
        struct key k = i < chunks ? key_of_chunk(id, i) : key_of_chunk(n->id, i - chunks);
        link_arg(&s->cmd, key_slice(&k));
    }
}

static void
add_new_message(struct queue_notice_state *s)
{
    struct link_cmd *c = &s->cmd;
    struct slice piece[2] = {SLICE_NONE, SLICE_NONE};
    struct buf inline_body;
    char id[ID_TEXT_BYTES + 1], member[KEY_MEMBER_MAX + 1];
    buf_init(&inline_body, QUEUE_CHUNK_BYTES);
    if (s->body.info.chunks == 1) {
        body_chunk(&s->body, 0, piece);
        buf_add(&inline_body, piece[0]);
        buf_add(&inline_body, piece[1]);
    }
    id_format(s->op->message->id, id);
    link_arg_str(c, id);
    link_arg_int(c, s->body.info.chunks);
    link_arg(c, buf_slice(&inline_body));
    link_arg(c, buf_slice(&s->record));
    link_arg(c, buf_slice(&s->delivery_record));
    link_arg(c, slice_from(member, key_member(s->op->message->id, 0, member)));
    if (s->due_unix_ms > 0)
        link_arg_int(c, s->due_unix_ms);
    else
        link_arg_str(c, "");
    link_arg(c, key_slice(&s->lane));
    link_arg(c, buf_slice(&s->properties));
    buf_fini(&inline_body);
    for (unsigned i = 0; i < s->n->target_count; i++) {
        struct buf field;
        buf_init(&field, 64);
        buf_addf(&field, "n%u.%u", s->n->targets[i].delivery, s->n->targets[i].target);
        link_arg(c, buf_slice(&field));
        buf_fini(&field);
    }
}

static void
add_debts(struct queue_notice_state *s)
{
    struct buf names;
    buf_init(&names, (size_t)QUEUE_DELIVERIES_MAX * (DEBT_NAME_MAX + 1));
    LIST_EACH(&s->n->debts, i)
    {
        buf_add(&names, container_of(i, struct debt, node)->name);
        buf_add_char(&names, ' ');
    }
    link_arg(&s->cmd, buf_slice(&names));
    buf_fini(&names);
}

static void
pay_script(struct queue_notice_state *s)
{
    struct queue_notice *n = s->n;
    struct link_cmd *c = &s->cmd;
    char id[ID_TEXT_BYTES + 1];
    id_format(n->id, id);
    queue_cmd_init(c, s->q, n->p->number, on_paid);
    c->sticky = true;
    add_keys(s);
    add_debts(s);
    link_arg_str(c, id);
    link_arg_int(c, clock_sched_unix_ms());
    link_arg_str(c, s->q->me.hex);
    link_arg_int(c, n->p->number);
    if (s->op->message != NULL) {
        add_new_message(s);
    } else {
        link_arg_str(c, "");
        link_arg_int(c, 0);
        for (int i = 0; i < 7; i++)
            link_arg_str(c, "");
    }
    link_cmd_start(c);
}

static void
on_pay_chunk(struct link_cmd *c)
{
    struct queue_notice_state *s = container_of(c, struct pay_chunk, cmd)->owner;
    if (--s->chunks_pending == 0)
        pay_script(s); /* it sees whether one is missing */
}

static void
pay_chunks(struct queue_notice_state *s)
{
    unsigned n = s->body.info.chunks;
    if (n <= 1) { /* goes with the script */
        pay_script(s);
        return;
    }
    s->chunks = calloc(n, sizeof *s->chunks);
    BUG_ON(s->chunks == NULL);
    s->chunks_pending = n;
    for (unsigned i = 0; i < n; i++) {
        struct link_cmd *c = &s->chunks[i].cmd;
        struct key key = key_of_chunk(s->op->message->id, i);
        struct slice piece[2];
        body_chunk(&s->body, i, piece);
        s->chunks[i].owner = s;
        queue_cmd_init(c, s->q, s->n->p->number, on_pay_chunk);
        c->sticky = true;
        link_cmd_plain(c, "SETEX");
        link_arg(c, key_slice(&key));
        link_arg_int(c, QUEUE_CHUNK_TTL_S);
        link_arg_borrowed(c, piece[0], piece[1]);
    }
    for (unsigned i = 0; i < n; i++)
        link_cmd_start(&s->chunks[i].cmd);
}

static void
on_packed(struct body *b)
{
    struct queue_notice_state *s = container_of(b, struct queue_notice_state, body);
    const struct queue_message *m = s->op->message;
    struct queue_delivery d = m->deliveries[0];
    s->due_unix_ms = record_is_schedulable(&d) ? (d.due_unix_ms > 0 ? d.due_unix_ms : 1) : 0;
    d.due_unix_ms = s->due_unix_ms;
    BUG_ON(!record_add_message(&s->record, m, &b->info) ||
           !record_add_delivery(&s->delivery_record, &d, 1) ||
           !index_add_properties(&s->properties, m) ||
           !key_lane(m->klass, d.next_hop, m->tenant, &s->lane));
    FAILPOINT("notice.before-commit");
    pay_chunks(s);
}

void
queue_notice_commit_start(struct queue_notice_op *op, struct queue *q, struct queue_notice *n)
{
    struct queue_notice_state *s = calloc(1, sizeof *s);
    const struct queue_message *m = op->message;
    BUG_ON(s == NULL || !n->out || q != n->p->q);
    BUG_ON(m != NULL && (m->delivery_count != 1 || id_partition(m->id) != n->p->number));
    s->op = op;
    op->state = s;
    s->n = n;
    s->q = q;
    q->outcomes++;
    buf_init(&s->record, QUEUE_RECORD_MAX);
    buf_init(&s->delivery_record, QUEUE_RECORD_MAX);
    buf_init(&s->properties, QUEUE_RECORD_MAX);
    if (m == NULL)
        pay_script(s);
    else if (body_pack(&s->body, q, &op->content, on_packed))
        on_packed(&s->body);
}
