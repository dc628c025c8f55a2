/*
 * Happy path: encode -> pack the body -> chunks and script in one pipeline (more
 * than one chunk: the chunks first) -> committed; what is due goes to the
 * consumer with its bytes in memory.
 *
 * Ways it ends: committed; replayed or in conflict (idempotency key); refused
 * for want of room; known not to have happened (never written, refused, or
 * cancelled by a tombstone); unknown. A command that was written and not
 * answered makes it unknown: then cancel.lua is asked, on any link and for as
 * long as unknown_timeout_ms, whether the message is there; if it is not, a
 * tombstone refuses the commit should it still come.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/body.h"
#include "queue/index.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { FULL_MEMORY_MS = 1000 /* a refusal for want of room is believed for so long */ };

struct commit_delivery {
    struct buf record, lane;
    int64_t due_unix_ms; /* 0: not scheduled */
};

struct commit_chunk {
    struct link_cmd cmd;
    struct queue_commit_state *owner;
};

struct queue_commit_state {
    struct queue *q;
    struct queue_commit_op *op; /* NULL: the client is gone */
    struct msg_id id;
    struct body body;
    struct buf record, properties;
    struct commit_delivery *deliveries;
    unsigned delivery_count, scheduled, left;
    bool has_key;
    uint8_t key_digest[32], request_digest[32];
    struct commit_chunk *chunks;
    unsigned chunks_pending;
    bool chunk_no_room, chunk_failed;
    struct link_cmd cmd;
    struct deferred at_once;
    struct timer unknown;
    bool leaving;
    struct deferred leave;           /* the client is gone */
    enum queue_commit_result result; /* of at_once */
};

static void commit_send(struct queue_commit_state *s);
static void commit_script(struct queue_commit_state *s);

/* ---- the end --------------------------------------------------------------- */

static void
state_free(struct queue_commit_state *s)
{
    for (unsigned i = 0; i < s->delivery_count; i++) {
        buf_fini(&s->deliveries[i].record);
        buf_fini(&s->deliveries[i].lane);
    }
    timer_cancel(&s->unknown);
    deferred_cancel(&s->at_once);
    deferred_cancel(&s->leave);
    buf_fini(&s->record);
    buf_fini(&s->properties);
    body_fini(&s->body);
    free(s->deliveries);
    free(s->chunks);
    free(s);
}

/* Tells the client, if it is still there. */
static void
tell(struct queue_commit_state *s, enum queue_commit_result result)
{
    struct queue_commit_op *op = s->op;
    if (op == NULL)
        return;
    s->op = NULL;
    op->state = NULL;
    op->result = result;
    op->done(op);
}

static void
commit_end(struct queue_commit_state *s, enum queue_commit_result result)
{
    struct queue_commit_op *op = s->op;
    struct queue *q = s->q;
    if (op != NULL)
        op->state = NULL;
    if (result == QUEUE_NO_ROOM)
        q->full_until_ms = clock_mono_ms() + FULL_MEMORY_MS;
    state_free(s);
    q->commits--;
    if (op == NULL)
        return;
    op->result = result;
    op->done(op);
}

static void
set_error(struct queue_commit_state *s, enum err_code code, const char *why)
{
    if (s->op != NULL)
        err_set(&s->op->err, code, "commit: %s", why);
}

static void
explain(struct queue_commit_state *s, const struct link_cmd *c)
{
    if (s->op == NULL)
        return;
    link_cmd_explain(c, &s->op->err);
    err_context(&s->op->err, "commit");
}

static void
on_at_once(struct deferred *d)
{
    struct queue_commit_state *s = container_of(d, struct queue_commit_state, at_once);
    commit_end(s, s->result);
}

static void
on_leave(struct deferred *d)
{
    tell(container_of(d, struct queue_commit_state, leave), QUEUE_OUTCOME_UNKNOWN);
}

static void
end_soon(struct queue_commit_state *s, enum queue_commit_result result)
{
    s->result = result;
    deferred_schedule(&s->at_once);
}

/* ---- committed ------------------------------------------------------------- */

static void
offer(struct queue_commit_state *s, unsigned i)
{
    struct queue *q = s->q;
    struct partition *p = &q->partitions[id_partition(s->id)];
    const struct commit_delivery *d = &s->deliveries[i];
    struct job_source src = {.id = s->id,
                             .index = i,
                             .message_record = buf_slice(&s->record),
                             .delivery_record = buf_slice(&d->record),
                             .content = &s->body.content};
    if (d->due_unix_ms > clock_sched_unix_ms())
        schedule_note_due(p, d->due_unix_ms);
    else if (lane_room(q, buf_slice(&d->lane), NULL) == 0)
        lane_set_aside(q, buf_slice(&d->lane), p->number);
    else
        job_offer(q, &src);
}

