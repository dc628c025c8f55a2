/*
 * Happy path: everything is opened, "ready" is said once the queue is up, mail
 * flows until "drain" comes or the control socket ends; then no new sessions
 * and jobs are begun, those under way come to their end, and the leases are
 * released.
 *
 * Ways it ends: drained (0), drained too long (0, what was under way is
 * recovered by the next owner), could not open (70).
 */
#include "relay/sys/proc/worker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "dkim/checker_client.h"
#include "dkim/signer_client.h"
#include "relay/accept/credential.h"
#include "relay/accept/policy/preflight.h"
#include "relay/accept/smtp/server.h"
#include "relay/accept/submit.h"
#include "relay/deliver/deliver.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/config/follow.h"
#include "relay/sys/net/control.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/resolver.h"
#include "relay/sys/net/tls.h"
#include "relay/sys/net/work.h"
#include "relay/sys/proc/child.h"

enum {
    READY_POLL_MS = 10,
    BACKLOG_WAIT_MS = 2000, /* for a queue that is not up yet */
    DRAIN_POLL_MS = 20,
    DRAIN_MAX_MS = 25000, /* ordered; the supervisor kills at 30 s */
    EXIT_SOFTWARE = 70,
};

struct worker {
    const struct worker_config *cfg;
    struct config config; /* all parts see this one; a reload overwrites it (config.h) */
    const struct config *in_force, *next;
    struct config_follower follower;
    struct loop *loop;
    struct tls_context *tls_server, *tls_client, *tls_redis, *tls_next;
    struct resolver *resolver;
    struct signer_client *signers;
    struct checker_client *checker;
    struct preflight *preflight;
    struct deliver *deliver;
    struct queue *queue;
    struct submit_door *door;
    struct credentials *credentials;
    struct smtp_server *smtp;
    struct api *api;
    struct control *control;
    struct control_user control_user;
    struct timer ready_poll, drain_poll;
    bool draining, listening;
    uint64_t started_ms, drain_until_ms;
    struct queue_close_op closing;
};

/* ---- ending -------------------------------------------------------------- */

static void
queue_closed(struct queue_close_op *op)
{
    struct worker *w = container_of(op, struct worker, closing);
    w->queue = NULL;
    loop_stop(w->loop);
}

static bool
is_busy(const struct worker *w)
{
    return smtp_server_busy(w->smtp) || api_busy(w->api) || submit_door_pending(w->door) > 0 ||
           deliver_busy(w->deliver) || queue_busy(w->queue) || work_pending() > 0;
}

static void
drain_polls(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, drain_poll);
    bool busy = is_busy(w);
    if (busy && clock_mono_ms() < w->drain_until_ms) {
        timer_start(t, DRAIN_POLL_MS);
        return;
    }
    LOG(LOG_INFO, "worker.drained", LF_B("complete", !busy));
    credentials_close(w->credentials);
    if (busy) /* what is left belongs to the next owner: leave as if killed */
        _exit(0);
    w->closing.done = queue_closed;
    queue_close_start(&w->closing, w->queue);
}

static void
drain(struct worker *w, uint64_t limit_ms)
{
    uint64_t until = clock_mono_ms() + limit_ms;
    if (!w->draining || until < w->drain_until_ms)
        w->drain_until_ms = until;
    if (w->draining)
        return;
    w->draining = true;
    timer_cancel(&w->ready_poll); /* no new listeners */
    LOG0(LOG_INFO, "worker.draining");
    smtp_server_drain(w->smtp);
    api_drain(w->api);
    deliver_drain(w->deliver);
    queue_drain(w->queue);
    timer_start(&w->drain_poll, 0);
}

/* ---- control socket ------------------------------------------------------ */

static void
on_control_line(struct control_user *u, struct slice line)
{
    struct worker *w = container_of(u, struct worker, control_user);
    uint8_t owner[QUEUE_OWNER_BYTES];
    if (slice_eq(line, SLICE(CONTROL_DRAIN)))
        drain(w, DRAIN_MAX_MS);
    else if (slice_starts(line, SLICE(CONTROL_DIED)) &&
             owner_from_hex(slice_skip(line, sizeof CONTROL_DIED - 1), owner))
        queue_owner_died(w->queue, owner);
    else if (!config_follow(&w->follower, w->control, line))
        LOG(LOG_WARN, "worker.control-unknown", LF_S("line", line));
}

static void
on_control_end(struct control_user *u)
{
    struct worker *w = container_of(u, struct worker, control_user);
    control_close(w->control);
    w->control = NULL;
    LOG0(LOG_NOTICE, "worker.supervisor-gone");
    drain(w, ORPHAN_DRAIN_MS - 1000);
}

/* ---- reload ---------------------------------------------------------------- */

