/*
 * Happy path: the MX question; its hosts sorted and shuffled; the A and AAAA
 * questions of the first hosts, all at a time, and of further hosts while there
 * is room for addresses; done.
 * Ways it ends: so; an address literal, which asks nothing; a definite no; DNS
 * trouble; route_cancel(), which waits for the questions under way to end.
 */
#include "relay/deliver/route.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/base/clock.h"

struct candidate {
    char name[ADDRESS_DOMAIN_MAX + 1];
    uint16_t preference;
    uint32_t place; /* after shuffling: decides between equal preferences */
};

struct lookup {
    struct dns_query q;
    struct route_state *state;
    unsigned candidate;
    enum dns_type type;
};

struct route_state {
    struct route_op *op;
    const struct route_config *cfg;
    struct loop *loop;
    uint64_t started_us;
    struct deferred finish; /* for what is known without asking */
    struct route *route;
    char domain[ADDRESS_DOMAIN_MAX + 1];
    struct candidate *candidates;
    unsigned candidate_count, next_candidate;
    struct lookup lookups[2 * ROUTE_HOSTS_AT_ONCE];
    unsigned lookup_count, pending;
    bool cancelled;
    bool trouble; /* some address question failed for now */
    bool refused; /* some address was one that mail must not go to */
};

/* ---- addresses that mail must not go to ---- */

struct prefix {
    uint8_t ip[16];
    unsigned bits;
};

/* RFC 6890 and its registry: what is not globally reachable. The documentation
 * networks are left out: nothing answers there. */
static const struct prefix closed_ipv4[] = {
    {{0}, 8},         {{10}, 8},       {{100, 64}, 10},   {{127}, 8},
    {{169, 254}, 16}, {{172, 16}, 12}, {{192, 0, 0}, 24}, {{192, 168}, 16},
    {{198, 18}, 15},  {{224}, 4},      {{240}, 4},
};
static const struct prefix closed_ipv6[] = {
    {{0}, 128},  {{[15] = 1}, 128},  {{0xfc}, 7},  {{0xfe, 0x80}, 10},
    {{0xff}, 8}, {{0xfe, 0xc0}, 10}, {{0x01}, 64},
};
/* IPv4 addresses in other clothes: mapped, NAT64 (RFC 6052), 6to4 (RFC 3056). */
static const struct {
    struct prefix prefix;
    unsigned ipv4_at;
} embedded[] = {
    {{{[10] = 0xff, [11] = 0xff}, 96}, 12},
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},
    {{{0x20, 0x02}, 16}, 2},
    {{{0}, 96}, 12},
};

static bool
prefix_holds(const struct prefix *p, const uint8_t *ip)
{
    unsigned whole = p->bits / 8, rest = p->bits % 8;
    if (memcmp(p->ip, ip, whole) != 0)
        return false;
    return rest == 0 || (p->ip[whole] ^ ip[whole]) >> (8 - rest) == 0;
}

static bool
any_prefix_holds(const struct prefix *v, size_t n, const uint8_t *ip)
{
    for (size_t i = 0; i < n; i++)
        if (prefix_holds(&v[i], ip))
            return true;
    return false;
}

bool
route_address_allowed(const struct net_address *a, bool allow_loopback)
{
    if (allow_loopback)
        return a->kind != NET_UNIX && net_address_is_loopback(a);
    if (a->kind == NET_IPV4)
        return !any_prefix_holds(closed_ipv4, ARRAY_LEN(closed_ipv4), a->ip);
    if (a->kind != NET_IPV6 || any_prefix_holds(closed_ipv6, ARRAY_LEN(closed_ipv6), a->ip))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(embedded); i++)
        if (prefix_holds(&embedded[i].prefix, a->ip))
            return !any_prefix_holds(closed_ipv4, ARRAY_LEN(closed_ipv4),
                                     a->ip + embedded[i].ipv4_at);
    return true;
}

/* ---- verdicts ---- */

static const struct failure {
    enum route_verdict verdict;
    unsigned code;
    const char *enhanced;
    const char *text; /* "%s": the domain */
} null_mx = {ROUTE_PERM, 556, "5.1.10", "%s does not accept mail (null MX)"},
  no_domain = {ROUTE_PERM, 550, "5.1.2", "The domain %s does not exist"},
  no_address = {ROUTE_PERM, 550, "5.4.4", "No mail host of %s has an address"},
  closed_address = {ROUTE_PERM, 550, "5.4.4",
                    "The mail hosts of %s have only addresses that mail is not sent to"},
  we_are_mx = {ROUTE_PERM, 550, "5.4.6", "Mail for %s leads back to this host"},
  dns_trouble = {ROUTE_TEMP, 451, "4.4.3", "The mail hosts of %s cannot be looked up now"};

