/*
 * Happy path: three questions travel together (failures of the network, failures
 * of the account, was it used from there before), and the last answer decides.
 * Ways it ends: with a time to wait, which may be 0; away; cancelled.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/allowance.h"
#include "queue/core.h"
#include "relay/sys/base/limits.h"

enum guard_question { ASK_NETWORK, ASK_ACCOUNT, ASK_KNOWN, ASK_COUNT };

struct guard_cmd {
    struct link_cmd cmd;
    struct queue_guard_state *owner;
};

struct queue_guard_state {
    struct queue_guard_op *op; /* NULL: cancelled */
    struct queue *q;
    struct guard_cmd cmds[ASK_COUNT];
    struct deferred cancelled;
    unsigned pending;
    int64_t failures[ASK_COUNT];
    uint64_t wait_ms[ASK_COUNT];
};

struct counter {
    struct key key;
    uint8_t digest[32];
};

/* The parts are kept apart by the digest: user names hold anything. */
static struct counter
counter_of(enum guard_question which, struct slice account, struct slice network)
{
    static const char *const KINDS[] = {"net", "user", "known"};
    struct counter c;
    key_digest(which == ASK_NETWORK ? SLICE_NONE : account,
               which == ASK_ACCOUNT ? SLICE_NONE : network, c.digest);
    c.key = key_of_account(KINDS[which], c.digest);
    return c;
}

static void
add_counting(struct link_cmd *c, const struct counter *counter, const char *mode,
             enum guard_question which)
{
    link_cmd_script(c, SCRIPT_CALL_GUARD, 1);
    link_arg(c, key_slice(&counter->key));
    link_arg_str(c, mode);
    link_arg_int(c, which == ASK_NETWORK ? GUARD_NETWORK_FREE : GUARD_ACCOUNT_FREE);
    link_arg_int(c, GUARD_PAUSE_FIRST_MS);
    link_arg_int(c, GUARD_PAUSE_MAX_MS);
    link_arg_int(c, GUARD_MEMORY_MS);
}

/* ---- the question ------------------------------------------------------------- */

static void
guard_tell(struct queue_guard_state *s)
{
    struct queue_guard_op *op = s->op;
    s->op = NULL;
    op->state = NULL;
    op->done(op);
}

/* Whoever used the account from there before has more tries than a stranger, and
 * an account under attack is closed only to networks that have failed. */
static uint64_t
decide(const struct queue_guard_state *s, bool is_known)
{
    uint64_t wait = s->wait_ms[ASK_NETWORK];
    if (is_known)
        return s->failures[ASK_NETWORK] > GUARD_KNOWN_FREE ? wait : 0;
    if (s->failures[ASK_NETWORK] > 0 && s->wait_ms[ASK_ACCOUNT] > wait)
        wait = s->wait_ms[ASK_ACCOUNT];
    return wait;
}

static void
note_answer(struct queue_guard_state *s, const struct guard_cmd *gc)
{
    enum guard_question which = (enum guard_question)(gc - s->cmds);
    const struct redisReply *r = gc->cmd.reply;
    if (gc->cmd.outcome != LINK_ANSWERED) {
        err_set(&s->op->err, ERR_AWAY, "guard: Redis cannot be had");
    } else if (which == ASK_KNOWN) {
        s->op->is_known = resp_int(r, 0) > 0;
    } else {
        int64_t wait = resp_int(resp_at(r, 1), 0);
        s->failures[which] = resp_int(resp_at(r, 0), 0);
        s->wait_ms[which] = wait > 0 ? (uint64_t)wait : 0;
    }
}

static void
on_guard_answer(struct link_cmd *c)
{
    struct guard_cmd *gc = container_of(c, struct guard_cmd, cmd);
    struct queue_guard_state *s = gc->owner;
    if (s->op != NULL)
        note_answer(s, gc);
    if (--s->pending > 0)
        return;
    deferred_cancel(&s->cancelled);
    s->q->questions--;
    if (s->op != NULL) {
        s->op->wait_ms = decide(s, s->op->is_known);
        guard_tell(s);
    }
    free(s);
}

static void
on_guard_cancelled(struct deferred *d)
{
    struct queue_guard_state *s = container_of(d, struct queue_guard_state, cancelled);
    err_set(&s->op->err, ERR_CANCELLED, "guard: cancelled");
    guard_tell(s);
}

void
queue_guard_start(struct queue_guard_op *op, struct queue *q)
{
    struct queue_guard_state *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    q->questions++;
    s->op = op;
    s->q = q;
    op->state = s;
    op->wait_ms = 0;
    op->is_known = false;
    err_clear(&op->err);
    deferred_init(&s->cancelled, q->loop, on_guard_cancelled);
    const unsigned asked = op->account.n > 0 ? ASK_COUNT : 1;
    s->pending = asked;
    for (unsigned i = 0; i < asked; i++) {
        struct link_cmd *c = &s->cmds[i].cmd;
        struct counter counter = counter_of((enum guard_question)i, op->account, op->network);
        s->cmds[i].owner = s;
        link_cmd_init(c, q->links, account_link(q, counter.digest), on_guard_answer);
        if (i == ASK_KNOWN) {
            link_cmd_plain(c, "EXISTS");
            link_arg(c, key_slice(&counter.key));
        } else {
            add_counting(c, &counter, "ask", (enum guard_question)i);
        }
    }
    for (unsigned i = 0; i < asked; i++)
        link_cmd_start(&s->cmds[i].cmd);
}

void
queue_guard_cancel(struct queue_guard_op *op)
{
    if (op->state != NULL)
        deferred_schedule(&op->state->cancelled);
}

/* ---- what came of it ------------------------------------------------------------ */

struct guard_note {
    struct link_cmd cmd;
    struct queue *q;
};

static void
on_noted(struct link_cmd *c)
{
    struct guard_note *n = container_of(c, struct guard_note, cmd);
    n->q->questions--;
    free(n);
}

static struct link_cmd *
note_begin(struct queue *q, const struct counter *counter)
{
    struct guard_note *n = calloc(1, sizeof *n);
    BUG_ON(n == NULL);
    n->q = q;
    q->questions++;
    link_cmd_init(&n->cmd, q->links, account_link(q, counter->digest), on_noted);
    return &n->cmd;
}

static void
note_failure(struct queue *q, struct slice account, struct slice network, enum guard_question which)
{
    struct counter counter = counter_of(which, account, network);
    struct link_cmd *c = note_begin(q, &counter);
    add_counting(c, &counter, "fail", which);
    link_cmd_start(c);
}

void
queue_guard_note(struct queue *q, struct slice account, struct slice network, bool failed)
{
    if (failed) {
        note_failure(q, account, network, ASK_NETWORK);
        if (account.n > 0)
            note_failure(q, account, network, ASK_ACCOUNT);
        return;
    }
    struct counter counter = counter_of(ASK_KNOWN, account, network);
    struct link_cmd *c = note_begin(q, &counter);
    link_cmd_plain(c, "SET");
    link_arg(c, key_slice(&counter.key));
    link_arg_str(c, "1");
    link_arg_str(c, "EX");
    link_arg_int(c, GUARD_KNOWN_S);
    link_cmd_start(c);
}
