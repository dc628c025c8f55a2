/*
 * The life of a command: built, waiting for its turn or for a link, sent, answered.
 *
 * Happy path: CMD_IDLE -> CMD_BACKLOG, until the commands before it leave it room in the
 * pipeline -> CMD_SENT, until its reply is the next one -> settled: done.
 *
 * Ways it ends: answered; refused by an error of Redis; its link was lost (LINK_LOST when it had
 * been sent, else LINK_UNSENT); there was no link (CMD_FAILING: done comes on the next turn). For
 * a sticky one, a loss, no link and an error that passes by itself are no end: it is CMD_WAITING
 * until a link comes up, any link is lost while others are up, or STICKY_RETRY_MS have passed
 * since the error.
 */
#include "queue/link_internal.h"

#include <stdio.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/metrics.h"

enum {
    SCRIPT_TEXT_USUAL = 1536, /* a commit of one recipient: it does not grow step by step */
    STICKY_RETRY_MS = 200,    /* after an error that passes by itself */
};

/* ---- building and telling --------------------------------------------------- */

void
link_cmd_init(struct link_cmd *c, struct link_pool *p, unsigned link,
              void (*done)(struct link_cmd *c))
{
    *c = (struct link_cmd){.done = done, .pool = p, .link = link};
    buf_init(&c->text, QUEUE_COMMAND_MAX);
    list_node_init(&c->node);
}

void
link_arg(struct link_cmd *c, struct slice s)
{
    resp_add_bulk(&c->text, s);
    c->args++;
}

void
link_arg_str(struct link_cmd *c, const char *s)
{
    link_arg(c, slice_str(s));
}

void
link_arg_int(struct link_cmd *c, int64_t v)
{
    char text[24];
    link_arg(c, slice_from(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v)));
}

void
link_cmd_plain(struct link_cmd *c, const char *name)
{
    link_arg_str(c, name);
}

void
link_cmd_script(struct link_cmd *c, enum script_name name, unsigned keys)
{
    buf_reserve(&c->text, SCRIPT_TEXT_USUAL);
    c->call = &c->pool->scripts->of[name];
    link_arg_int(c, keys);
}

void
link_arg_borrowed(struct link_cmd *c, struct slice first, struct slice second)
{
    c->pieces[0] = first;
    c->pieces[1] = second;
    c->has_pieces = true;
}

bool
link_cmd_active(const struct link_cmd *c)
{
    return c->place != CMD_IDLE;
}

static size_t
cmd_bytes(const struct link_cmd *c)
{
    return c->text.len + c->pieces[0].n + c->pieces[1].n;
}

bool
link_cmd_was_refused(const struct link_cmd *c)
{
    return c->outcome == LINK_REFUSED && (c->class == RESP_NO_ROOM || c->class == RESP_AWAY);
}

void
link_cmd_explain(const struct link_cmd *c, struct err *err)
{
    static const char *const WHY[] = {"answered", "refused", "no link to Redis",
                                      "link to Redis lost before the reply"};
    enum err_code code = c->outcome == LINK_LOST ? ERR_UNKNOWN : ERR_AWAY;
    if (c->outcome == LINK_REFUSED && c->reply != NULL)
        err_set(err, c->class == RESP_NO_ROOM ? ERR_FULL : ERR_AWAY, "%.*s",
                (int)(c->reply->len < 200 ? c->reply->len : 200), c->reply->str);
    else
        err_set(err, code, "%s", WHY[c->outcome]);
}

/* ---- settling -------------------------------------------------------------- */

static void
cmd_settle(struct link_cmd *c, enum link_outcome outcome)
{
    c->outcome = outcome;
    c->place = CMD_IDLE;
    buf_fini(&c->text);
    c->done(c);
}

/* A reply that put it off is freed by the caller. */
static void
cmd_wait(struct link_cmd *c)
{
    c->reply = NULL;
    c->place = CMD_WAITING;
    list_push(&c->pool->waiting, &c->node);
}

