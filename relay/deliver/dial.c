/*
 * Happy path: the addresses are put into order, the first that is not known to
 * be down is opened, and its READY is the end.
 *
 * Ways it ends: a client that is READY; every address failed or was passed
 * over; a failure that concerns the whole site; DIAL_TOTAL_MS; cancelled.
 */
#include "relay/deliver/dial.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

struct dial_try {
    char mx[ADDRESS_DOMAIN_MAX + 1];
    struct net_address address;
};

struct dial_state {
    struct dial_op *op;
    struct client_env *env;
    struct hosts *hosts;
    struct dial_try tries[MX_ADDRESSES_MAX];
    unsigned count, at;
    bool in_clear; /* the address at `at` once more, without TLS */
    uint64_t until_ms;
    struct client *client; /* the one being opened */
    struct client_user user;
    struct deferred next;
};

static void
end(struct dial_state *d, struct client *client)
{
    struct dial_op *op = d->op;
    deferred_cancel(&d->next);
    op->state = NULL;
    op->client = client;
    free(d);
    op->done(op);
}

/* The order of hosts: by preference, equal ones shuffled (RFC 5321 5.1). */
static void
order_hosts(const struct route *r, unsigned order[MX_HOSTS_MAX])
{
    for (unsigned i = 0; i < r->host_count; i++)
        order[i] = i;
    for (unsigned from = 0; from < r->host_count;) {
        unsigned to = from + 1;
        while (to < r->host_count && r->hosts[to].preference == r->hosts[from].preference)
            to++;
        for (unsigned i = to - 1; i > from; i--) {
            unsigned j = from + random_below(i - from + 1);
            unsigned swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        from = to;
    }
}

static void
plan(struct dial_state *d, const struct route *r)
{
    unsigned order[MX_HOSTS_MAX];
    order_hosts(r, order);
    for (unsigned i = 0; i < r->host_count; i++) {
        const struct route_host *h = &r->hosts[order[i]];
        for (unsigned a = 0; a < h->address_count && d->count < MX_ADDRESSES_MAX; a++) {
            struct dial_try *t = &d->tries[d->count++];
            memcpy(t->mx, h->name, sizeof t->mx);
            t->address = r->addresses[h->first_address + a];
        }
    }
}

static void
pass_host(struct dial_state *d)
{
    const struct dial_try *failed = &d->tries[d->at];
    while (d->at < d->count && strcmp(d->tries[d->at].mx, failed->mx) == 0)
        d->at++;
}

static void
log_failure(const struct dial_state *d)
{
    char ip[64];
    net_address_format_ip(&d->tries[d->at].address, ip);
    const struct finding *f = &d->op->failure;
    LOG(LOG_INFO, "delivery.host-failed", LF_STR("mx", d->tries[d->at].mx), LF_STR("address", ip),
        LF_STR("phase", outcome_phase_name(f->phase)), LF_U("code", f->code),
        LF_S("text", slice_from(f->text, f->text_bytes)));
}

/* Moves `at` (and in_clear) on after a failure; false: nothing else is tried. */
static bool
step(struct dial_state *d, const struct finding *f)
{
    const struct dial_try *t = &d->tries[d->at];
    bool was_clear = d->in_clear;
    d->in_clear = false;
    switch (outcome_rule(f->phase, f->seen)->scope) {
    case SCOPE_NO_TLS:
        hosts_note_tls_broken(d->hosts, &t->address);
        d->in_clear = !was_clear;
        d->at += was_clear;
        return true;
    case SCOPE_HOST:
        hosts_note_down(d->hosts, &t->address);
        pass_host(d);
        return true;
    case SCOPE_SITE:
        return false;
    default:
        hosts_note_down(d->hosts, &t->address);
        d->at++;
        return true;
    }
}

static void
on_closed(struct client_user *u)
{
    struct dial_state *d = container_of(u, struct dial_state, user);
    struct finding *f = &d->op->failure;
    *f = *client_failure(d->client);
    memcpy(d->op->mx, d->tries[d->at].mx, sizeof d->op->mx);
    log_failure(d);
    client_free(d->client);
    d->client = NULL;
    if (step(d, f))
        deferred_schedule(&d->next);
    else
        end(d, NULL);
}

static void
on_ready(struct client_user *u)
{
    struct dial_state *d = container_of(u, struct dial_state, user);
    hosts_note_up(d->hosts, &d->tries[d->at].address);
    end(d, d->client);
}

static void
try_next(struct deferred *deferred)
{
    struct dial_state *d = container_of(deferred, struct dial_state, next);
    while (d->at < d->count && !d->in_clear &&
           hosts_down_for_ms(d->hosts, &d->tries[d->at].address) > 0)
        d->at++;
    if (d->at == d->count || clock_mono_ms() >= d->until_ms) {
        end(d, NULL);
        return;
    }
    const struct dial_try *t = &d->tries[d->at];
    bool tls = !d->in_clear && !hosts_tls_broken(d->hosts, &t->address);
    d->client = client_open(d->env, t->mx, &t->address, tls, &d->user);
}

void
dial_start(struct dial_op *op, struct client_env *env, struct hosts *hosts,
           const struct route *route)
{
    struct dial_state *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    d->op = op;
    d->env = env;
    d->hosts = hosts;
    d->user = (struct client_user){on_ready, on_closed};
    d->until_ms = clock_mono_ms() + clock_scaled_ms(DIAL_TOTAL_MS);
    op->state = d;
    op->client = NULL;
    op->mx[0] = '\0';
    finding_from_us(&op->failure, PHASE_CONNECT, SEEN_LOST,
                    "every host of this site failed a moment ago");
    plan(d, route);
    deferred_init(&d->next, env->loop, try_next);
    deferred_schedule(&d->next);
}

void
dial_cancel(struct dial_op *op)
{
    struct dial_state *d = op->state;
    if (d == NULL)
        return;
    if (d->client != NULL)
        client_free(d->client);
    d->client = NULL;
    d->at = d->count;
    d->in_clear = false;
    finding_from_us(&op->failure, PHASE_CONNECT, SEEN_OURS, "delivery is shutting down");
    deferred_schedule(&d->next);
}
