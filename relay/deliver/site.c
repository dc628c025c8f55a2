/*
 * Happy path: site_add() puts the attempt into the ready list; dispatch() gives
 * it an idle connection, or dials a new one while the limits allow; the
 * connection runs one attempt after the other, then rests in the pool.
 *
 * Ways it goes wrong: a dial finds no host. While other connections live, the
 * site only gets a lower limit; when there is none, all that is ready fails with
 * what the dial found, and the site is down for SITE_BACKOFF_MS: what comes
 * meanwhile goes back to the queue untouched.
 */
#include "relay/deliver/site.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

#define uthash_fatal(msg) bug_abort(__FILE__, __LINE__, msg)
#include <uthash.h>

enum { SITE_CLASSES = QUEUE_BULK + 1 };

struct site {
    struct sites *sites;
    struct route route; /* the newest */
    unsigned refs;
    struct list ready[SITE_CLASSES]; /* attempts, in order */
    unsigned ready_of[SITE_CLASSES], ready_count;
    unsigned overtaken; /* times in a row that bulk has waited for the other class */
    struct list dials, conns;
    struct list idle; /* pool entries of conns */
    unsigned dialing, open;
    unsigned limit;  /* connections, 1..site_connections_max */
    unsigned earned; /* deliveries since the limit changed */
    uint64_t moved_ms;
    struct list_node starved;
    uint64_t down_until_ms; /* monotonic */
    struct finding failure; /* of the last dial or connection that failed */
    char failure_mx[ADDRESS_DOMAIN_MAX + 1];
    UT_hash_handle hh;
};

struct site_dial {
    struct dial_op op;
    struct site *site;
    struct list_node node;
};

struct site_conn {
    struct client *client;
    struct client_user user;
    struct attempt_runner runner;
    struct site *site;
    struct attempt *attempt; /* NULL: none */
    struct pool_entry pool;
    struct list_node node;
};

static void dispatch(struct site *site);

/* ---- the ready list ------------------------------------------------------ */

static void
ready_count_in(struct site *site, enum queue_class class)
{
    site->ready_of[class]++;
    site->ready_count++;
}

static void
ready_push(struct site *site, struct attempt *a)
{
    list_push(&site->ready[attempt_class(a)], attempt_node(a));
    ready_count_in(site, attempt_class(a));
}

static void
ready_push_front(struct site *site, struct attempt *a)
{
    list_push_front(&site->ready[attempt_class(a)], attempt_node(a));
    ready_count_in(site, attempt_class(a));
}

/* Transactional mail overtakes bulk, which keeps one turn in SITE_BULK_TURN. */
static enum queue_class
ready_class(struct site *site)
{
    bool both = site->ready_of[QUEUE_TRANSACTIONAL] > 0 && site->ready_of[QUEUE_BULK] > 0;
    if (!both)
        return site->ready_of[QUEUE_BULK] > 0 ? QUEUE_BULK : QUEUE_TRANSACTIONAL;
    if (++site->overtaken < SITE_BULK_TURN)
        return QUEUE_TRANSACTIONAL;
    site->overtaken = 0;
    return QUEUE_BULK;
}

static struct attempt *
ready_pop(struct site *site)
{
    if (site->ready_count == 0)
        return NULL;
    enum queue_class class = ready_class(site);
    site->ready_of[class]--;
    site->ready_count--;
    return attempt_from_node(list_pop(&site->ready[class]));
}

/* ---- health ------------------------------------------------------------- */

static void
note_failure(struct site *site, const struct finding *f, const char *mx)
{
    site->failure = *f;
    BUG_ON(!slice_to_cstr(slice_str(mx), site->failure_mx, sizeof site->failure_mx));
}

static void
lower_limit(struct site *site, unsigned to)
{
    if (to < 1)
        to = 1;
    site->earned = 0;
    if (to >= site->limit)
        return;
    site->limit = to;
    LOG(LOG_INFO, "delivery.site-limited", LF_STR("site", site->route.site_key),
        LF_U("connections", to));
}

