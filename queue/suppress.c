/*
 * The suppression lists. An entry is a field of one of sixteen hashes, named by
 * the digest of tenant and address, and a member of the index beside it: 8 bytes
 * of the tenant's digest, then the field; so the entries of a tenant stand
 * together.
 *
 * Ways an operation ends: answered; Redis away or full; cancelled, when it keeps
 * its own memory until Redis has answered. A list reads shard after shard.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/core.h"
#include "queue/suppression.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

enum {
    SHARDS = 16, /* as queue_suppression_place() has them */
    TENANT_DIGEST = 8,
    FIELD = 32,
    MEMBER = TENANT_DIGEST + FIELD,
    VERSION = 1,
    VALUE_MAX = 4096, /* more than a tenant and an address */
};
_Static_assert((int)MEMBER == (int)QUEUE_SUPPRESSION_CURSOR_BYTES, "a cursor is a member");

const char *
queue_suppression_reason_name(enum queue_suppression_reason r)
{
    static const char *const NAMES[] = {"manual", "hard_bounce", "complaint"};
    return NAMES[r];
}

/* ---- stored form: version, reason, created, tenant, address ------------------ */

bool
suppression_encode(struct buf *b, const struct queue_suppression *s)
{
    return buf_add_char(b, VERSION) && buf_add_char(b, (char)s->reason) &&
           frame_add_u64(b, (uint64_t)s->created_unix_ms) && frame_add_bytes(b, s->tenant) &&
           frame_add_bytes(b, s->address);
}

bool
suppression_decode(struct slice rec, struct queue_suppression *s)
{
    struct queue_suppression out;
    uint64_t created;
    if (rec.n < 2 || slice_cut(&rec, 1).p[0] != VERSION)
        return false;
    unsigned reason = (uint8_t)slice_cut(&rec, 1).p[0];
    if (reason >= QUEUE_SUPPRESSION_REASONS || !frame_cut_u64(&rec, &created) ||
        created > INT64_MAX || !frame_cut_bytes(&rec, &out.tenant) ||
        !frame_cut_bytes(&rec, &out.address) || rec.n > 0)
        return false;
    out.reason = (enum queue_suppression_reason)reason;
    out.created_unix_ms = (int64_t)created;
    *s = out;
    return true;
}

/* ---- places ------------------------------------------------------------------ */

static void
tenant_digest(struct slice tenant, uint8_t out[TENANT_DIGEST])
{
    uint8_t digest[32];
    key_digest(tenant, SLICE_NONE, digest);
    memcpy(out, digest, TENANT_DIGEST);
}

static void
add_shard_key(struct link_cmd *c, unsigned shard, const char *kind)
{
    struct buf key;
    buf_init(&key, 64);
    buf_addf(&key, "sp:{s%u}:%s", shard, kind);
    link_arg(c, buf_slice(&key));
    buf_fini(&key);
}

static unsigned
begin(struct link_cmd *c, struct queue *q, unsigned shard, void (*done)(struct link_cmd *))
{
    link_cmd_init(c, q->links, link_up_near(q->links, shard % link_count(q->links)), done);
    return shard;
}

/* ---- one entry ----------------------------------------------------------------- */

struct queue_suppression_state {
    struct queue_suppression_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
};

static void
one_tell(struct queue_suppression_state *s)
{
    struct queue_suppression_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_one_cancelled(struct deferred *d)
{
    struct queue_suppression_state *s = container_of(d, struct queue_suppression_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "suppression: cancelled");
    one_tell(s);
}

static void
one_judge(struct queue_suppression_op *op, const struct link_cmd *c)
{
    struct queue_suppression old = {.reason = QUEUE_SUPPRESSED_MANUAL};
    if (c->outcome != LINK_ANSWERED) {
        bool full = c->outcome == LINK_REFUSED && c->class == RESP_NO_ROOM;
        err_set(&op->err, full ? ERR_FULL : ERR_AWAY, "suppression: Redis %s",
                full ? "is full" : "cannot be had");
        return;
    }
    op->existed = !resp_is_nil(c->reply);
    if (op->verb == QUEUE_SUPPRESSION_PUT)
        return;
    suppression_decode(resp_text(c->reply), &old); /* older ones hold anything */
    old.tenant = op->tenant;
    old.address = op->address;
    op->entry = old;
}

static void
on_one(struct link_cmd *c)
{
    struct queue_suppression_state *s = container_of(c, struct queue_suppression_state, cmd);
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        one_judge(s->op, c);
        one_tell(s);
    }
    s->q->questions--;
    free(s);
}

