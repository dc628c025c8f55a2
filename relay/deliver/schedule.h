/*
 * From the queue's jobs to sites: finds each next hop's route (once for all jobs
 * that wait for it, kept for a short time) and hands the attempts to the site.
 */
#ifndef STAGEPOST_DELIVER_SCHEDULE_H
#define STAGEPOST_DELIVER_SCHEDULE_H

#include "relay/deliver/site.h"

struct hop;

struct schedule {
    struct attempt_env *attempts;
    struct sites *sites;
    struct route_config route;
    struct hop *table; /* by domain */
    struct timer sweep;
    unsigned routing; /* route operations under way */
    bool draining;
};

void schedule_init(struct schedule *s, struct attempt_env *attempts, struct sites *sites,
                   struct resolver *resolver);
void schedule_add(struct schedule *s, struct queue_job *job);
void schedule_drain(struct schedule *s);
bool schedule_busy(const struct schedule *s);
void schedule_fini(struct schedule *s); /* not while busy */

#endif