static void
earn(struct site *site)
{
    site->moved_ms = clock_mono_ms();
    if (site->limit < site->sites->config->site_connections_max &&
        ++site->earned >= SITE_EARN_SUCCESSES) {
        site->earned = 0;
        site->limit++;
    }
}

static uint64_t
down_for_ms(const struct site *site)
{
    uint64_t now = clock_mono_ms();
    if (site->open > 0 || site->dialing > 0 || site->down_until_ms <= now)
        return 0;
    return site->down_until_ms - now;
}

static void
fail_ready(struct site *site)
{
    struct attempt *a;
    LOG(LOG_NOTICE, "delivery.site-down", LF_STR("site", site->route.site_key),
        LF_U("waiting", site->ready_count), LF_STR("mx", site->failure_mx),
        LF_S("text", slice_from(site->failure.text, site->failure.text_bytes)));
    while ((a = ready_pop(site)) != NULL)
        attempt_end(a, &site->failure, slice_str(site->failure_mx));
}

static void
give_back_ready(struct site *site)
{
    struct attempt *a;
    while ((a = ready_pop(site)) != NULL)
        attempt_give_back(a, 0);
}

/* ---- the worker's share of connections ------------------------------------ */

/* The first site that still needs a connection has its turn. */
static void
wake_starved(struct sites *s)
{
    struct list_node *n;
    while ((n = list_pop(&s->starved)) != NULL) {
        struct site *site = container_of(n, struct site, starved);
        if (site->ready_count > 0) {
            dispatch(site);
            return;
        }
    }
}

static void
give_up_connection(struct site *site)
{
    metrics_set(GAUGE_CONNECTIONS_MX, --site->sites->connections);
    wake_starved(site->sites);
}

/* ---- connections --------------------------------------------------------- */

static void
conn_forget(struct site_conn *conn)
{
    struct site *site = conn->site;
    pool_remove(&conn->pool);
    list_remove(&conn->node);
    free(conn);
    site->open--;
    give_up_connection(site);
}

static void
conn_quit(struct site_conn *conn)
{
    /* Its peer may have closed it in this very turn. */
    if (client_state(conn->client) == CLIENT_READY)
        client_quit(conn->client);
    else
        client_free(conn->client);
    conn_forget(conn);
}

static void
on_pool_expire(struct pool_entry *e)
{
    conn_quit(container_of(e, struct site_conn, pool));
}

static void
conn_run(struct site_conn *conn, struct attempt *a)
{
    conn->attempt = a;
    attempt_run(a, conn->client, &conn->runner);
}

/* The connection has nothing to do. */
static void
conn_next(struct site_conn *conn)
{
    struct site *site = conn->site;
    bool worn = client_messages(conn->client) >= MESSAGES_PER_CONNECTION_MAX;
    struct attempt *a = worn || site->sites->draining ? NULL : ready_pop(site);
    if (a != NULL) {
        conn_run(conn, a);
    } else if (worn || site->sites->draining) {
        conn_quit(conn);
        dispatch(site);
    } else {
        pool_put(&site->sites->pool, &site->idle, &conn->pool);
        wake_starved(site->sites);
    }
}

static void
on_ready(struct client_user *u)
{
    struct site_conn *conn = container_of(u, struct site_conn, user);
    if (conn->attempt != NULL)
        attempt_run(conn->attempt, conn->client, &conn->runner);
    else
        conn_next(conn);
}

static void
on_closed(struct client_user *u)
{
    struct site_conn *conn = container_of(u, struct site_conn, user);
    struct site *site = conn->site;
    struct attempt *a = conn->attempt;
    if (a != NULL) {
        attempt_lost_client(a);
        ready_push_front(site, a);
    }
    client_free(conn->client);
    conn_forget(conn);
    dispatch(site);
}