static void
committed(struct queue_commit_state *s)
{
    struct queue *q = s->q;
    const struct partition *p = &q->partitions[id_partition(s->id)];
    FAILPOINT("commit.done");
    q->full_until_ms = 0;
    bool mine = p->held && !p->leaving && !q->draining;
    for (unsigned i = 0; mine && i < s->delivery_count; i++)
        if (s->deliveries[i].due_unix_ms > 0)
            offer(s, i);
    commit_end(s, QUEUE_COMMITTED);
}

/* ---- unknown --------------------------------------------------------------- */

static void
on_cancelled(struct link_cmd *c)
{
    struct queue_commit_state *s = container_of(c, struct queue_commit_state, cmd);
    const struct redisReply *what = resp_at(c->reply, 0);
    if (c->outcome == LINK_ANSWERED && resp_is(what, "PRESENT")) {
        committed(s);
    } else if (c->outcome == LINK_ANSWERED && resp_is(what, "ABSENT")) {
        set_error(s, ERR_AWAY, "the link to Redis was lost and the message did not arrive");
        commit_end(s, QUEUE_AWAY);
    } else {
        set_error(s, ERR_UNKNOWN, "the outcome could not be read back");
        commit_end(s, QUEUE_OUTCOME_UNKNOWN);
    }
}

static void
on_unknown_for_long(struct timer *t)
{
    struct queue_commit_state *s = container_of(t, struct queue_commit_state, unknown);
    set_error(s, ERR_UNKNOWN, "Redis did not come back in time");
    link_cmd_unstick(&s->cmd);
    tell(s, QUEUE_OUTCOME_UNKNOWN);
}

static void
commit_unknown(struct queue_commit_state *s)
{
    struct key keys[] = {key_of_tombstone(s->id), key_of_message(s->id),
                         key_of_part(id_partition(s->id), KEY_STAT)};
    struct link_cmd *c = &s->cmd;
    metrics_add(METRIC_COMMIT_UNKNOWN, 1);
    LOG(LOG_WARN, "queue.commit.unknown", LF_ID("msg", s->id));
    schedule_note_due(&s->q->partitions[id_partition(s->id)], 0); /* it may be there */
    if (s->op == NULL || s->q->closing) { /* nobody to tell: it stays what it is */
        commit_end(s, QUEUE_OUTCOME_UNKNOWN);
        return;
    }
    link_cmd_init(c, s->q->links, LINK_ANY, on_cancelled);
    c->sticky = true;
    link_cmd_script(c, SCRIPT_CALL_CANCEL, ARRAY_LEN(keys));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(c, key_slice(&keys[i]));
    link_arg_str(c, s->q->dataset);
    link_arg_int(c, QUEUE_TOMBSTONE_TTL_S);
    timer_start(&s->unknown, s->q->cfg.unknown_timeout_ms);
    link_cmd_start(c);
}

/* ---- judging --------------------------------------------------------------- */

static void
judge_answer(struct queue_commit_state *s, const struct redisReply *r)
{
    const struct redisReply *what = resp_at(r, 0);
    if (resp_is(what, "OK")) {
        committed(s);
    } else if (resp_is(what, "REPLAYED")) {
        bool ok = s->op == NULL || id_parse(resp_text(resp_at(r, 1)), &s->op->replayed_id);
        set_error(s, ok ? ERR_NONE : ERR_BAD, "the idempotency record is broken");
        commit_end(s, ok ? QUEUE_REPLAYED : QUEUE_AWAY);
    } else if (resp_is(what, "CONFLICT")) {
        commit_end(s, QUEUE_KEY_CONFLICT);
    } else if (resp_is(what, "CHUNK")) {
        set_error(s, s->chunk_no_room ? ERR_FULL : ERR_AWAY, "a part of the body was refused");
        commit_end(s, s->chunk_no_room ? QUEUE_NO_ROOM : QUEUE_AWAY);
    } else if (resp_is(what, "OTHER")) {
        LOG(LOG_ERROR, "queue.dataset.mixed", LF_ID("msg", s->id));
        set_error(s, ERR_AWAY, "Redis holds another dataset");
        commit_end(s, QUEUE_AWAY);
    } else {
        commit_unknown(s);
    }
}

static void
on_script(struct link_cmd *c)
{
    struct queue_commit_state *s = container_of(c, struct queue_commit_state, cmd);
    explain(s, c);
    if (c->outcome == LINK_ANSWERED) {
        if (s->op != NULL)
            err_clear(&s->op->err);
        judge_answer(s, c->reply);
    } else if (c->outcome == LINK_UNSENT) {
        commit_end(s, QUEUE_AWAY);
    } else if (link_cmd_was_refused(c)) {
        commit_end(s, c->class == RESP_NO_ROOM ? QUEUE_NO_ROOM : QUEUE_AWAY);
    } else {
        commit_unknown(s);
    }
}