static void
fail(struct route_state *s, const struct failure *f, const char *detail)
{
    struct buf text;
    struct route *r = s->route;
    r->verdict = f->verdict;
    r->code = f->code;
    r->enhanced = f->enhanced;
    buf_init(&text, ROUTE_TEXT_MAX - 1);
    const char *at = strstr(f->text, "%s");
    buf_addf(&text, "%.*s%s%s", (int)(at - f->text), f->text, s->domain, at + 2);
    if (detail != NULL)
        buf_addf(&text, ": %s", detail);
    slice_to_cstr(buf_slice(&text), r->text, sizeof(r->text));
    buf_fini(&text);
}

/* The only way out. All questions are over. */
static void
finish(struct route_state *s)
{
    struct route_op *op = s->op;
    BUG_ON(s->pending > 0);
    if (s->cancelled) {
        fail(s, &dns_trouble, "cancelled");
        err_set(&op->err, ERR_CANCELLED, "route: cancelled");
    }
    op->route = s->route;
    op->state = NULL;
    metrics_observe(HISTOGRAM_STAGE_DNS, clock_mono_us() - s->started_us);
    deferred_cancel(&s->finish);
    free(s->candidates);
    free(s);
    op->done(op);
}

static void
on_finish(struct deferred *d)
{
    finish(container_of(d, struct route_state, finish));
}

/* ---- asking ---- */

static void lookups_done(struct route_state *s);

static void
on_lookup(struct dns_query *q)
{
    struct lookup *l = container_of(q, struct lookup, q);
    if (q->status == DNS_TEMP)
        metrics_add(METRIC_DNS_FAILURES, 1);
    if (--l->state->pending == 0)
        lookups_done(l->state);
}

static void
ask(struct route_state *s, const char *name, enum dns_type type, unsigned candidate)
{
    struct lookup *l = &s->lookups[s->lookup_count++];
    uint64_t timeout_ms = s->cfg->dns_timeout_ms;
    l->state = s;
    l->candidate = candidate;
    l->type = type;
    s->pending++;
    metrics_add(METRIC_DNS_QUERIES, 1);
    dns_query_start(&l->q, s->cfg->resolver, name, type,
                    timeout_ms != 0 ? timeout_ms : ROUTE_DNS_TIMEOUT_MS, on_lookup);
}

static void
lookups_fini(struct route_state *s)
{
    for (unsigned i = 0; i < s->lookup_count; i++)
        dns_query_fini(&s->lookups[i].q);
    s->lookup_count = 0;
}

/* ---- hosts ---- */

static int
by_preference(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* RFC 5321 5.1: equal preferences MUST be spread; Fisher and Yates give each
 * candidate a place of its own. */
static void
candidates_sort(struct route_state *s)
{
    struct candidate *v = s->candidates;
    for (unsigned i = 0; i < s->candidate_count; i++) {
        unsigned other = random_below(i + 1);
        v[i].place = v[other].place;
        v[other].place = i;
    }
    qsort(v, s->candidate_count, sizeof(*v), by_preference);
}

/* A host that is named twice keeps its better preference. */
static void
candidates_unique(struct route_state *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->candidate_count; i++) {
        bool seen = false;
        for (unsigned k = 0; k < n && !seen; k++)
            seen = strcmp(s->candidates[k].name, s->candidates[i].name) == 0;
        if (!seen)
            s->candidates[n++] = s->candidates[i];
    }
    s->candidate_count = n;
}

/* RFC 5321 5.1: from our own entry on, mail would come back. */
static void
candidates_cut_at_own_name(struct route_state *s)
{
    if (s->cfg->own_name == NULL)
        return;
    for (unsigned i = 0; i < s->candidate_count; i++) {
        if (strcmp(s->candidates[i].name, s->cfg->own_name) != 0)
            continue;
        while (i > 0 && s->candidates[i - 1].preference == s->candidates[i].preference)
            i--;
        s->candidate_count = i;
        return;
    }
}

/* Too long for a key: the first name and a hash of them all. */
static void
site_key_hash(char out[ROUTE_SITE_KEY_MAX], struct slice names)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned bytes;
    struct slice rest = names, first = slice_cut_at(&rest, ',');
    BUG_ON(EVP_Digest(names.p, names.n, digest, &bytes, EVP_sha256(), NULL) != 1);
    int n = snprintf(out, ROUTE_SITE_KEY_MAX, "%.*s,+", SLICE_FMT(first));
    for (unsigned i = 0; i < 16; i++)
        n += snprintf(out + n, ROUTE_SITE_KEY_MAX - (size_t)n, "%02x", digest[i]);
}