static void
note_certificate(const struct worker *w)
{
    int64_t end_unix_s = tls_context_expiry_unix_s(w->tls_server);
    metrics_set(GAUGE_TLS_EXPIRY, end_unix_s > 0 ? (uint64_t)end_unix_s : 0);
}

static int
prepare_reload(struct config_follower *f, const struct config *next, struct err *err)
{
    struct worker *w = container_of(f, struct worker, follower);
    w->tls_next = tls_server_from_text(next->tls_cert_pem, next->tls_key_pem, err);
    if (w->tls_next == NULL)
        return -1;
    w->next = next;
    return 0;
}

static void
forget_reload(struct config_follower *f)
{
    struct worker *w = container_of(f, struct worker, follower);
    tls_context_free(w->tls_next);
    w->tls_next = NULL;
    config_free(w->next);
    w->next = NULL;
}

/* The first generation stays as long as the worker: see config.h. */
static void
commit_reload(struct config_follower *f)
{
    struct worker *w = container_of(f, struct worker, follower);
    const struct config *before = w->in_force;
    tls_context_swap(w->tls_server, w->tls_next);
    note_certificate(w);
    w->in_force = w->next;
    w->config = *w->next;
    w->next = before != w->cfg->config ? before : NULL;
    if (w->queue != NULL)
        queue_set_hold_uncertain(w->queue, w->config.hold_uncertain);
    LOG(LOG_INFO, "worker.reloaded", LF_U("generation", w->config.generation));
    forget_reload(f);
}

static int
open_listener(struct worker *w, unsigned i, struct err *err)
{
    const struct config_listener *c = &w->cfg->config->listeners[i];
    int fd = WORKER_FD_LISTEN + (int)i;
    struct net_prefix networks[PROXY_NETWORKS_MAX];
    struct net_proxies proxies = {networks, c->proxy_count};
    BUG_ON(c->proxy_count > PROXY_NETWORKS_MAX);
    for (unsigned k = 0; k < c->proxy_count; k++)
        BUG_ON(!net_prefix_parse(slice_str(c->proxies[k]), &networks[k]));
    if (c->kind == CONFIG_HTTPS)
        return api_listen_tls(w->api, fd, &proxies, w->tls_server, err);
    if (c->kind == CONFIG_HTTP)
        return api_listen(w->api, fd, &proxies, err);
    return smtp_server_listen(w->smtp, fd, c->kind == CONFIG_SMTPS, &proxies, err);
}

static int
open_listeners(struct worker *w, struct err *err)
{
    const struct config *c = &w->config;
    w->listening = true;
    for (unsigned i = 0; i < c->listener_count; i++)
        if (open_listener(w, i, err) != 0)
            return -1;
    return api_listen_control(w->api, WORKER_FD_OPERATORS, err);
}

/* Connections wait in the backlog until the queue is up and has said who may send, so
 * that the death of a worker costs its clients a moment and not a refusal; when Redis
 * stays away they are let in and told so. */
static void
ready_polls(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, ready_poll);
    struct err err = {0};
    enum queue_status status = queue_status(w->queue);
    bool up =
        (status == QUEUE_UP || status == QUEUE_FULL_NOW) && credentials_are_known(w->credentials);
    if (!w->listening && (up || clock_mono_ms() > w->started_ms + BACKLOG_WAIT_MS) &&
        open_listeners(w, &err) != 0) {
        LOG(LOG_ERROR, "worker.cannot-listen", LF_ERR(&err));
        _exit(EXIT_SOFTWARE);
    }
    if (!up) {
        timer_start(t, READY_POLL_MS);
        return;
    }
    LOG0(LOG_INFO, "worker.ready");
    char line[CONTROL_LINE_MAX];
    int n = snprintf(line, sizeof line, CONTROL_DATASET "%s\n" CONTROL_READY "\n",
                     queue_dataset(w->queue));
    if (!control_send(CHILD_FD_CONTROL, slice_from(line, (size_t)n), -1))
        LOG0(LOG_WARN, "worker.control-lost");
}

/* ---- opening ------------------------------------------------------------- */

static int
open_network(struct worker *w, struct err *err)
{
    const struct config *c = &w->config;
    struct resolver_config dns = {
        .forward = c->dns_forward[0] != '\0' ? c->dns_forward : NULL,
        .no_special_zones = c->development,
        .trust_anchor_file = c->dns_trust_anchor[0] != '\0' ? c->dns_trust_anchor : NULL,
    };
    w->tls_server = tls_server_from_text(c->tls_cert_pem, c->tls_key_pem, err);
    w->tls_client = tls_client_opportunistic_new(err);
    if (c->redis_tls && (w->tls_redis = tls_client_verifying_new(c->redis_ca_path, err)) == NULL)
        return -1;
    w->resolver = resolver_new(w->loop, &dns, err);
    if (w->tls_server == NULL || w->tls_client == NULL || w->resolver == NULL)
        return -1;
    note_certificate(w);
    w->signers = signer_client_new(w->loop, c->signer_sockets, c->signer_count);
    w->checker = checker_client_new(w->loop, w->resolver, c->checker_socket);
    w->preflight = preflight_new(w->loop, c, w->resolver, w->checker);
    return 0;
}

