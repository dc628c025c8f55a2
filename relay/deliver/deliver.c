/* The worker's delivery: wires schedule, sites, attempts, bounces and events. */
#include "relay/deliver/deliver.h"

#include <stdlib.h>

#include "relay/deliver/bounce.h"
#include "relay/deliver/schedule.h"
#include "relay/event/event.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

struct deliver {
    struct queue_consumer consumer;
    struct attempt_env attempts;
    struct sites sites;
    struct schedule schedule;
    struct bounce_env bounces;
    struct timer grace; /* of a drain */
};

static void
on_job(struct queue_consumer *c, struct queue_job *job)
{
    schedule_add(&container_of(c, struct deliver, consumer)->schedule, job);
}

static void
on_notice(struct queue_consumer *c, struct queue_notice *n)
{
    bounce_start(&container_of(c, struct deliver, consumer)->bounces, n);
}

static void
on_event(struct queue_consumer *c, struct slice event_id, struct slice event)
{
    (void)c;
    event_report(event_id, event);
}

/* Peers that stall hold the drain up no longer, nor leave intents behind that the
 * next owner would have to call uncertain. */
static void
on_grace_over(struct timer *t)
{
    sites_withdraw(&container_of(t, struct deliver, grace)->sites);
}

struct deliver *
deliver_new(const struct deliver_parts *p)
{
    struct deliver *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    d->consumer =
        (struct queue_consumer){.on_job = on_job, .on_notice = on_notice, .on_event = on_event};
    d->attempts = (struct attempt_env){.loop = p->loop, .config = p->config};
    room_init(&d->attempts.room, p->loop);
    sites_init(&d->sites, p->loop, p->config, p->tls);
    timer_init(&d->grace, p->loop, on_grace_over);
    schedule_init(&d->schedule, &d->attempts, &d->sites, p->resolver);
    d->bounces = (struct bounce_env){.loop = p->loop, .config = p->config, .signers = p->signers};
    return d;
}

struct queue_consumer *
deliver_consumer(struct deliver *d)
{
    return &d->consumer;
}

void
deliver_set_queue(struct deliver *d, struct queue *q)
{
    d->attempts.queue = q;
    d->bounces.queue = q;
}

void
deliver_drain(struct deliver *d)
{
    d->bounces.draining = true;
    schedule_drain(&d->schedule);
    sites_drain(&d->sites);
    timer_start(&d->grace, clock_scaled_ms(DELIVER_DRAIN_GRACE_MS));
}

bool
deliver_busy(const struct deliver *d)
{
    return d->attempts.live > 0 || d->bounces.live > 0 || schedule_busy(&d->schedule) ||
           sites_busy(&d->sites);
}

void
deliver_free(struct deliver *d)
{
    if (d == NULL)
        return;
    BUG_ON(deliver_busy(d));
    timer_cancel(&d->grace);
    schedule_fini(&d->schedule);
    sites_fini(&d->sites);
    room_fini(&d->attempts.room);
    free(d);
}
