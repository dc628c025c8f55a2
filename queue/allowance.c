/*
 * Happy path: one script takes what the message needs, done says so, the commit
 * succeeds and the caller keeps it.
 *
 * Ways it ends: over a limit, with the time to wait; no room, away; cancelled,
 * and then the answer that still comes is given back; allowed and given back
 * after a commit that did not happen. What is given back is sent once: when that
 * fails, the submitter's count stays too high until its day or rate is over.
 */
#include "queue/allowance.h"

#include <stdlib.h>
#include <string.h>

#include "queue/core.h"
#include "relay/sys/base/limits.h"

enum { MEMBER_BYTES = 16 }; /* of a SHA-256: nobody looks for a collision with himself */

struct queue_allow_state {
    struct queue_allow_op *op; /* NULL: cancelled */
    struct queue *q;
    struct link_cmd cmd;
    struct deferred cancelled;
    uint8_t account[32];
    struct queue_allowance limits;
    unsigned count;
    int64_t day;
    char *members; /* MEMBER_BYTES each; those that were new once it was answered */
    unsigned member_count;
};

/* ---- keys and arguments ----------------------------------------------------- */

static void
add_keys(struct queue_allow_state *s)
{
    struct key account = key_of_account("allow", s->account);
    struct key seen = key_of_account("seen", s->account);
    link_arg(&s->cmd, key_slice(&account));
    link_arg(&s->cmd, key_slice(&seen));
    link_arg_int(&s->cmd, s->count);
    link_arg_int(&s->cmd, s->limits.rate);
    link_arg_int(&s->cmd, (int64_t)s->limits.per_ms);
}

static void
add_members(struct queue_allow_state *s)
{
    for (unsigned i = 0; i < s->member_count; i++)
        link_arg(&s->cmd, slice_from(s->members + (size_t)MEMBER_BYTES * i, MEMBER_BYTES));
}

static void
make_members(struct queue_allow_state *s, const struct queue_allow_op *op)
{
    if (s->limits.fresh == 0)
        return;
    s->members = calloc(op->count, MEMBER_BYTES);
    BUG_ON(s->members == NULL);
    for (unsigned i = 0; i < op->count; i++) {
        uint8_t digest[32];
        key_digest(SLICE_NONE, op->recipients[i], digest);
        memcpy(s->members + (size_t)MEMBER_BYTES * i, digest, MEMBER_BYTES);
    }
    s->member_count = op->count;
}

/* ---- the end ------------------------------------------------------------------ */

static void
state_free(struct queue_allow_state *s)
{
    s->q->questions--;
    free(s->members);
    free(s);
}

static void
on_given_back(struct link_cmd *c)
{
    state_free(container_of(c, struct queue_allow_state, cmd));
}

static void
give_back(struct queue_allow_state *s)
{
    link_cmd_init(&s->cmd, s->q->links, account_link(s->q, s->account), on_given_back);
    link_cmd_script(&s->cmd, SCRIPT_CALL_ALLOW_BACK, 2);
    add_keys(s);
    link_arg_int(&s->cmd, s->day);
    add_members(s);
    link_cmd_start(&s->cmd);
}

void
queue_allow_settle(struct queue_allow_op *op, bool keep)
{
    struct queue_allow_state *s = op->state;
    BUG_ON(s == NULL || op->result != QUEUE_ALLOWED);
    op->state = NULL;
    if (keep)
        state_free(s);
    else
        give_back(s);
}

/* ---- the answer ----------------------------------------------------------------- */

/* Keeps only the members whose numbers were answered: they are given back. */
static void
keep_fresh(struct queue_allow_state *s, const struct redisReply *fresh)
{
    unsigned n = 0;
    for (size_t i = 0; i < resp_count(fresh); i++) {
        int64_t at = resp_int(resp_at(fresh, i), -1);
        if (at < n || at >= s->member_count)
            continue;
        memmove(s->members + (size_t)MEMBER_BYTES * n,
                s->members + (size_t)MEMBER_BYTES * (size_t)at, MEMBER_BYTES);
        n++;
    }
    s->member_count = n;
}