static void
add_value(struct link_cmd *c, struct queue_suppression_op *op)
{
    struct buf value;
    buf_init(&value, VALUE_MAX);
    op->entry.tenant = op->tenant;
    op->entry.address = op->address;
    op->entry.created_unix_ms = clock_sched_unix_ms();
    BUG_ON(!suppression_encode(&value, &op->entry));
    link_arg(c, buf_slice(&value));
    buf_fini(&value);
}

static void
one_send(struct queue_suppression_state *s)
{
    struct queue_suppression_op *op = s->op;
    struct link_cmd *c = &s->cmd;
    uint8_t member[MEMBER], *field = member + TENANT_DIGEST;
    tenant_digest(op->tenant, member);
    key_digest(op->tenant, op->address, field);
    unsigned shard = begin(c, s->q, field[0] % SHARDS, on_one);
    if (op->verb == QUEUE_SUPPRESSION_GET)
        link_cmd_plain(c, "HGET");
    else
        link_cmd_script(
            c, op->verb == QUEUE_SUPPRESSION_PUT ? SCRIPT_CALL_SUPPRESS : SCRIPT_CALL_UNSUPPRESS,
            2);
    add_shard_key(c, shard, "sup");
    if (op->verb != QUEUE_SUPPRESSION_GET)
        add_shard_key(c, shard, "supx");
    link_arg(c, slice_from(field, FIELD));
    if (op->verb == QUEUE_SUPPRESSION_PUT)
        add_value(c, op);
    if (op->verb != QUEUE_SUPPRESSION_GET)
        link_arg(c, slice_from(member, MEMBER));
    link_cmd_start(c);
}

void
queue_suppression_start(struct queue_suppression_op *op, struct queue *q)
{
    struct queue_suppression_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->tenant.n + op->address.n > VALUE_MAX / 2);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->existed = false;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_one_cancelled);
    one_send(s);
}

