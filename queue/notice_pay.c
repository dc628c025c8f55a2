/*
 * Happy path: the notice's message is packed -> its chunks are written, if it is
 * large -> notice.lua removes the debts and enqueues it -> gone.
 *
 * Ways it ends: so; the debts dropped, with nothing to enqueue; somebody else paid
 * some of them (gone: what is left comes again); refused by Redis as nonsense, or a
 * chunk expired (it stays owed). Without a link it waits.
 */
#include "queue/notice_internal.h"

#include <stdlib.h>

#include "queue/gather.h"
#include "queue/history.h"
#include "queue/index.h"
#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

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
        struct pay_chunk *chunk = &s->chunks[i];
        chunk->owner = s;
        body_chunk_cmd(&s->body, i, s->q, s->op->message->id, &chunk->cmd, on_pay_chunk);
        chunk->cmd.sticky = true;
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