static uint64_t
number_at(const struct redisReply *r, size_t i)
{
    int64_t n = resp_int(resp_at(r, i), 0);
    return n > 0 ? (uint64_t)n : 0;
}

static void
judge_over(struct queue_allow_op *op, const struct redisReply *r)
{
    op->result = resp_is(resp_at(r, 0), "RATE")    ? QUEUE_OVER_RATE
                 : resp_is(resp_at(r, 0), "DAILY") ? QUEUE_OVER_DAILY
                 : resp_is(resp_at(r, 0), "NEW")   ? QUEUE_OVER_FRESH
                                                   : QUEUE_ALLOW_AWAY;
    op->wait_ms = number_at(r, 1);
}

static void
take_left(struct queue_allow_op *op, const struct redisReply *r)
{
    op->result = QUEUE_ALLOWED;
    op->rate_left = (unsigned)number_at(r, 1);
    op->rate_full_ms = number_at(r, 2);
    op->daily_left = (unsigned)number_at(r, 3);
    op->daily_reset_ms = number_at(r, 4);
}

static void
on_allowed(struct link_cmd *c)
{
    struct queue_allow_state *s = container_of(c, struct queue_allow_state, cmd);
    struct queue_allow_op *op = s->op;
    bool answered = c->outcome == LINK_ANSWERED;
    bool taken = answered && resp_is(resp_at(c->reply, 0), "OK");
    deferred_cancel(&s->cancelled);
    if (taken) {
        s->day = resp_int(resp_at(c->reply, 5), 0);
        keep_fresh(s, resp_at(c->reply, 6));
    }
    if (op == NULL && taken) {
        give_back(s);
        return;
    }
    if (op != NULL && taken) {
        take_left(op, c->reply);
        op->done(op);
        return;
    }
    if (op != NULL && answered)
        judge_over(op, c->reply);
    else if (op != NULL)
        op->result = c->outcome == LINK_REFUSED && c->class == RESP_NO_ROOM ? QUEUE_ALLOW_NO_ROOM
                                                                            : QUEUE_ALLOW_AWAY;
    if (op != NULL)
        op->state = NULL;
    state_free(s);
    if (op != NULL)
        op->done(op);
}

static void
on_allow_cancelled(struct deferred *d)
{
    struct queue_allow_state *s = container_of(d, struct queue_allow_state, cancelled);
    struct queue_allow_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->result = QUEUE_ALLOW_AWAY;
    op->done(op);
}

void
queue_allow_start(struct queue_allow_op *op, struct queue *q)
{
    struct queue_allow_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || op->count == 0);
    q->questions++;
    s->op = op;
    s->q = q;
    s->limits = op->limits;
    s->count = op->count;
    op->state = s;
    op->wait_ms = op->rate_full_ms = op->daily_reset_ms = 0;
    op->rate_left = op->daily_left = 0;
    key_digest(op->submitter, SLICE_NONE, s->account);
    make_members(s, op);
    deferred_init(&s->cancelled, q->loop, on_allow_cancelled);
    link_cmd_init(&s->cmd, q->links, account_link(q, s->account), on_allowed);
    link_cmd_script(&s->cmd, SCRIPT_CALL_ALLOW, 2);
    add_keys(s);
    link_arg_int(&s->cmd, op->limits.daily);
    link_arg_int(&s->cmd, op->limits.fresh);
    link_arg_int(&s->cmd, QUEUE_SEEN_RECIPIENTS_MAX);
    link_arg_int(&s->cmd, QUEUE_SEEN_RECIPIENTS_MS);
    add_members(s);
    link_cmd_start(&s->cmd);
}

void
queue_allow_cancel(struct queue_allow_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}