/* With several chunks the script follows when all are there. */
static void
on_chunk(struct link_cmd *c)
{
    struct commit_chunk *chunk = container_of(c, struct commit_chunk, cmd);
    struct queue_commit_state *s = chunk->owner;
    bool last = --s->chunks_pending == 0;
    if (c->outcome != LINK_ANSWERED) {
        s->chunk_failed = true;
        s->chunk_no_room |= c->class == RESP_NO_ROOM;
        explain(s, c);
    }
    if (s->body.info.chunks == 1 || !last)
        return;
    if (s->chunk_failed)
        commit_end(s, s->chunk_no_room ? QUEUE_NO_ROOM : QUEUE_AWAY);
    else
        commit_script(s);
}

/* ---- sending --------------------------------------------------------------- */

static void
send_chunks(struct queue_commit_state *s)
{
    unsigned n = s->body.info.chunks;
    s->chunks = calloc(n > 0 ? n : 1, sizeof *s->chunks);
    BUG_ON(s->chunks == NULL);
    s->chunks_pending = n;
    for (unsigned i = 0; i < n; i++) {
        s->chunks[i].owner = s;
        body_chunk_cmd(&s->body, i, s->q, s->id, &s->chunks[i].cmd, on_chunk);
    }
    for (unsigned i = 0; i < n; i++)
        link_cmd_start(&s->chunks[i].cmd);
}

static void
add_keys(struct queue_commit_state *s)
{
    unsigned p = id_partition(s->id);
    struct key keys[] = {key_of_tombstone(s->id),
                         key_of_message(s->id),
                         key_of_part(p, KEY_STAT),
                         key_of_part(p, KEY_DUE),
                         key_of_part(p, KEY_LEASE),
                         key_of_part(p, KEY_HIST),
                         s->has_key ? key_of_idempotency(p, s->key_digest)
                                    : key_of_tombstone(s->id),
                         key_of_part(p, KEY_IDX),
                         key_of_part(p, KEY_LANES)};
    unsigned chunks = s->body.info.chunks;
    link_cmd_script(&s->cmd, SCRIPT_CALL_COMMIT, (unsigned)ARRAY_LEN(keys) + s->scheduled + chunks);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        link_arg(&s->cmd, key_slice(&keys[i]));
    for (unsigned i = 0; i < s->delivery_count; i++)
        if (s->deliveries[i].due_unix_ms > 0) {
            struct key queue = key_of_queue(p, buf_slice(&s->deliveries[i].lane));
            link_arg(&s->cmd, key_slice(&queue));
        }
    for (unsigned i = 0; i < chunks; i++) {
        struct key chunk = key_of_chunk(s->id, i);
        link_arg(&s->cmd, key_slice(&chunk));
    }
}

static void
add_deliveries(struct queue_commit_state *s)
{
    link_arg_int(&s->cmd, s->delivery_count);
    for (unsigned i = 0; i < s->delivery_count; i++)
        link_arg(&s->cmd, buf_slice(&s->deliveries[i].record));
    for (unsigned i = 0; i < s->delivery_count; i++) {
        char member[KEY_MEMBER_MAX + 1];
        if (s->deliveries[i].due_unix_ms == 0)
            continue;
        link_arg(&s->cmd, slice_from(member, key_member(s->id, i, member)));
        link_arg_int(&s->cmd, s->deliveries[i].due_unix_ms);
        link_arg(&s->cmd, buf_slice(&s->deliveries[i].lane));
    }
}

static void
commit_script(struct queue_commit_state *s)
{
    char id[ID_TEXT_BYTES + 1];
    struct link_cmd *c = &s->cmd;
    id_format(s->id, id);
    queue_cmd_init(c, s->q, id_partition(s->id), on_script);
    add_keys(s);
    link_arg_str(c, s->q->dataset);
    link_arg_str(c, id);
    link_arg_str(c, s->q->me.hex);
    link_arg_int(c, id_partition(s->id));
    link_arg_int(c, clock_sched_unix_ms());
    link_arg_int(c, s->left);
    link_arg_int(c, s->scheduled);
    link_arg_int(c, s->body.info.chunks);
    link_arg(c, s->has_key ? slice_from(s->request_digest, sizeof s->request_digest) : SLICE_NONE);
    link_arg_int(c, (int64_t)s->q->cfg.idempotency_ttl_ms);
    link_arg(c, buf_slice(&s->record));
    link_arg(c, buf_slice(&s->properties));
    add_deliveries(s);
    link_cmd_start(c);
}

