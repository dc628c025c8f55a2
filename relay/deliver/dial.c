/*
 * Happy path: the addresses are put into order, the first that is not known to
 * be down is opened, and its READY is the end. While it only connects, a second
 * one of the same host may race it; from the first answer on there is one.
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

enum { RACERS = 2, NONE = MX_ADDRESSES_MAX };

/* A client being opened. */
struct racer {
    struct client_user user;
    struct dial_state *dial;
    struct client *client; /* NULL: none */
    unsigned at;           /* whose try it is */
    bool in_clear;
    bool second; /* counted in env->racing */
};

struct dial_state {
    struct dial_op *op;
    struct client_env *env;
    struct hosts *hosts;
    struct dial_try tries[MX_ADDRESSES_MAX];
    unsigned count;
    unsigned next;     /* the first that was not begun */
    unsigned clear_at; /* to be tried once more, without TLS; NONE: none */
    uint64_t until_ms;
    struct racer racers[RACERS];
    bool connected; /* the race is decided */
    struct timer stagger;
    struct deferred go_on;
};

/* Leaves its client to the caller. */
static struct client *
leave(struct racer *r)
{
    struct client *c = r->client;
    if (r->second)
        r->dial->env->racing--;
    r->second = false;
    r->client = NULL;
    return c;
}