static void
on_move(struct attempt_runner *r, struct attempt *a, bool host_failed)
{
    struct site_conn *conn = container_of(r, struct site_conn, runner);
    struct site *site = conn->site;
    conn->attempt = NULL;
    ready_push_front(site, a);
    if (!host_failed)
        return;
    const struct finding *f = client_failure(conn->client);
    note_failure(site, f, client_mx(conn->client));
    /* A connection that ended in the middle may be this message's own doing;
     * the host's own words, or its silence, concern every message. */
    if (f->seen == SEEN_CLOSING || f->seen == SEEN_TIMEOUT) {
        hosts_note_down(site->sites->hosts, client_address(conn->client));
        lower_limit(site, site->open - 1);
    }
}

static void
on_over(struct attempt_runner *r, struct attempt *a, bool client_idle)
{
    struct site_conn *conn = container_of(r, struct site_conn, runner);
    (void)a;
    conn->attempt = NULL;
    if (!client_idle && client_state(conn->client) != CLIENT_CLOSED)
        earn(conn->site);
    if (client_idle && client_state(conn->client) == CLIENT_READY)
        conn_next(conn);
}

static void
conn_new(struct site *site, struct client *client)
{
    struct site_conn *conn = calloc(1, sizeof *conn);
    BUG_ON(conn == NULL);
    conn->site = site;
    conn->client = client;
    conn->user = (struct client_user){.on_ready = on_ready, .on_closed = on_closed};
    conn->runner = (struct attempt_runner){on_move, on_over};
    list_node_init(&conn->node);
    list_push(&site->conns, &conn->node);
    pool_entry_init(&conn->pool, site->sites->loop, on_pool_expire);
    client_set_user(client, &conn->user);
    site->open++;
    conn_next(conn);
}

/* ---- dialing ------------------------------------------------------------- */

static void
dial_failed(struct site *site, const struct dial_op *op)
{
    bool somebody_was_tried = op->mx[0] != '\0' || site->failure.text_bytes == 0;
    if (somebody_was_tried)
        note_failure(site, &op->failure, op->mx);
    site->down_until_ms = clock_mono_ms() + clock_scaled_ms(SITE_BACKOFF_MS);
    if (site->sites->draining)
        give_back_ready(site);
    else if (site->open + site->dialing > 0)
        lower_limit(site, site->open + site->dialing);
    else
        fail_ready(site);
    give_up_connection(site);
}

static void
on_dialed(struct dial_op *op)
{
    struct site_dial *d = container_of(op, struct site_dial, op);
    struct site *site = d->site;
    list_remove(&d->node);
    site->dialing--;
    if (op->client != NULL) {
        site->down_until_ms = 0;
        conn_new(site, op->client);
    } else {
        dial_failed(site, op);
    }
    free(d);
}

static void
dial(struct site *site)
{
    struct site_dial *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    d->site = site;
    list_node_init(&d->node);
    list_push(&site->dials, &d->node);
    site->dialing++;
    metrics_set(GAUGE_CONNECTIONS_MX, ++site->sites->connections);
    d->op.done = on_dialed;
    dial_start(&d->op, &site->sites->clients, site->sites->hosts, &site->route);
}

/* Whether one more connection may be opened; waits for a turn otherwise. */
static bool
may_dial(struct site *site)
{
    struct sites *s = site->sites;
    if (site->dialing >= site->ready_count || site->open + site->dialing >= site->limit)
        return false;
    if (s->connections >= s->config->connections_max)
        pool_evict(&s->pool);
    if (s->connections < s->config->connections_max)
        return true;
    if (!list_node_linked(&site->starved))
        list_push(&s->starved, &site->starved);
    return false;
}

static void
dispatch(struct site *site)
{
    struct pool_entry *e;
    if (site->sites->draining) {
        give_back_ready(site);
        return;
    }
    while (site->ready_count > 0 && (e = pool_take(&site->idle)) != NULL) {
        struct site_conn *conn = container_of(e, struct site_conn, pool);
        if (client_state(conn->client) == CLIENT_READY) /* else its on_closed comes */
            conn_run(conn, ready_pop(site));
    }
    while (may_dial(site))
        dial(site);
}

