/*
 * Happy path: down -> connecting -> greeting -> up; commands are written as
 * they are started and answered in order.
 *
 * Ways a link ends: the connection fails or ends, the oldest command is not
 * answered in time, a reply that no Redis would send, a greeting that is
 * refused, or the pool closes. All go through link_down(), which settles every
 * command and plans the next try.
 */
#include "queue/link.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum {
    INPUT_BYTES = 256 << 10,
    RETRY_FIRST_MS = 50, /* a restarted Redis is back in well under a second */
    RETRY_MOST_MS = 1000,
    REFUSED_RETRY_MS = 1000,
    SCRIPT_TEXT_USUAL = 1536, /* a commit of one recipient: it does not grow step by step */
    STICKY_RETRY_MS = 200,    /* after an error that passes by itself */
};

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
    struct link_pool *pool;
    unsigned index;
    enum link_state state;
    struct connect_op connect;
    struct tls_op tls;
    struct stream *stream; /* NULL unless greeting or up */
    struct stream_user user;
    redisReader *reader;
    struct resp_guard guard;
    struct list sent, backlog;
    size_t sent_bytes; /* of the commands in `sent` */
    struct timer deadline, retry;
    uint64_t retry_ms;
    char down_why[96]; /* as the log was told; "" while up */
};

struct link_pool {
    struct loop *loop;
    struct link_pool_config cfg;
    unsigned count; /* links[count] is the subscriber */
    uint64_t timeout_ms;
    char redis_ip[64]; /* what a certificate must name */
    struct link_pool_user *user;
    struct scripts *scripts;
    struct link links[LINKS_MAX + 1];
    unsigned next_any;
    struct list waiting, failing;
    struct deferred fail_call;
    struct timer sticky_retry;
    bool closing;
};

static void link_start(struct link *k);
static void link_down(struct link *k, const char *why);

static bool
is_subscriber(const struct link *k)
{
    return k->index == k->pool->count;
}

/* ---- building commands ----------------------------------------------------- */

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

static void
flush_backlog(struct link *k)
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
        flush_backlog(k);
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

/* Sends what waits for a link. */
static void
release_waiting(struct link_pool *p)
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

static void
on_sticky_retry(struct timer *t)
{
    release_waiting(container_of(t, struct link_pool, sticky_retry));
}

/* ---- replies --------------------------------------------------------------- */