static void
site_key_make(struct route_state *s)
{
    struct buf names;
    const char **sorted = calloc(s->candidate_count, sizeof(*sorted));
    BUG_ON(sorted == NULL);
    buf_init(&names, DNS_RDATA_BYTES_MAX);
    for (unsigned i = 0; i < s->candidate_count; i++)
        sorted[i] = s->candidates[i].name;
    qsort(sorted, s->candidate_count, sizeof(*sorted), by_name);
    for (unsigned i = 0; i < s->candidate_count; i++)
        buf_addf(&names, "%s%s", i > 0 ? "," : "", sorted[i]);
    if (!slice_to_cstr(buf_slice(&names), s->route->site_key, ROUTE_SITE_KEY_MAX))
        site_key_hash(s->route->site_key, buf_slice(&names));
    buf_fini(&names);
    free(sorted);
}

static void
candidates_one(struct route_state *s, const char *name)
{
    s->candidates = calloc(1, sizeof(*s->candidates));
    BUG_ON(s->candidates == NULL);
    snprintf(s->candidates[0].name, sizeof(s->candidates[0].name), "%s", name);
    s->candidate_count = 1;
}

/* ---- addresses of hosts ---- */

static void
ask_addresses(struct route_state *s)
{
    unsigned n = s->candidate_count - s->next_candidate;
    n = n < ROUTE_HOSTS_AT_ONCE ? n : ROUTE_HOSTS_AT_ONCE;
    for (unsigned i = 0; i < n; i++) {
        const char *name = s->candidates[s->next_candidate].name;
        ask(s, name, DNS_A, s->next_candidate);
        ask(s, name, DNS_AAAA, s->next_candidate);
        s->next_candidate++;
    }
}

static bool
address_read(const struct lookup *l, unsigned i, uint16_t port, struct net_address *out)
{
    struct slice rdata = l->q.records[i];
    size_t bytes = l->type == DNS_A ? 4 : 16;
    if (rdata.n != bytes)
        return false;
    *out = (struct net_address){.kind = l->type == DNS_A ? NET_IPV4 : NET_IPV6, .port = port};
    memcpy(out->ip, rdata.p, bytes);
    return true;
}

static bool
host_take(struct route_state *s, struct route_host *h, const struct net_address *a)
{
    struct route *r = s->route;
    unsigned host_max = s->candidate_count > 1 ? MX_ADDRESSES_PER_HOST_MAX : MX_ADDRESSES_MAX;
    if (r->address_count >= MX_ADDRESSES_MAX || h->address_count >= host_max)
        return false;
    if (!route_address_allowed(a, s->cfg->allow_loopback)) {
        s->refused = true;
        return true;
    }
    r->addresses[r->address_count++] = *a;
    h->address_count++;
    return true;
}

static void
host_add(struct route_state *s, const struct lookup *a, const struct lookup *aaaa)
{
    const struct candidate *c = &s->candidates[a->candidate];
    struct route_host *h = &s->route->hosts[s->route->host_count];
    struct net_address address;
    *h = (struct route_host){.preference = c->preference,
                             .first_address = (uint8_t)s->route->address_count};
    memcpy(h->name, c->name, sizeof(h->name));
    for (unsigned i = 0; i < a->q.count || i < aaaa->q.count; i++) {
        if (i < a->q.count && address_read(a, i, s->cfg->mx_port, &address) &&
            !host_take(s, h, &address))
            break;
        if (i < aaaa->q.count && address_read(aaaa, i, s->cfg->mx_port, &address) &&
            !host_take(s, h, &address))
            break;
    }
    if (h->address_count > 0)
        s->route->host_count++;
}

static void
judge_addresses(struct route_state *s)
{
    for (unsigned i = 0; i + 1 < s->lookup_count; i += 2) {
        const struct lookup *a = &s->lookups[i], *aaaa = &s->lookups[i + 1];
        s->trouble |= a->q.status == DNS_TEMP || aaaa->q.status == DNS_TEMP;
        host_add(s, a, aaaa);
    }
    lookups_fini(s);
    if (s->next_candidate < s->candidate_count && s->route->address_count < MX_ADDRESSES_MAX) {
        ask_addresses(s);
        return;
    }
    if (s->route->address_count == 0)
        fail(s, s->trouble ? &dns_trouble : s->refused ? &closed_address : &no_address, NULL);
    finish(s);
}

/* ---- the MX answer ---- */

/* RFC 7505 3: a null MX stands alone; among others it is no host. Names that no
 * host has are left out. Returns whether there was a null MX. */
