/*
 * The life of a link, and the pool of them; what is sent on it is link_cmd.c's affair.
 *
 * Happy path: down -> connecting -> greeting -> up; commands are written as
 * they are started and answered in order.
 *
 * Ways a link ends: the connection fails or ends, the oldest command is not
 * answered in time, a reply that no Redis would send, a greeting that is
 * refused, or the pool closes. All go through link_down(), which settles every
 * command and plans the next try.
 */
#include "queue/link_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum {
    INPUT_BYTES = 256 << 10,
    RETRY_FIRST_MS = 50, /* a restarted Redis is back in well under a second */
    RETRY_MOST_MS = 1000,
    REFUSED_RETRY_MS = 1000,
};

static void link_start(struct link *k);
static void link_down(struct link *k, const char *why);

static bool
is_subscriber(const struct link *k)
{
    return k->index == k->pool->count;
}

/* ---- input ----------------------------------------------------------------- */

static void
take_object(struct link *k, redisReply *r)
{
    if (is_subscriber(k) && k->state == LINK_UP) {
        if (resp_is(resp_at(r, 0), "message"))
            k->pool->user->on_hint(k->pool->user, resp_text(resp_at(r, 2)));
        return;
    }
    if (!link_cmds_take_reply(k, r))
        link_down(k, "a reply to no command");
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
        link_cmds_flush(k);
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
    link_cmds_release(p);
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
    link_cmds_settle(&sent, LINK_LOST);
    link_cmds_settle(&backlog, LINK_UNSENT);
    /* A sticky command for any link need not wait for this one. */
    if (!k->pool->closing && link_any_up(k->pool))
        link_cmds_release_soon(k->pool);
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
    link_cmds_init(p);
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
    link_cmds_close(p);
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