void
queue_suppression_cancel(struct queue_suppression_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- the list -------------------------------------------------------------------- */

struct queue_suppressions_state {
    struct queue_suppressions_op *op; /* NULL: cancelled */
    struct queue *q;
    unsigned shard;
    struct link_cmd cmd;
    struct deferred cancelled;
    bool in_shard; /* begin behind op->next */
    uint8_t members[QUEUE_LIST_LIMIT_MAX + 1][MEMBER];
    unsigned member_count;
};

static void list_page(struct queue_suppressions_state *s);

static void
list_tell(struct queue_suppressions_state *s)
{
    struct queue_suppressions_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

static void
on_list_cancelled(struct deferred *d)
{
    struct queue_suppressions_state *s =
        container_of(d, struct queue_suppressions_state, cancelled);
    s->op->count = 0;
    err_set(&s->op->err, ERR_CANCELLED, "suppressions: cancelled");
    list_tell(s);
}

static void
list_end(struct queue_suppressions_state *s, enum err_code code, const char *why)
{
    deferred_cancel(&s->cancelled);
    if (s->op != NULL) {
        if (code != ERR_NONE)
            err_set(&s->op->err, code, "suppressions: %s", why);
        list_tell(s);
    }
    s->q->questions--;
    free(s);
}

/* false: the arena is full. */
static bool
keep(struct queue_suppressions_op *op, struct slice value)
{
    struct slice copy;
    struct queue_suppression *e = &op->entries[op->count];
    if (!arena_copy(op->arena, value, &copy))
        return false;
    bool wanted =
        suppression_decode(copy, e) && (op->tenant.n == 0 || slice_eq(op->tenant, e->tenant));
    op->count += wanted;
    return true;
}

static void
on_values(struct link_cmd *c)
{
    struct queue_suppressions_state *s = container_of(c, struct queue_suppressions_state, cmd);
    struct queue_suppressions_op *op = s->op;
    if (op == NULL || c->outcome != LINK_ANSWERED) {
        list_end(s, ERR_AWAY, "Redis cannot be had");
        return;
    }
    for (unsigned i = 0; i < s->member_count; i++) {
        if (op->count == op->limit) {
            op->has_more = true;
            list_end(s, ERR_NONE, "");
            return;
        }
        if (!keep(op, resp_text(resp_at(c->reply, i)))) {
            list_end(s, ERR_FULL, "the answer is larger than its budget");
            return;
        }
        memcpy(op->next, s->members[i], MEMBER);
        s->in_shard = true;
    }
    list_page(s); /* behind the last one; an empty page ends the shard */
}

static void
on_members(struct link_cmd *c)
{
    struct queue_suppressions_state *s = container_of(c, struct queue_suppressions_state, cmd);
    if (s->op == NULL || c->outcome != LINK_ANSWERED) {
        list_end(s, ERR_AWAY, "Redis cannot be had");
        return;
    }
    s->member_count = 0;
    for (size_t i = 0; i < resp_count(c->reply) && i <= QUEUE_LIST_LIMIT_MAX; i++) {
        struct slice member = resp_text(resp_at(c->reply, i));
        if (member.n == MEMBER)
            memcpy(s->members[s->member_count++], member.p, MEMBER);
    }
    if (s->member_count == 0) {
        s->in_shard = false;
        if (++s->shard == SHARDS)
            list_end(s, ERR_NONE, "");
        else
            list_page(s);
        return;
    }
    begin(&s->cmd, s->q, s->shard, on_values);
    link_cmd_plain(&s->cmd, "HMGET");
    add_shard_key(&s->cmd, s->shard, "sup");
    for (unsigned i = 0; i < s->member_count; i++)
        link_arg(&s->cmd, slice_from(s->members[i] + TENANT_DIGEST, FIELD));
    link_cmd_start(&s->cmd);
}

/* All of one tenant, or of all: from the lowest or behind `next`, to the highest. */
static void
add_bounds(struct queue_suppressions_state *s)
{
    const struct queue_suppressions_op *op = s->op;
    uint8_t bound[1 + MEMBER] = {'['};
    if (op->tenant.n > 0)
        tenant_digest(op->tenant, bound + 1);
    if (s->in_shard) {
        bound[0] = '(';
        memcpy(bound + 1, op->next, MEMBER);
    }
    link_arg(&s->cmd, slice_from(bound, sizeof bound));
    memset(bound + 1, 0xff, MEMBER);
    bound[0] = '[';
    if (op->tenant.n > 0)
        tenant_digest(op->tenant, bound + 1);
    link_arg(&s->cmd, slice_from(bound, sizeof bound));
}

static void
list_page(struct queue_suppressions_state *s)
{
    begin(&s->cmd, s->q, s->shard, on_members);
    link_cmd_plain(&s->cmd, "ZRANGEBYLEX");
    add_shard_key(&s->cmd, s->shard, "supx");
    add_bounds(s);
    link_arg_str(&s->cmd, "LIMIT");
    link_arg_int(&s->cmd, 0);
    link_arg_int(&s->cmd, s->op->limit - s->op->count + 1);
    link_cmd_start(&s->cmd);
}

/* Of another tenant's cursor nothing is believed: behind it are others' entries. */
static bool
has_own_cursor(const struct queue_suppressions_op *op)
{
    uint8_t digest[TENANT_DIGEST];
    tenant_digest(op->tenant, digest);
    return op->has_after && (op->tenant.n == 0 || memcmp(op->after, digest, sizeof digest) == 0);
}

void
queue_suppressions_start(struct queue_suppressions_op *op, struct queue *q)
{
    struct queue_suppressions_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->limit == 0 || op->limit > QUEUE_LIST_LIMIT_MAX);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->count = 0;
    op->has_more = false;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_list_cancelled);
    if (has_own_cursor(op)) {
        memcpy(op->next, op->after, MEMBER);
        s->in_shard = true;
        s->shard = op->after[TENANT_DIGEST] % SHARDS;
    }
    op->entries = arena_alloc(op->arena, (op->limit + 1) * sizeof *op->entries);
    BUG_ON(op->entries == NULL); /* an arena that holds not even this is a bug */
    list_page(s);
}

void
queue_suppressions_cancel(struct queue_suppressions_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