static bool
candidates_read(struct route_state *s, const struct dns_query *q)
{
    bool null_seen = false;
    s->candidates = calloc(q->count, sizeof(*s->candidates));
    BUG_ON(s->candidates == NULL);
    for (unsigned i = 0; i < q->count; i++) {
        struct candidate *c = &s->candidates[s->candidate_count];
        if (!dns_mx_parse(q->records[i], &c->preference, c->name))
            continue;
        if (c->name[0] == '\0')
            null_seen = true;
        else
            s->candidate_count++;
    }
    return null_seen;
}

static const struct failure *
judge_mx_records(struct route_state *s, const struct dns_query *q)
{
    bool null_seen = candidates_read(s, q);
    if (s->candidate_count == 0)
        return null_seen ? &null_mx : &no_address;
    candidates_sort(s);
    candidates_unique(s);
    site_key_make(s);
    candidates_cut_at_own_name(s);
    if (s->candidate_count == 0)
        return &we_are_mx;
    if (s->candidate_count > MX_HOSTS_MAX)
        s->candidate_count = MX_HOSTS_MAX;
    return NULL;
}

/* RFC 5321 5.1: only when there is certainly no MX is the domain its own host,
 * with preference 0. */
static const struct failure *
judge_mx(struct route_state *s, const struct dns_query *q)
{
    s->route->ttl_s = q->ttl_s;
    switch (q->status) {
    case DNS_OK:
        return judge_mx_records(s, q);
    case DNS_NODATA:
        candidates_one(s, s->domain);
        site_key_make(s);
        return NULL;
    case DNS_NXDOMAIN:
        return &no_domain;
    case DNS_TEMP:
        break;
    }
    return &dns_trouble;
}

static void
lookups_done(struct route_state *s)
{
    if (s->cancelled) {
        lookups_fini(s);
        finish(s);
    } else if (s->lookups[0].type != DNS_MX) {
        judge_addresses(s);
    } else {
        struct dns_query *q = &s->lookups[0].q;
        const struct failure *f = judge_mx(s, q);
        if (f != NULL)
            fail(s, f, q->status == DNS_TEMP ? q->err.text : NULL);
        lookups_fini(s);
        if (f != NULL)
            finish(s);
        else
            ask_addresses(s);
    }
}

/* ---- address literals ---- */

/* RFC 5321 4.1.3: [192.0.2.1] and [IPv6:2001:db8::1] */
static bool
literal_read(struct slice domain, uint16_t port, struct net_address *out)
{
    static const struct slice ipv6_tag = {"IPv6:", 5};
    if (domain.n < 2 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
        return false;
    struct slice inner = slice_from(domain.p + 1, domain.n - 2);
    bool ipv6 = slice_starts_nocase(inner, ipv6_tag);
    if (ipv6)
        inner = slice_skip(inner, ipv6_tag.n);
    return net_address_from_ip(inner, port, out) && (out->kind == NET_IPV6) == ipv6;
}

static void
judge_literal(struct route_state *s)
{
    struct net_address a;
    struct route_host *h = &s->route->hosts[0];
    candidates_one(s, s->domain);
    site_key_make(s);
    memcpy(h->name, s->domain, sizeof(h->name));
    if (!literal_read(slice_str(s->domain), s->cfg->mx_port, &a))
        fail(s, &no_domain, NULL);
    else if (host_take(s, h, &a) && h->address_count == 0)
        fail(s, &closed_address, NULL);
    else
        s->route->host_count = 1;
    deferred_schedule(&s->finish);
}

/* ---- start and end ---- */

void
route_start(struct route_op *op, struct loop *l, const struct route_config *cfg,
            struct slice domain, void (*done)(struct route_op *op))
{
    struct route_state *s = calloc(1, sizeof(*s));
    *op = (struct route_op){.done = done, .state = s};
    BUG_ON(s == NULL);
    s->op = op;
    s->started_us = clock_mono_us();
    s->cfg = cfg;
    s->loop = l;
    s->route = calloc(1, sizeof(*s->route));
    BUG_ON(s->route == NULL);
    s->route->enhanced = "";
    deferred_init(&s->finish, l, on_finish);
    if (!slice_to_cstr(domain, s->domain, sizeof(s->domain)) || domain.n == 0) {
        fail(s, &no_domain, NULL);
        deferred_schedule(&s->finish);
    } else if (s->domain[0] == '[') {
        judge_literal(s);
    } else {
        ask(s, s->domain, DNS_MX, 0);
    }
}

void
route_cancel(struct route_op *op)
{
    struct route_state *s = op->state;
    if (s == NULL || s->cancelled)
        return;
    s->cancelled = true;
    for (unsigned i = 0; i < s->lookup_count; i++)
        dns_query_cancel(&s->lookups[i].q);
}

void
route_free(struct route *r)
{
    free(r);
}
