/*
 * DNS by libunbound's event interface inside the loop: validating, cached, no
 * thread. Questions time out here; libunbound goes on in the background.
 */
#ifndef STAGEPOST_NET_RESOLVER_H
#define STAGEPOST_NET_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/loop.h"

struct resolver;

struct resolver_config {
    const char *forward;   /* "127.0.0.1@5300": ask only this server; NULL: full recursion */
    bool no_special_zones; /* development: `.test`, `.example`, `.invalid` are asked too */
    const char *trust_anchor_file; /* NULL: no DNSSEC validation */
};

struct resolver *resolver_new(struct loop *l, const struct resolver_config *cfg, struct err *err);
void resolver_free(struct resolver *r); /* pending questions end with ERR_CANCELLED first */

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

/* Bogus answers (validation failed) are DNS_TEMP. */
enum dns_status {
    DNS_OK,       /* at least one record of the type asked for */
    DNS_NODATA,   /* the name exists, no such record */
    DNS_NXDOMAIN, /* the name does not exist */
    DNS_TEMP,     /* SERVFAIL, timeout, refused, malformed, bogus, cancelled */
};

/* One question. start cannot fail; done comes exactly once, on a later turn. */
struct dns_query {
    void (*done)(struct dns_query *q);
    enum dns_status status; /* out */
    bool secure;            /* out: validated by DNSSEC */
    uint32_t ttl_s;         /* out */
    struct slice *records;  /* out: raw RDATA, valid until dns_query_fini() */
    unsigned count;         /* out */
    struct err err;         /* out: why, when DNS_TEMP */
    struct dns_query_state *state;
};

/* name: ASCII (A-labels), at most 253 characters, no trailing dot needed. A name
 * that cannot be a DNS name is answered DNS_NXDOMAIN. */
void dns_query_start(struct dns_query *q, struct resolver *r, const char *name, enum dns_type type,
                     uint64_t timeout_ms, void (*done)(struct dns_query *q));
void dns_query_cancel(struct dns_query *q);
void dns_query_fini(struct dns_query *q); /* releases records; required after done */

/* RDATA of an MX: preference and host in lower case without the trailing dot;
 * "" for the null MX "." (RFC 7505). false when malformed or not a host name:
 * letters, digits, hyphens and (as the field does) underscores. */
bool dns_mx_parse(struct slice rdata, uint16_t *preference, char host[ADDRESS_DOMAIN_MAX + 1]);
/* RDATA of a PTR: likewise; false for the root too. */
bool dns_ptr_parse(struct slice rdata, char host[ADDRESS_DOMAIN_MAX + 1]);
/* The name whose PTR records say what the address is called (RFC 1035 3.5,
 * RFC 3596 2.5): "1.2.0.192.in-addr.arpa". `ip`: 4 bytes, or 16 with `ipv6`. */
enum { DNS_REVERSE_NAME_MAX = 80 };
void dns_reverse_name(const uint8_t *ip, bool ipv6, char out[DNS_REVERSE_NAME_MAX]);

#endif