static int
open_queue(struct worker *w, struct err *err)
{
    const struct config *c = &w->config;
    struct queue_config q = {
        .dataset = w->cfg->dataset,
        .disk_dir = c->redis_embedded ? c->state_dir : NULL,
        .redis_user = c->redis_user,
        .redis_password = c->redis_password,
        .redis_tls = w->tls_redis,
        .links = c->redis_links,
        .lease_ms = c->lease_ms,
        .history_bytes = c->history_bytes,
        .history_age_ms = c->history_age_ms,
        .commit_timeout_ms = clock_scaled_ms(c->commit_timeout_ms),
        .unknown_timeout_ms = clock_scaled_ms(c->commit_unknown_timeout_ms),
        .idempotency_ttl_ms = 24ull * 3600 * 1000,
        .jobs_in_memory_max = 20000,
        .hold_uncertain = c->hold_uncertain,
    };
    memcpy(q.owner, w->cfg->owner, sizeof q.owner);
    if (!net_address_parse(slice_str(c->redis), &q.redis))
        return err_set(err, ERR_CONFIG, "redis: %s is not an address", c->redis);
    struct deliver_parts parts = {.loop = w->loop,
                                  .config = c,
                                  .resolver = w->resolver,
                                  .signers = w->signers,
                                  .tls = w->tls_client};
    w->deliver = deliver_new(&parts);
    w->queue = queue_open(w->loop, &q, deliver_consumer(w->deliver));
    deliver_set_queue(w->deliver, w->queue);
    return 0;
}

static void
open_doors(struct worker *w)
{
    const struct config *c = &w->config;
    w->door = submit_door_new(w->loop, c, w->queue, w->signers);
    submit_door_set_preflight(w->door, w->preflight);
    w->credentials = credentials_new(w->loop, c);
    credentials_use_queue(w->credentials, w->queue);
    submit_door_set_credentials(w->door, w->credentials);
    struct smtp_server_parts smtp = {.loop = w->loop,
                                     .config = c,
                                     .door = w->door,
                                     .credentials = w->credentials,
                                     .preflight = w->preflight,
                                     .queue = w->queue,
                                     .tls = w->tls_server};
    w->smtp = smtp_server_new(&smtp);
    struct api_parts api = {.loop = w->loop,
                            .config = c,
                            .queue = w->queue,
                            .door = w->door,
                            .credentials = w->credentials,
                            .preflight = w->preflight};
    w->api = api_new(&api);
}

static void
worker_fini(struct worker *w)
{
    timer_cancel(&w->ready_poll);
    timer_cancel(&w->drain_poll);
    control_close(w->control);
    smtp_server_free(w->smtp);
    api_free(w->api);
    submit_door_free(w->door);
    credentials_free(w->credentials);
    deliver_free(w->deliver);
    signer_client_free(w->signers);
    preflight_free(w->preflight);
    checker_client_free(w->checker);
    resolver_free(w->resolver);
    tls_context_free(w->tls_server);
    tls_context_free(w->tls_client);
    tls_context_free(w->tls_redis);
    forget_reload(&w->follower);
    if (w->in_force != w->cfg->config)
        config_free(w->in_force);
    loop_free(w->loop);
}

int
worker_run(const struct worker_config *cfg)
{
    struct err err = {0};
    struct worker w = {.cfg = cfg, .loop = loop_new(), .started_ms = clock_mono_ms()};
    w.config = *cfg->config;
    w.in_force = cfg->config;
    w.control_user = (struct control_user){.on_line = on_control_line, .on_end = on_control_end};
    w.follower = (struct config_follower){.control_fd = CHILD_FD_CONTROL,
                                          .prepare = prepare_reload,
                                          .commit = commit_reload,
                                          .forget = forget_reload};
    timer_init(&w.ready_poll, w.loop, ready_polls);
    timer_init(&w.drain_poll, w.loop, drain_polls);
    w.control = control_open(w.loop, CHILD_FD_CONTROL, &w.control_user, &err);
    if (w.control == NULL || open_network(&w, &err) != 0 || open_queue(&w, &err) != 0) {
        LOG(LOG_ERROR, "worker.cannot-start", LF_ERR(&err));
        return EXIT_SOFTWARE;
    }
    open_doors(&w);
    timer_start(&w.ready_poll, 0);
    loop_run(w.loop);
    worker_fini(&w);
    return 0;
}