void
site_add(struct site *site, struct attempt *a)
{
    uint64_t down_ms = down_for_ms(site);
    if (site->sites->draining) {
        attempt_give_back(a, 0);
    } else if (down_ms > 0) {
        attempt_give_back(a, down_ms + 1);
    } else if (site->ready_of[attempt_class(a)] >= SITE_READY_MAX) {
        bool moving = clock_mono_ms() - site->moved_ms < SITE_STUCK_DELAY_MS;
        attempt_give_back(a, moving ? SITE_MOVING_DELAY_MS : SITE_STUCK_DELAY_MS);
    } else {
        ready_push(site, a);
        dispatch(site);
    }
}

/* ---- all sites ------------------------------------------------------------ */

struct site *
sites_get(struct sites *s, const struct route *route)
{
    struct site *site;
    HASH_FIND_STR(s->table, route->site_key, site);
    if (site == NULL) {
        site = calloc(1, sizeof *site);
        BUG_ON(site == NULL);
        site->sites = s;
        site->limit = s->config->site_connections_max;
        for (int i = 0; i < SITE_CLASSES; i++)
            list_init(&site->ready[i]);
        list_init(&site->dials);
        list_init(&site->conns);
        list_init(&site->idle);
        list_node_init(&site->starved);
        site->route = *route;
        HASH_ADD_STR(s->table, route.site_key, site);
        return site;
    }
    site->route = *route; /* the key is the same */
    return site;
}

struct site *
site_ref(struct site *site)
{
    site->refs++;
    return site;
}

void
site_unref(struct site **site)
{
    if (*site != NULL)
        (*site)->refs--;
    *site = NULL;
}

static bool
site_is_quiet(const struct site *site)
{
    return site->refs == 0 && site->ready_count == 0 && site->open == 0 && site->dialing == 0;
}

static void
site_free(struct site *site)
{
    list_remove(&site->starved);
    HASH_DELETE(hh, site->sites->table, site);
    free(site);
}

void
sites_sweep(struct sites *s)
{
    struct site *site, *next;
    HASH_ITER(hh, s->table, site, next)
    if (site_is_quiet(site) && site->down_until_ms <= clock_mono_ms())
        site_free(site);
}

void
sites_init(struct sites *s, struct loop *l, const struct config *config, struct tls_context *tls)
{
    *s = (struct sites){.loop = l, .config = config, .hosts = hosts_new()};
    client_env_init(&s->clients, l, config->hostname, tls);
    pool_init(&s->pool);
    list_init(&s->starved);
}

void
sites_drain(struct sites *s)
{
    struct site *site, *next;
    s->draining = true;
    pool_expire_all(&s->pool);
    HASH_ITER(hh, s->table, site, next)
    {
        give_back_ready(site);
        LIST_EACH(&site->dials, n)
        {
            dial_cancel(&container_of(n, struct site_dial, node)->op);
        }
    }
}

void
sites_withdraw(struct sites *s)
{
    struct site *site, *next;
    BUG_ON(!s->draining);
    HASH_ITER(hh, s->table, site, next)
    LIST_EACH(&site->conns, n)
    {
        struct site_conn *conn = container_of(n, struct site_conn, node);
        if (conn->attempt != NULL)
            attempt_withdraw(conn->attempt);
        else
            conn_quit(conn);
    }
}

bool
sites_busy(const struct sites *s)
{
    return s->connections > 0 || client_env_busy(&s->clients);
}

void
sites_fini(struct sites *s)
{
    struct site *site, *next;
    pool_expire_all(&s->pool);
    BUG_ON(sites_busy(s));
    HASH_ITER(hh, s->table, site, next)
    {
        BUG_ON(!site_is_quiet(site));
        site_free(site);
    }
    client_env_fini(&s->clients);
    hosts_free(s->hosts);
}