static void
commit_send(struct queue_commit_state *s)
{
    struct queue *q = s->q;
    if (!link_is_up(q->links, queue_link_of(q, id_partition(s->id))) || q->trouble != NULL) {
        set_error(s, ERR_AWAY, q->trouble != NULL ? q->trouble : "no link to Redis");
        end_soon(s, QUEUE_AWAY);
        return;
    }
    FAILPOINT("commit.before");
    send_chunks(s);
    if (s->body.info.chunks <= 1)
        commit_script(s);
    FAILPOINT("commit.sent");
}

/* ---- encoding -------------------------------------------------------------- */

static bool
encode_delivery(struct queue_commit_state *s, const struct queue_message *m, unsigned i)
{
    struct commit_delivery *d = &s->deliveries[i];
    struct queue_delivery as = m->deliveries[i];
    struct key lane;
    if (!key_lane(m->klass, as.next_hop, m->tenant, &lane))
        return false;
    bool schedulable = record_is_schedulable(&as);
    s->left += !record_is_finished(&as);
    s->scheduled += schedulable;
    if (!schedulable)
        as.due_unix_ms = 0;
    else if (as.due_unix_ms <= 0)
        as.due_unix_ms = 1; /* long ago */
    d->due_unix_ms = as.due_unix_ms;
    return buf_add(&d->lane, key_slice(&lane)) && record_add_delivery(&d->record, &as, 1);
}

/* false: more than a record may hold. */
static bool
encode(struct queue_commit_state *s, const struct queue_message *m)
{
    size_t total = 0;
    if (m->delivery_count > QUEUE_DELIVERIES_MAX ||
        !record_add_message(&s->record, m, &s->body.info) ||
        !index_add_properties(&s->properties, m))
        return false;
    for (unsigned i = 0; i < m->delivery_count; i++) {
        if (!encode_delivery(s, m, i))
            return false;
        total += s->deliveries[i].record.len;
    }
    return total <= QUEUE_RECORD_MAX && content_bytes(&s->body.content) == m->size_bytes;
}

/* The record says how the body is stored, so it is written when that is known. */
static void
on_packed(struct body *b)
{
    struct queue_commit_state *s = container_of(b, struct queue_commit_state, body);
    if (s->op == NULL || s->q->closing) { /* the client left: nothing was sent */
        commit_end(s, QUEUE_OUTCOME_UNKNOWN);
        return;
    }
    if (encode(s, s->op->message)) {
        commit_send(s);
        return;
    }
    set_error(s, ERR_FULL, "the message does not fit into a record");
    end_soon(s, QUEUE_NO_ROOM);
}

static void
digest_key(struct queue_commit_state *s, const struct queue_commit_op *op)
{
    s->has_key = op->idempotency_key.n > 0;
    if (!s->has_key)
        return;
    key_digest(op->idempotency_credential, op->idempotency_key, s->key_digest);
    memcpy(s->request_digest, op->request_digest, sizeof s->request_digest);
    BUG_ON(id_partition(s->id) !=
           queue_partition_for_key(op->idempotency_credential, op->idempotency_key));
}

void
queue_commit_start(struct queue_commit_op *op, struct queue *q)
{
    struct queue_commit_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    unsigned n = op->message->delivery_count;
    q->commits++;
    op->state = s;
    err_clear(&op->err);
    s->q = q;
    s->op = op;
    s->id = op->message->id;
    s->delivery_count = n;
    s->deliveries = calloc(n > 0 ? n : 1, sizeof *s->deliveries);
    BUG_ON(s->deliveries == NULL);
    for (unsigned i = 0; i < n; i++) {
        buf_init(&s->deliveries[i].record, QUEUE_RECORD_MAX);
        buf_init(&s->deliveries[i].lane, KEY_LANE_MAX);
    }
    buf_init(&s->record, QUEUE_RECORD_MAX);
    buf_init(&s->properties, QUEUE_RECORD_MAX);
    deferred_init(&s->at_once, q->loop, on_at_once);
    deferred_init(&s->leave, q->loop, on_leave);
    timer_init(&s->unknown, q->loop, on_unknown_for_long);
    digest_key(s, op);
    if (body_pack(&s->body, q, &op->content, on_packed))
        on_packed(&s->body);
}

/* Nothing is undone: what was committed stays committed. done comes soon. */
void
queue_commit_cancel(struct queue_commit_op *op)
{
    struct queue_commit_state *s = op->state;
    if (s == NULL || s->leaving)
        return;
    s->leaving = true;
    deferred_schedule(&s->leave);
}
