/*
 * Happy path: start hands the question to libunbound and sets the deadline;
 * libunbound calls back (from the cache inside the very call), the packet is
 * read into the query's state, and done follows on the next turn.
 * Ways it ends: an answer; a bogus one, SERVFAIL or an unreadable one
 * (DNS_TEMP); the deadline; dns_query_cancel(); resolver_free(). After the last
 * three libunbound goes on by itself: the state then waits for its callback
 * without a query and is freed there. ub_cancel() is never used: a late answer
 * still fills the cache.
 */
#include "relay/sys/net/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/dns_wire.h"
#include "relay/sys/net/resolver_events.h"

enum { SEC_BOGUS = 1, SEC_SECURE = 2 };

struct resolver {
    struct loop *loop;
    struct ub_event_base *events;
    struct ub_ctx *ctx;
    struct list states;
    unsigned asked; /* questions at libunbound */
    bool closing;
};

struct dns_query_state {
    struct resolver *resolver; /* NULL when it was freed before fini */
    struct dns_query *query;   /* NULL: finished with, waits for libunbound only */
    struct list_node node;     /* resolver->states */
    struct timer deadline;
    struct deferred finish;
    enum dns_type type;
    bool asked;   /* libunbound will call back */
    bool settled; /* the outcome stands; later answers are ignored */
    bool done;
    struct buf rdata;
    struct slice *records;
};

/* ---- configuration ---- */

struct option {
    const char *name, *value;
};

static const struct option common_options[] = {
    /* The defaults of 4 MB never hit with 10,000 names in use. */
    {"msg-cache-size:", "16m"},
    {"rrset-cache-size:", "32m"},
    /* Changes must be seen within the hour; a TTL of 0 must not make every
     * message of a burst ask again. */
    {"cache-max-ttl:", "3600"},
    {"cache-min-ttl:", "5"},
    {"cache-max-negative-ttl:", "300"},
    /* Sockets at a time; further questions wait for one. The default of 4096
     * would pass the usual limit on descriptors. */
    {"outgoing-range:", "512"},
    /* A server that was away is asked again within the minute. */
    {"infra-host-ttl:", "30"},
    {"infra-keep-probing:", "yes"},
};

/* Names that libunbound answers by itself (RFC 6761). */
static const char *const special_zones[] = {
    "test.", "example.", "invalid.", "localhost.", "onion.", "home.arpa.",
    /* reverse zones of loopback and of documentation */
    "127.in-addr.arpa.", "2.0.192.in-addr.arpa.", "100.51.198.in-addr.arpa.",
    "113.0.203.in-addr.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa."};

static int
ub_failed(struct err *err, const char *what, int rc)
{
    return err_set(err, ERR_CONFIG, "%s: %s", what, ub_strerror(rc));
}

static int
set_option(struct ub_ctx *ctx, const char *name, const char *value, struct err *err)
{
    int rc = ub_ctx_set_option(ctx, name, value);
    return rc == 0 ? 0 : ub_failed(err, name, rc);
}

static int
set_forward(struct ub_ctx *ctx, const char *forward, struct err *err)
{
    if (set_option(ctx, "do-not-query-localhost:", "no", err) != 0)
        return -1;
    int rc = ub_ctx_set_fwd(ctx, forward);
    return rc == 0 ? 0 : ub_failed(err, "forward", rc);
}

/* Special zones go last: removing one fixes the rest of the configuration. */
static int
configure(struct ub_ctx *ctx, const struct resolver_config *cfg, struct err *err)
{
    ub_ctx_debugout(ctx, NULL);
    for (size_t i = 0; i < ARRAY_LEN(common_options); i++)
        if (set_option(ctx, common_options[i].name, common_options[i].value, err) != 0)
            return -1;
    if (cfg->forward != NULL && set_forward(ctx, cfg->forward, err) != 0)
        return -1;
    int rc = cfg->trust_anchor_file != NULL ? ub_ctx_add_ta_file(ctx, cfg->trust_anchor_file) : 0;
    if (rc != 0)
        return ub_failed(err, cfg->trust_anchor_file, rc);
    for (size_t i = 0; cfg->no_special_zones && i < ARRAY_LEN(special_zones); i++) {
        rc = ub_ctx_zone_remove(ctx, special_zones[i]);
        if (rc != 0)
            return ub_failed(err, special_zones[i], rc);
    }
    return 0;
}

struct resolver *
resolver_new(struct loop *l, const struct resolver_config *cfg, struct err *err)
{
    struct resolver *r = calloc(1, sizeof(*r));
    BUG_ON(r == NULL);
    r->loop = l;
    list_init(&r->states);
    r->events = resolver_events_new(l);
    r->ctx = ub_ctx_create_ub_event(r->events);
    if (r->ctx == NULL) {
        err_set(err, ERR_MEMORY, "resolver: cannot create a libunbound context");
        goto fail_events;
    }
    if (configure(r->ctx, cfg, err) != 0) {
        err_context(err, "resolver");
        goto fail_ctx;
    }
    return r;
fail_ctx:
    ub_ctx_delete(r->ctx);
fail_events:
    resolver_events_free(r->events);
    free(r);
    return NULL;
}