static void
cmd_fail_soon(struct link_cmd *c)
{
    c->place = CMD_FAILING;
    list_push(&c->pool->failing, &c->node);
    deferred_schedule(&c->pool->fail_call);
}

void
link_cmds_settle(struct list *l, enum link_outcome outcome)
{
    for (struct list_node *n; (n = list_pop(l)) != NULL;) {
        struct link_cmd *c = container_of(n, struct link_cmd, node);
        if (c->sticky && !c->pool->closing)
            cmd_wait(c);
        else
            cmd_settle(c, outcome);
    }
}

static void
fail_all(struct deferred *d)
{
    struct link_pool *p = container_of(d, struct link_pool, fail_call);
    struct list now; /* what a done() adds comes next time */
    list_init(&now);
    for (struct list_node *n; (n = list_pop(&p->failing)) != NULL;)
        list_push(&now, n);
    for (struct list_node *n; (n = list_pop(&now)) != NULL;)
        cmd_settle(container_of(n, struct link_cmd, node), LINK_UNSENT);
}

void
link_cmd_unstick(struct link_cmd *c)
{
    c->sticky = false;
    if (c->place != CMD_WAITING)
        return;
    list_remove(&c->node);
    cmd_fail_soon(c);
}

/* ---- sending --------------------------------------------------------------- */

static void
arm_deadline(struct link *k)
{
    struct list_node *n = list_first(&k->sent);
    if (n == NULL) {
        timer_cancel(&k->deadline);
        return;
    }
    const struct link_cmd *c = container_of(n, struct link_cmd, node);
    uint64_t due = c->sent_ms + k->pool->timeout_ms, now = clock_mono_ms();
    timer_start(&k->deadline, due > now ? due - now : 0);
}

static void
send_head(struct link *k, const struct link_cmd *c)
{
    struct buf head;
    buf_init(&head, QUEUE_COMMAND_MAX);
    buf_addf(&head, "*%u\r\n", c->args + (c->call != NULL ? 2 : 0) + c->has_pieces);
    if (c->call != NULL) {
        resp_add_bulk(&head, c->as_source ? SLICE("EVAL") : SLICE("EVALSHA"));
        resp_add_bulk(&head, c->as_source ? c->call->source : slice_str(c->call->sha1));
    }
    stream_send(k->stream, buf_slice(&head));
    buf_fini(&head);
}

static void
send_pieces(struct link *k, const struct link_cmd *c)
{
    struct buf size;
    buf_init(&size, 32);
    buf_addf(&size, "$%zu\r\n", c->pieces[0].n + c->pieces[1].n);
    stream_send(k->stream, buf_slice(&size));
    buf_fini(&size);
    for (int i = 0; i < 2; i++)
        if (c->pieces[i].n > 0)
            stream_send(k->stream, c->pieces[i]);
    stream_send(k->stream, SLICE("\r\n"));
}

static void
cmd_send(struct link *k, struct link_cmd *c)
{
    BUG_ON(c->text.overflowed);
    send_head(k, c);
    stream_send(k->stream, buf_slice(&c->text));
    if (c->has_pieces)
        send_pieces(k, c);
    c->sent_us = clock_mono_us();
    c->sent_ms = clock_mono_ms();
    c->place = CMD_SENT;
    k->sent_bytes += cmd_bytes(c);
    bool first = list_empty(&k->sent);
    list_push(&k->sent, &c->node);
    if (first)
        arm_deadline(k);
}

static bool
has_room(const struct link *k, const struct link_cmd *c)
{
    return list_empty(&k->sent) || k->sent_bytes + cmd_bytes(c) <= QUEUE_PIPELINE_BYTES_MAX;
}

void
link_cmds_flush(struct link *k)
{
    for (struct list_node *n; k->stream != NULL && (n = list_first(&k->backlog)) != NULL;) {
        struct link_cmd *c = container_of(n, struct link_cmd, node);
        if (!has_room(k, c))
            return;
        list_remove(n);
        cmd_send(k, c);
    }
}

