/*
 * A site: all destinations that share an MX set, with the attempts that are
 * ready for it, its connections and its health. A site that cannot be reached
 * is left alone for SITE_BACKOFF_MS; one that complains gets fewer connections
 * and earns them back.
 */
#ifndef STAGEPOST_DELIVER_SITE_H
#define STAGEPOST_DELIVER_SITE_H

#include "relay/deliver/attempt.h"
#include "relay/deliver/dial.h"
#include "relay/deliver/pool.h"

struct site;

/* What all sites of a worker share. */
struct sites {
    struct loop *loop;
    const struct config *config;
    struct client_env clients;
    struct hosts *hosts;
    struct pool pool;
    struct site *table;   /* by key */
    struct list starved;  /* sites that wait for a connection of the worker's share */
    unsigned connections; /* open or being opened, all sites */
    bool draining;
};

void sites_init(struct sites *s, struct loop *l, const struct config *config,
                struct tls_context *tls);
void sites_drain(struct sites *s);
/* While draining: ends all that waits for a peer, except for the reply to a dot. */
void sites_withdraw(struct sites *s);
bool sites_busy(const struct sites *s);
void sites_fini(struct sites *s); /* not while busy */
/* Frees sites that have nothing to do. */
void sites_sweep(struct sites *s);

/* The site of a route; the route is copied and replaces the one known. */
struct site *sites_get(struct sites *s, const struct route *route);
/* Counted by those that keep a pointer. */
struct site *site_ref(struct site *site);
void site_unref(struct site **site);

/* Takes the attempt over: it waits, runs, fails or is given back here. */
void site_add(struct site *site, struct attempt *a);

#endif