static void
end(struct dial_state *d, struct client *client)
{
    struct dial_op *op = d->op;
    for (unsigned i = 0; i < RACERS; i++)
        client_free(leave(&d->racers[i]));
    timer_cancel(&d->stagger);
    deferred_cancel(&d->go_on);
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

/* ---- what failed ----------------------------------------------------------- */

static bool
same_host(const struct dial_state *d, unsigned a, unsigned b)
{
    return strcmp(d->tries[a].mx, d->tries[b].mx) == 0;
}

static void
pass_host(struct dial_state *d, unsigned failed)
{
    while (d->next < d->count && same_host(d, d->next, failed))
        d->next++;
}

static void
log_failure(const struct dial_state *d, const struct dial_try *t)
{
    char ip[64];
    net_address_format_ip(&t->address, ip);
    const struct finding *f = &d->op->failure;
    LOG(LOG_INFO, "delivery.host-failed", LF_STR("mx", t->mx), LF_STR("address", ip),
        LF_STR("phase", outcome_phase_name(f->phase)), LF_U("code", f->code),
        LF_S("text", slice_from(f->text, f->text_bytes)));
}

/* Decides what is tried after a failure; false: nothing. */
static bool
step(struct dial_state *d, const struct racer *r, const struct finding *f)
{
    const struct dial_try *t = &d->tries[r->at];
    switch (outcome_rule(f->phase, f->seen)->scope) {
    case SCOPE_NO_TLS:
        hosts_note_tls_broken(d->hosts, &t->address);
        if (!r->in_clear)
            d->clear_at = r->at;
        return true;
    case SCOPE_HOST:
        hosts_note_down(d->hosts, &t->address);
        pass_host(d, r->at);
        return true;
    case SCOPE_SITE:
        return false;
    default:
        hosts_note_down(d->hosts, &t->address);
        return true;
    }
}

static void
on_closed(struct client_user *u)
{
    struct racer *r = container_of(u, struct racer, user);
    struct dial_state *d = r->dial;
    const struct dial_try *t = &d->tries[r->at];
    d->op->failure = *client_failure(r->client);
    memcpy(d->op->mx, t->mx, sizeof d->op->mx);
    log_failure(d, t);
    client_free(leave(r));
    d->connected = false;
    if (step(d, r, &d->op->failure))
        deferred_schedule(&d->go_on);
    else
        end(d, NULL);
}

/* ---- the race --------------------------------------------------------------- */

static void
on_ready(struct client_user *u)
{
    struct racer *r = container_of(u, struct racer, user);
    hosts_note_up(r->dial->hosts, &r->dial->tries[r->at].address);
    end(r->dial, leave(r));
}

/* The loser's address did not fail: it is the next, should the winner's. */
static void
give_up(struct dial_state *d, struct racer *winner, struct racer *loser)
{
    if (loser->at < winner->at) {
        struct dial_try swap = d->tries[loser->at];
        d->tries[loser->at] = d->tries[winner->at];
        d->tries[winner->at] = swap;
        unsigned at = loser->at;
        loser->at = winner->at;
        winner->at = at;
    }
    d->next = loser->at;
    client_free(leave(loser));
}

static void
on_connected(struct client_user *u)
{
    struct racer *winner = container_of(u, struct racer, user);
    struct dial_state *d = winner->dial;
    d->connected = true;
    timer_cancel(&d->stagger);
    for (unsigned i = 0; i < RACERS; i++)
        if (&d->racers[i] != winner && d->racers[i].client != NULL)
            give_up(d, winner, &d->racers[i]);
}

static struct racer *
find_racer(struct dial_state *d, bool busy)
{
    for (unsigned i = 0; i < RACERS; i++)
        if ((d->racers[i].client != NULL) == busy)
            return &d->racers[i];
    return NULL;
}

static void
begin(struct dial_state *d, unsigned at, bool in_clear)
{
    const struct dial_try *t = &d->tries[at];
    bool second = find_racer(d, true) != NULL,
         tls = !in_clear && !hosts_tls_broken(d->hosts, &t->address);
    struct racer *r = find_racer(d, false);
    *r = (struct racer){
        .user = {.on_ready = on_ready, .on_closed = on_closed, .on_connected = on_connected},
        .dial = d,
        .at = at,
        .in_clear = in_clear,
        .second = second};
    d->env->racing += second;
    r->client = client_open(d->env, t->mx, &t->address, tls, &r->user);
    timer_start(&d->stagger, clock_scaled_ms(DIAL_STAGGER_MS));
}

static void
pass_what_is_down(struct dial_state *d)
{
    while (d->next < d->count && hosts_down_for_ms(d->hosts, &d->tries[d->next].address) > 0)
        d->next++;
}

/* Another address of the host whose connect is not answered yet. */
static void
race(struct dial_state *d)
{
    const struct racer *first = find_racer(d, true);
    pass_what_is_down(d);
    if (first == NULL || d->connected || find_racer(d, false) == NULL || d->next == d->count)
        return;
    if (same_host(d, first->at, d->next) && d->env->racing < DIAL_RACES_MAX)
        begin(d, d->next++, false);
}

static void
on_stagger(struct timer *t)
{
    race(container_of(t, struct dial_state, stagger));
}

static void
go_on(struct deferred *deferred)
{
    struct dial_state *d = container_of(deferred, struct dial_state, go_on);
    if (find_racer(d, true) != NULL) { /* of two one failed */
        race(d);
        return;
    }
    unsigned clear_at = d->clear_at;
    d->clear_at = NONE;
    pass_what_is_down(d);
    if ((clear_at == NONE && d->next == d->count) || clock_mono_ms() >= d->until_ms)
        end(d, NULL);
    else if (clear_at != NONE)
        begin(d, clear_at, true);
    else
        begin(d, d->next++, false);
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
    d->clear_at = NONE;
    for (unsigned i = 0; i < RACERS; i++)
        d->racers[i].dial = d;
    d->until_ms = clock_mono_ms() + clock_scaled_ms(DIAL_TOTAL_MS);
    op->state = d;
    op->client = NULL;
    op->mx[0] = '\0';
    finding_from_us(&op->failure, PHASE_CONNECT, SEEN_LOST,
                    "every host of this site failed a moment ago");
    plan(d, route);
    timer_init(&d->stagger, env->loop, on_stagger);
    deferred_init(&d->go_on, env->loop, go_on);
    deferred_schedule(&d->go_on);
}

void
dial_cancel(struct dial_op *op)
{
    struct dial_state *d = op->state;
    if (d == NULL)
        return;
    for (unsigned i = 0; i < RACERS; i++)
        client_free(leave(&d->racers[i]));
    timer_cancel(&d->stagger);
    d->next = d->count;
    d->clear_at = NONE;
    finding_from_us(&op->failure, PHASE_CONNECT, SEEN_OURS, "delivery is shutting down");
    deferred_schedule(&d->go_on);
}
