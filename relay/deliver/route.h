/*
 * Where mail for a domain goes: RFC 5321 5.1 over relay/sys/net/resolver.h,
 * with the null MX (RFC 7505), the implicit MX and address literals
 * (RFC 5321 4.1.3). Hosts come ordered: lower preference first, equal ones
 * shuffled uniformly at every call.
 *
 * DNS trouble is never taken for an answer: a lookup that failed for now makes
 * the verdict ROUTE_TEMP, and only a definite NODATA of the MX question leads
 * to the domain's own addresses. Hosts on addresses that mail must not go to
 * (loopback, private, link-local, multicast ...) are left out.
 */
#ifndef STAGEPOST_DELIVER_ROUTE_H
#define STAGEPOST_DELIVER_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/net/resolver.h"
#include "relay/sys/net/stream.h"

enum route_verdict {
    ROUTE_OK,   /* at least one host with at least one address */
    ROUTE_PERM, /* mail for this domain cannot be delivered: code 5xx */
    ROUTE_TEMP, /* nothing is known for now: code 4xx, or cancelled */
};

enum { ROUTE_SITE_KEY_MAX = 320, ROUTE_TEXT_MAX = 512 };

struct route_host {
    char name[ADDRESS_DOMAIN_MAX + 1]; /* lower case; "[192.0.2.1]" for a literal */
    uint16_t preference;
    uint8_t first_address, address_count; /* in route.addresses; at least one */
};

/* An answer; immutable, the caller's after done. */
struct route {
    enum route_verdict verdict;
    /* For ROUTE_PERM and ROUTE_TEMP, as if a host had said it: 556 "5.1.10"
     * null MX, 550 "5.1.2" no such domain, 550 "5.4.4" no usable host,
     * 550 "5.4.6" we are the best MX, 451 "4.4.3" DNS trouble. */
    unsigned code;
    const char *enhanced;
    char text[ROUTE_TEXT_MAX];
    /* For ROUTE_OK. Addresses of one host stand together; within a host they
     * alternate between IPv4 and IPv6 as far as both exist: which family goes
     * first is the connector's choice. The port is already set. */
    struct route_host hosts[MX_HOSTS_MAX];
    unsigned host_count;
    struct net_address addresses[MX_ADDRESSES_MAX];
    unsigned address_count;
    /* The MX set as one canonical string: equal for domains that share all of
     * their MX hosts. Sorted names with commas, or a hash when that is long. */
    char site_key[ROUTE_SITE_KEY_MAX];
    uint32_t ttl_s; /* of the MX answer */
};

/* Borrowed by every op until its done. */
struct route_config {
    struct resolver *resolver;
    uint16_t mx_port;        /* 25; another one in development and tests */
    bool allow_loopback;     /* development: loopback only, everything else refused */
    const char *own_name;    /* our EHLO name, lower case: MX entries from it on are
                                left out (RFC 5321 5.1); NULL: not looked at */
    uint64_t dns_timeout_ms; /* per question; 0: ROUTE_DNS_TIMEOUT_MS */
};

/* start cannot fail; done comes exactly once, on a later turn. */
struct route_op {
    void (*done)(struct route_op *op);
    struct route *route; /* out: never NULL in done; the caller's, see route_free() */
    struct err err;      /* out: ERR_CANCELLED after route_cancel(), else ERR_NONE */
    struct route_state *state;
};

/* domain: canonical (lower case A-labels, no trailing dot) or an address
 * literal with its brackets; copied. */
void route_start(struct route_op *op, struct loop *l, const struct route_config *cfg,
                 struct slice domain, void (*done)(struct route_op *op));
void route_cancel(struct route_op *op); /* done comes soon */
void route_free(struct route *r);       /* NULL is fine */

/* Whether mail may be sent there; see route_config.allow_loopback. */
bool route_address_allowed(const struct net_address *a, bool allow_loopback);

#endif