/* ---- the life of a state ---- */

static void
state_free(struct dns_query_state *s)
{
    BUG_ON(s->asked);
    timer_cancel(&s->deadline);
    deferred_cancel(&s->finish);
    list_remove(&s->node);
    buf_fini(&s->rdata);
    free(s->records);
    free(s);
}

/* The only way to an outcome. */
static void
settle(struct dns_query_state *s, enum dns_status status)
{
    s->settled = true;
    s->query->status = status;
    timer_cancel(&s->deadline);
    deferred_schedule(&s->finish);
}

static void
settle_failed(struct dns_query_state *s, enum err_code code, const char *why)
{
    err_set(&s->query->err, code, "%s", why);
    settle(s, DNS_TEMP);
}

static void
state_done(struct dns_query_state *s)
{
    s->done = true;
    s->query->done(s->query);
}

static void
on_finish(struct deferred *d)
{
    state_done(container_of(d, struct dns_query_state, finish));
}

static void
on_deadline(struct timer *t)
{
    settle_failed(container_of(t, struct dns_query_state, deadline), ERR_TIMEOUT,
                  "no answer from DNS in time");
}

/* ---- answers ---- */

static void
records_index(struct dns_query_state *s, unsigned count)
{
    struct slice rest = buf_slice(&s->rdata);
    s->records = calloc(count, sizeof(*s->records));
    BUG_ON(s->records == NULL);
    for (unsigned i = 0; i < count; i++) {
        uint16_t bytes = 0;
        dns_cut_u16(&rest, &bytes);
        s->records[i] = slice_cut(&rest, bytes);
    }
    s->query->records = s->records;
    s->query->count = count;
}

static void
judge_packet(struct dns_query_state *s, struct slice packet)
{
    struct dns_answer answer;
    if (dns_answer_read(packet, (uint16_t)s->type, &s->rdata, &answer) != PARSE_OK ||
        answer.truncated) {
        settle_failed(s, ERR_BAD, "malformed DNS answer");
        return;
    }
    s->query->ttl_s = answer.ttl_s;
    if (answer.rcode == DNS_RCODE_NXDOMAIN) {
        settle(s, DNS_NXDOMAIN);
    } else if (answer.rcode != DNS_RCODE_NOERROR) {
        char why[64];
        snprintf(why, sizeof(why), "DNS answered with rcode %u", answer.rcode);
        settle_failed(s, ERR_AWAY, why);
    } else if (answer.count == 0) {
        settle(s, DNS_NODATA);
    } else {
        records_index(s, answer.count);
        settle(s, DNS_OK);
    }
}

/* sec comes first: a bogus answer carries rcode 0 and full data. The rcode
 * argument is 0 even for NXDOMAIN, whose code stands in the packet. */
static void
judge(struct dns_query_state *s, int rcode, struct slice packet, int sec, const char *why_bogus)
{
    char why[200];
    if (sec == SEC_BOGUS) {
        snprintf(why, sizeof(why), "DNSSEC validation failed: %s",
                 why_bogus != NULL ? why_bogus : "bogus");
        settle_failed(s, ERR_BAD, why);
    } else if (rcode != 0 || packet.p == NULL) {
        snprintf(why, sizeof(why), "DNS lookup failed with rcode %d", rcode);
        settle_failed(s, ERR_AWAY, why);
    } else {
        s->query->secure = sec == SEC_SECURE;
        judge_packet(s, packet);
    }
}

/* libunbound calls this from its sockets' events, or inside ub_resolve_event()
 * when the cache knows the answer: nothing here calls the user. */
static void
on_answer(void *ctx, int rcode, void *packet, int packet_bytes, int sec, char *why_bogus,
          int was_ratelimited)
{
    (void)was_ratelimited;
    struct dns_query_state *s = ctx;
    s->asked = false;
    s->resolver->asked--;
    if (s->query == NULL)
        state_free(s);
    else if (!s->settled)
        judge(s, rcode,
              packet != NULL && packet_bytes > 0 ? slice_from(packet, (size_t)packet_bytes)
                                                 : SLICE_NONE,
              sec, why_bogus);
}

/* ---- questions ---- */

/* RFC 1035 2.3.4, for the text that libunbound takes: labels of 1 to 63 octets
 * between dots, nothing that its text form would read as an escape. */
static bool
name_is_askable(struct slice name)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > ADDRESS_DOMAIN_MAX)
        return false;
    size_t label = 0;
    for (size_t i = 0; i <= name.n; i++) {
        if (i == name.n || name.p[i] == '.') {
            if (label == 0 || label > ADDRESS_LABEL_MAX)
                return false;
            label = 0;
        } else if (name.p[i] <= ' ' || name.p[i] == '\\' || name.p[i] == 0x7f) {
            return false;
        } else {
            label++;
        }
    }
    return true;
}

