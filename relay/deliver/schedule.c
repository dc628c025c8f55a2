/*
 * Happy path: a job becomes an attempt; its next hop's route is known, or is
 * asked for once while all attempts for that hop wait; then they go to the site.
 *
 * Ways it ends: the route's own verdict (no such domain, null MX, DNS trouble)
 * ends the attempts that waited; draining gives them back.
 */
#include "relay/deliver/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

#define uthash_fatal(msg) bug_abort(__FILE__, __LINE__, msg)
#include <uthash.h>

/* A next hop: a domain, and what is known of its route until until_ms. */
struct hop {
    struct schedule *schedule;
    struct route_op op;
    bool routing;
    struct list waiting; /* attempts, while routing */
    struct site *site;   /* NULL: unknown, or no route */
    struct finding failure;
    uint64_t until_ms; /* monotonic; 0: nothing is known */
    UT_hash_handle hh;
    size_t domain_bytes;
    char domain[];
};

static struct hop *
hop_get(struct schedule *s, struct slice domain)
{
    struct hop *hop;
    HASH_FIND(hh, s->table, domain.p, domain.n, hop);
    if (hop != NULL)
        return hop;
    hop = calloc(1, sizeof *hop + domain.n + 1);
    BUG_ON(hop == NULL);
    hop->schedule = s;
    list_init(&hop->waiting);
    hop->domain_bytes = domain.n;
    memcpy(hop->domain, domain.p, domain.n);
    HASH_ADD_KEYPTR(hh, s->table, hop->domain, hop->domain_bytes, hop);
    return hop;
}

static void
hop_free(struct hop *hop)
{
    struct schedule *s = hop->schedule;
    site_unref(&hop->site);
    HASH_DELETE(hh, s->table, hop);
    free(hop);
}

static void
hop_note_failure(struct hop *hop, const struct route *r)
{
    finding_from_us(&hop->failure, PHASE_ROUTE, r->verdict == ROUTE_PERM ? SEEN_PERM : SEEN_TEMP,
                    "%s", r->text);
    hop->failure.code = r->code;
    if (!enhanced_parse(slice_str(r->enhanced), &hop->failure.enhanced))
        hop->failure.enhanced = enhanced_derive(r->code);
}

static void
hop_note_route(struct hop *hop, const struct route *r)
{
    uint64_t keep_ms = HOP_FAILURE_KEPT_MS;
    site_unref(&hop->site);
    if (r->verdict == ROUTE_OK) {
        hop->site = site_ref(sites_get(hop->schedule->sites, r));
        keep_ms = (uint64_t)r->ttl_s * 1000;
        if (keep_ms > HOP_ROUTE_KEPT_MS)
            keep_ms = HOP_ROUTE_KEPT_MS;
    } else {
        hop_note_failure(hop, r);
    }
    /* At least this turn, so that those who waited for it can use it. */
    hop->until_ms = clock_mono_ms() + keep_ms + 1;
}

static void
hand_on(struct hop *hop, struct attempt *a)
{
    if (hop->schedule->draining)
        attempt_give_back(a, 0);
    else if (hop->site != NULL)
        site_add(hop->site, a);
    else
        attempt_end(a, &hop->failure, SLICE_NONE);
}

static void
on_route(struct route_op *op)
{
    struct hop *hop = container_of(op, struct hop, op);
    struct list_node *n;
    hop->routing = false;
    hop->schedule->routing--;
    hop_note_route(hop, op->route);
    route_free(op->route);
    op->route = NULL;
    while ((n = list_pop(&hop->waiting)) != NULL)
        hand_on(hop, attempt_from_node(n));
}

static void
ask_route(struct hop *hop)
{
    if (hop->routing)
        return;
    hop->routing = true;
    hop->schedule->routing++;
    route_start(&hop->op, hop->schedule->attempts->loop, &hop->schedule->route,
                slice_from(hop->domain, hop->domain_bytes), on_route);
}

void
schedule_add(struct schedule *s, struct queue_job *job)
{
    if (s->draining) {
        queue_job_release(s->attempts->queue, job, 0);
        return;
    }
    struct attempt *a = attempt_new(s->attempts, job);
    if (a == NULL)
        return;
    struct hop *hop = hop_get(s, attempt_next_hop(a));
    if (!hop->routing && hop->until_ms > clock_mono_ms()) {
        hand_on(hop, a);
        return;
    }
    list_push(&hop->waiting, attempt_node(a));
    ask_route(hop);
}

static void
on_sweep(struct timer *t)
{
    struct schedule *s = container_of(t, struct schedule, sweep);
    struct hop *hop, *next;
    uint64_t now = clock_mono_ms();
    HASH_ITER(hh, s->table, hop, next)
    if (!hop->routing && hop->until_ms <= now)
        hop_free(hop);
    sites_sweep(s->sites);
    timer_start(t, HOP_SWEEP_MS);
}

void
schedule_init(struct schedule *s, struct attempt_env *attempts, struct sites *sites,
              struct resolver *resolver)
{
    const struct config *c = attempts->config;
    *s = (struct schedule){.attempts = attempts,
                           .sites = sites,
                           .route = {.resolver = resolver,
                                     .mx_port = c->mx_port,
                                     .allow_loopback = c->loopback_only,
                                     .own_name = c->hostname}};
    timer_init(&s->sweep, attempts->loop, on_sweep);
    timer_start(&s->sweep, HOP_SWEEP_MS);
}

void
schedule_drain(struct schedule *s)
{
    struct hop *hop, *next;
    s->draining = true;
    timer_cancel(&s->sweep);
    HASH_ITER(hh, s->table, hop, next)
    if (hop->routing)
        route_cancel(&hop->op);
}

bool
schedule_busy(const struct schedule *s)
{
    return s->routing > 0;
}

void
schedule_fini(struct schedule *s)
{
    struct hop *hop, *next;
    BUG_ON(schedule_busy(s));
    timer_cancel(&s->sweep);
    HASH_ITER(hh, s->table, hop, next)
    hop_free(hop);
}