static void
cmd_resend(struct link *k, struct link_cmd *c)
{
    c->reply = NULL;
    c->place = CMD_BACKLOG;
    list_push(&k->backlog, &c->node);
    flush_backlog(k);
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

static void
take_reply(struct link *k, redisReply *r)
{
    struct list_node *n = list_pop(&k->sent);
    if (n == NULL) {
        link_down(k, "a reply to no command");
        return;
    }
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
}

static void
take_object(struct link *k, redisReply *r)
{
    if (is_subscriber(k) && k->state == LINK_UP) {
        if (resp_is(resp_at(r, 0), "message"))
            k->pool->user->on_hint(k->pool->user, resp_text(resp_at(r, 2)));
        return;
    }
    take_reply(k, r);
}

static void
on_input(struct stream_user *u)
{
    struct link *k = container_of(u, struct link, user);
    struct slice in = stream_input(k->stream);
    bool sane =
        resp_guard_feed(&k->guard, in) && redisReaderFeed(k->reader, in.p, in.n) == REDIS_OK;
    stream_consume(k->stream, in.n);
    while (sane && k->reader != NULL) {
        void *r = NULL;
        sane = redisReaderGetReply(k->reader, &r) == REDIS_OK;
        if (!sane || r == NULL)
            break;
        take_object(k, r);
        freeReplyObject(r);
    }
    if (k->reader == NULL) /* a callback ended the link */
        return;
    if (sane)
        flush_backlog(k);
    else
        link_down(k, "a reply that is not RESP");
}

/* ---- connecting ------------------------------------------------------------ */

static void
on_end(struct stream_user *u, const struct err *why)
{
    link_down(container_of(u, struct link, user), why->text);
}

static void
on_deadline(struct timer *t)
{
    link_down(container_of(t, struct link, deadline), "no reply in time");
}

static void
on_retry(struct timer *t)
{
    link_start(container_of(t, struct link, retry));
}

static void
plan_retry(struct link *k, uint64_t delay_ms)
{
    timer_start(&k->retry, delay_ms / 2 + random_below((uint32_t)delay_ms / 2 + 1));
    k->retry_ms = k->retry_ms * 2 > RETRY_MOST_MS ? RETRY_MOST_MS : k->retry_ms * 2;
}

/* Warns once of each reason: a Redis that loads its data, or is stopped, is asked
 * several times a second. */
static void
say_down(struct link *k, const char *event, const char *why)
{
    bool is_news = strncmp(k->down_why, why, sizeof k->down_why - 1) != 0;
    LOG(is_news ? LOG_WARN : LOG_DEBUG, event, LF_U("link", k->index), LF_STR("why", why));
    snprintf(k->down_why, sizeof k->down_why, "%s", why);
}

static void
begin_greeting(struct link *k)
{
    k->state = LINK_GREETING;
    k->reader = redisReaderCreate();
    BUG_ON(k->reader == NULL);
    resp_guard_init(&k->guard);
    k->pool->user->on_connected(k->pool->user, k->index);
}

static void
on_tls(struct tls_op *op)
{
    struct link *k = container_of(op, struct link, tls);
    if (op->err.code == ERR_NONE)
        begin_greeting(k);
    else
        link_down(k, op->err.text);
}

static void
on_connect(struct connect_op *op)
{
    struct link *k = container_of(op, struct link, connect);
    k->state = LINK_DOWN;
    if (k->pool->closing) {
        if (op->stream != NULL)
            stream_abort(op->stream);
        return;
    }
    if (op->stream == NULL) {
        if (k->retry_ms == RETRY_MOST_MS) /* at a start Redis may be a moment late */
            say_down(k, "queue.link.failed", op->err.text);
        plan_retry(k, k->retry_ms);
        return;
    }
    k->stream = op->stream;
    k->user = (struct stream_user){.on_input = on_input, .on_end = on_end};
    stream_set_user(k->stream, &k->user);
    if (k->pool->cfg.tls != NULL)
        stream_start_tls(k->stream, &k->tls, k->pool->cfg.tls, slice_str(k->pool->redis_ip),
                         k->pool->timeout_ms, on_tls);
    else
        begin_greeting(k);
}

static void
link_start(struct link *k)
{
    k->state = LINK_CONNECTING;
    k->connect = (struct connect_op){.done = on_connect};
    connect_start(&k->connect, k->pool->loop, &k->pool->cfg.redis, k->pool->timeout_ms,
                  INPUT_BYTES);
}

static void
note_links_up(const struct link_pool *p)
{
    uint64_t up = 0;
    for (unsigned i = 0; i < p->cfg.count; i++)
        up += p->links[i].state == LINK_UP;
    metrics_set(GAUGE_REDIS_LINKS, up);
}

void
link_greeted(struct link_pool *p, unsigned link)
{
    struct link *k = &p->links[link];
    BUG_ON(k->state != LINK_GREETING);
    k->state = LINK_UP;
    note_links_up(p);
    k->retry_ms = RETRY_FIRST_MS;
    k->down_why[0] = '\0';
    LOG(LOG_INFO, "queue.link.up", LF_U("link", link));
    p->user->on_up(p->user, link);
    release_waiting(p);
}

void
link_refuse(struct link_pool *p, unsigned link, const char *why)
{
    struct link *k = &p->links[link];
    if (k->state != LINK_GREETING)
        return;
    k->retry_ms = REFUSED_RETRY_MS;
    link_down(k, why);
}

/* ---- the end of a link ----------------------------------------------------- */

static void
settle_list(struct list *l, enum link_outcome outcome)
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
move_list(struct list *from, struct list *to)
{
    list_init(to);
    for (struct list_node *n; (n = list_pop(from)) != NULL;)
        list_push(to, n);
}

static void
link_reset(struct link *k)
{
    if (k->stream != NULL)
        stream_abort(k->stream);
    if (k->reader != NULL)
        redisReaderFree(k->reader);
    k->stream = NULL;
    k->reader = NULL;
    k->sent_bytes = 0;
    if (k->state != LINK_CONNECTING)
        k->state = LINK_DOWN;
    timer_cancel(&k->deadline);
    timer_cancel(&k->retry);
}

static void
link_down(struct link *k, const char *why)
{
    bool was_up = k->state == LINK_UP;
    struct list sent, backlog;
    move_list(&k->sent, &sent);
    move_list(&k->backlog, &backlog);
    link_reset(k);
    note_links_up(k->pool);
    if (!k->pool->closing) {
        say_down(k, "queue.link.lost", why);
        metrics_add(METRIC_REDIS_ERRORS, 1);
        plan_retry(k, k->retry_ms);
        if (was_up)
            k->pool->user->on_down(k->pool->user, k->index);
    }
    settle_list(&sent, LINK_LOST);
    settle_list(&backlog, LINK_UNSENT);
    /* A sticky command for any link need not wait for this one. */
    if (!k->pool->closing && link_any_up(k->pool))
        timer_start(&k->pool->sticky_retry, 0);
}

/* ---- the pool -------------------------------------------------------------- */

static void
link_init(struct link *k, struct link_pool *p, unsigned index)
{
    k->pool = p;
    k->index = index;
    k->retry_ms = RETRY_FIRST_MS;
    list_init(&k->sent);
    list_init(&k->backlog);
    timer_init(&k->deadline, p->loop, on_deadline);
    timer_init(&k->retry, p->loop, on_retry);
}

struct link_pool *
link_pool_open(struct loop *l, const struct link_pool_config *cfg, struct link_pool_user *user)
{
    unsigned count = cfg->count;
    BUG_ON(count < 1 || count > LINKS_MAX);
    struct link_pool *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->loop = l;
    p->cfg = *cfg;
    p->count = count;
    p->timeout_ms = cfg->timeout_ms;
    if (cfg->tls != NULL)
        net_address_format_ip(&cfg->redis, p->redis_ip);
    p->user = user;
    p->scripts = scripts_new();
    list_init(&p->waiting);
    list_init(&p->failing);
    deferred_init(&p->fail_call, l, fail_all);
    timer_init(&p->sticky_retry, l, on_sticky_retry);
    for (unsigned i = 0; i <= count; i++) {
        link_init(&p->links[i], p, i);
        link_start(&p->links[i]);
    }
    return p;
}

void
link_pool_close(struct link_pool *p)
{
    p->closing = true;
    for (unsigned i = 0; i <= p->count; i++) {
        if (p->links[i].state == LINK_CONNECTING)
            connect_cancel(&p->links[i].connect);
        link_down(&p->links[i], "closing");
    }
    settle_list(&p->waiting, LINK_UNSENT);
    while (!list_empty(&p->failing))
        fail_all(&p->fail_call);
    deferred_cancel(&p->fail_call);
    timer_cancel(&p->sticky_retry);
}

bool
link_pool_try_free(struct link_pool *p)
{
    for (unsigned i = 0; i <= p->count; i++)
        if (p->links[i].state == LINK_CONNECTING)
            return false;
    scripts_free(p->scripts);
    free(p);
    return true;
}

unsigned
link_count(const struct link_pool *p)
{
    return p->count;
}

bool
link_is_up(const struct link_pool *p, unsigned link)
{
    return p->links[link].state == LINK_UP;
}

unsigned
link_up(const struct link_pool *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->links[i].state == LINK_UP)
            return i;
    return LINK_ANY;
}

bool
link_any_up(const struct link_pool *p)
{
    return link_up(p) != LINK_ANY;
}

bool
link_all_up(const struct link_pool *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (!link_is_up(p, i))
            return false;
    return true;
}

unsigned
link_up_near(const struct link_pool *p, unsigned preferred)
{
    for (unsigned i = 0; i < p->count; i++)
        if (link_is_up(p, (preferred + i) % p->count))
            return (preferred + i) % p->count;
    return preferred;
}

const struct scripts *
link_scripts(const struct link_pool *p)
{
    return p->scripts;
}
