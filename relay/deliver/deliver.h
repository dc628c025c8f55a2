/*
 * Delivery: takes due jobs from the queue, finds the route, sends them over a
 * pool of connections to each site, judges the outcome and reports it to the
 * queue; builds the NDRs that are owed. In reading order: schedule, site,
 * route, pool, client, outcome, retry, bounce.
 */
#ifndef STAGEPOST_DELIVER_DELIVER_H
#define STAGEPOST_DELIVER_DELIVER_H

#include "queue/queue.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct deliver;
struct resolver;
struct signer_client;
struct tls_context;

struct deliver_parts {
    struct loop *loop;
    const struct config *config;
    struct resolver *resolver;
    struct signer_client *signers;
    struct tls_context *tls; /* client side, opportunistic */
};

struct deliver *deliver_new(const struct deliver_parts *parts);
/* What to give to queue_open(); then deliver_set_queue(). */
struct queue_consumer *deliver_consumer(struct deliver *d);
void deliver_set_queue(struct deliver *d, struct queue *q);
/* Starts nothing new; jobs that wait go back to the queue, transactions that
 * run come to their end. */
void deliver_drain(struct deliver *d);
bool deliver_busy(const struct deliver *d);
void deliver_free(struct deliver *d); /* not while busy */

#endif