static struct dns_query_state *
state_new(struct resolver *r, struct dns_query *q, enum dns_type type)
{
    struct dns_query_state *s = calloc(1, sizeof(*s));
    BUG_ON(s == NULL);
    s->resolver = r;
    s->query = q;
    s->type = type;
    list_node_init(&s->node);
    list_push(&r->states, &s->node);
    timer_init(&s->deadline, r->loop, on_deadline);
    deferred_init(&s->finish, r->loop, on_finish);
    buf_init(&s->rdata, DNS_RDATA_BYTES_MAX);
    return s;
}

void
dns_query_start(struct dns_query *q, struct resolver *r, const char *name, enum dns_type type,
                uint64_t timeout_ms, void (*done)(struct dns_query *q))
{
    *q = (struct dns_query){.done = done, .status = DNS_TEMP};
    struct dns_query_state *s = q->state = state_new(r, q, type);
    if (r->closing) {
        settle_failed(s, ERR_CANCELLED, "resolver is closing");
        return;
    }
    if (!name_is_askable(slice_str(name))) {
        settle(s, DNS_NXDOMAIN);
        return;
    }
    if (r->asked >= DNS_QUESTIONS_MAX) {
        settle_failed(s, ERR_FULL, "too many DNS questions at a time");
        return;
    }
    timer_start(&s->deadline, timeout_ms);
    s->asked = true;
    r->asked++;
    int rc = ub_resolve_event(r->ctx, name, (int)type, DNS_CLASS_IN, s, on_answer, NULL);
    if (rc != 0) {
        s->asked = false;
        r->asked--;
        settle_failed(s, ERR_BAD, ub_strerror(rc));
    }
}

static void
drop_records(struct dns_query *q)
{
    q->records = NULL;
    q->count = 0;
    q->secure = false;
}

void
dns_query_cancel(struct dns_query *q)
{
    struct dns_query_state *s = q->state;
    if (s == NULL || s->done)
        return;
    drop_records(q);
    settle_failed(s, ERR_CANCELLED, "cancelled");
}

void
dns_query_fini(struct dns_query *q)
{
    struct dns_query_state *s = q->state;
    if (s == NULL)
        return;
    BUG_ON(!s->done);
    q->state = NULL;
    drop_records(q);
    s->query = NULL;
    if (!s->asked)
        state_free(s);
}

/* ---- end ---- */

static struct dns_query_state *
first_undone(struct resolver *r)
{
    LIST_EACH(&r->states, node)
    {
        struct dns_query_state *s = container_of(node, struct dns_query_state, node);
        if (s->query != NULL && !s->done)
            return s;
    }
    return NULL;
}

/* What is still listed is done: waiting for its fini, or without a query. */
static void
let_go_of_states(struct resolver *r)
{
    LIST_EACH(&r->states, node)
    {
        struct dns_query_state *s = container_of(node, struct dns_query_state, node);
        list_remove(&s->node);
        s->asked = false;
        s->resolver = NULL;
        if (s->query == NULL)
            state_free(s);
    }
}

void
resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    r->closing = true;
    struct dns_query_state *s;
    while ((s = first_undone(r)) != NULL) {
        dns_query_cancel(s->query);
        deferred_cancel(&s->finish);
        state_done(s);
    }
    ub_ctx_delete(r->ctx); /* calls nobody back */
    let_go_of_states(r);
    resolver_events_free(r->events);
    free(r);
}

/* ---- RDATA ---- */

bool
dns_mx_parse(struct slice rdata, uint16_t *preference, char host[ADDRESS_DOMAIN_MAX + 1])
{
    struct dns_name name;
    size_t at = 2;
    host[0] = '\0';
    if (rdata.n < 3 || !dns_name_read(rdata, &at, &name) || at != rdata.n)
        return false;
    dns_cut_u16(&rdata, preference);
    return dns_name_to_host(&name, host);
}

bool
dns_ptr_parse(struct slice rdata, char host[ADDRESS_DOMAIN_MAX + 1])
{
    struct dns_name name;
    size_t at = 0;
    host[0] = '\0';
    return dns_name_read(rdata, &at, &name) && at == rdata.n && dns_name_to_host(&name, host) &&
           host[0] != '\0';
}

void
dns_reverse_name(const uint8_t *ip, bool ipv6, char out[DNS_REVERSE_NAME_MAX])
{
    int n = 0;
    if (!ipv6) {
        snprintf(out, DNS_REVERSE_NAME_MAX, "%u.%u.%u.%u.in-addr.arpa", ip[3], ip[2], ip[1], ip[0]);
        return;
    }
    for (int i = 15; i >= 0; i--)
        n += snprintf(out + n, DNS_REVERSE_NAME_MAX - (size_t)n, "%x.%x.", ip[i] & 15, ip[i] >> 4);
    snprintf(out + n, DNS_REVERSE_NAME_MAX - (size_t)n, "ip6.arpa");
}