static struct link *
choose_link(struct link_pool *p, unsigned want)
{
    if (want != LINK_ANY)
        return &p->links[want];
    for (unsigned i = 0; i < p->count; i++) {
        struct link *k = &p->links[p->next_any++ % p->count];
        if (k->state == LINK_UP)
            return k;
    }
    return &p->links[0];
}

void
link_cmd_start(struct link_cmd *c)
{
    BUG_ON(c->place != CMD_IDLE);
    struct link *k = choose_link(c->pool, c->link);
    if (k->state == LINK_UP && !c->pool->closing) {
        c->place = CMD_BACKLOG;
        list_push(&k->backlog, &c->node);
        link_cmds_flush(k);
    } else if (c->sticky && !c->pool->closing) {
        cmd_wait(c);
    } else {
        cmd_fail_soon(c);
    }
}

void
link_greet_send(struct link_cmd *c)
{
    struct link *k = &c->pool->links[c->link];
    BUG_ON(k->state != LINK_GREETING);
    cmd_send(k, c);
}

void
link_cmds_release(struct link_pool *p)
{
    struct list now;
    list_init(&now);
    for (struct list_node *n; (n = list_pop(&p->waiting)) != NULL;)
        list_push(&now, n);
    for (struct list_node *n; (n = list_pop(&now)) != NULL;) {
        struct link_cmd *c = container_of(n, struct link_cmd, node);
        c->place = CMD_IDLE;
        link_cmd_start(c);
    }
}

/* ---- replies --------------------------------------------------------------- */

static void
cmd_resend(struct link *k, struct link_cmd *c)
{
    c->reply = NULL;
    c->place = CMD_BACKLOG;
    list_push(&k->backlog, &c->node);
    link_cmds_flush(k);
}

static void
judge_error(struct link *k, struct link_cmd *c)
{
    c->class = resp_classify(slice_from(c->reply->str, c->reply->len));
    if (c->class == RESP_NO_SCRIPT && c->call != NULL && !c->as_source) {
        c->as_source = true;
        cmd_resend(k, c);
        return;
    }
    metrics_add(METRIC_REDIS_ERRORS, 1);
    if (c->sticky && c->class != RESP_UNEXPECTED) {
        cmd_wait(c);
        if (!timer_active(&k->pool->sticky_retry))
            timer_start(&k->pool->sticky_retry, STICKY_RETRY_MS);
        return;
    }
    cmd_settle(c, LINK_REFUSED);
}

bool
link_cmds_take_reply(struct link *k, struct redisReply *r)
{
    struct list_node *n = list_pop(&k->sent);
    if (n == NULL)
        return false;
    struct link_cmd *c = container_of(n, struct link_cmd, node);
    k->sent_bytes -= cmd_bytes(c);
    arm_deadline(k);
    metrics_observe(HISTOGRAM_REDIS, clock_mono_us() - c->sent_us);
    c->reply = r;
    c->class = RESP_OK;
    if (r->type == REDIS_REPLY_ERROR)
        judge_error(k, c);
    else
        cmd_settle(c, LINK_ANSWERED);
    return true;
}

/* ---- of the whole pool ----------------------------------------------------- */

static void
on_sticky_retry(struct timer *t)
{
    link_cmds_release(container_of(t, struct link_pool, sticky_retry));
}

void
link_cmds_init(struct link_pool *p)
{
    list_init(&p->waiting);
    list_init(&p->failing);
    deferred_init(&p->fail_call, p->loop, fail_all);
    timer_init(&p->sticky_retry, p->loop, on_sticky_retry);
}

void
link_cmds_release_soon(struct link_pool *p)
{
    timer_start(&p->sticky_retry, 0);
}

void
link_cmds_close(struct link_pool *p)
{
    link_cmds_settle(&p->waiting, LINK_UNSENT);
    while (!list_empty(&p->failing))
        fail_all(&p->fail_call);
    deferred_cancel(&p->fail_call);
    timer_cancel(&p->sticky_retry);
}
