/* Delivery as a whole, with a fake queue, fake routes and scripted MX hosts. */
#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/deliver/deliver.h"
#include "relay/deliver/route.h"
#include "relay/sys/base/clock.h"
#include "relay/wire/envelope.h"
#include "tests/unit/support/fake_queue.h"
#include "tests/unit/support/script_mx.h"

#define SAY(text)                                                                                  \
    {                                                                                              \
        MX_SAY, text                                                                               \
    }
#define HEAR(text)                                                                                 \
    {                                                                                              \
        MX_HEAR, text                                                                              \
    }
#define TEXT                                                                                       \
    {                                                                                              \
        MX_TEXT, ""                                                                                \
    }
#define HANG_UP                                                                                    \
    {                                                                                              \
        MX_HANG_UP, ""                                                                             \
    }
#define END                                                                                        \
    {                                                                                              \
        MX_END, ""                                                                                 \
    }
#define EHLO SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250-mx\r\n250-PIPELINING\r\n250 DSN\r\n")
#define MAIL_OF_1 HEAR("MAIL"), HEAR("RCPT"), HEAR("DATA"), SAY("250 \r\n250 \r\n354 go\r\n"), TEXT
#define GOOD_MAIL MAIL_OF_1, SAY("250 2.0.0 ok\r\n")

static const struct mx_step good[] = {EHLO, GOOD_MAIL, GOOD_MAIL, GOOD_MAIL, GOOD_MAIL, END};
static const struct mx_step closed[] = {HANG_UP};

/* ---- the bench ----------------------------------------------------------------- */

enum { HOSTS = 3 };

struct bench {
    struct loop *loop;
    struct queue queue;
    struct config config;
    struct tls_context *tls;
    struct deliver *deliver;
    struct script_mx mx[HOSTS];
    unsigned hosts; /* of every route */
    /* What routes say. */
    enum route_verdict verdict;
    bool routes_wait, one_site;
    unsigned routes;
    char envelope[512];
    size_t envelope_bytes;
};

static struct bench *bench; /* for route_start() */

struct route_state {
    struct deferred later;
    struct route_op *op;
    char domain[256];
    bool cancelled;
};

static void
fill_route(struct route *r, const char *domain)
{
    r->verdict = bench->verdict;
    r->ttl_s = 300;
    if (r->verdict != ROUTE_OK) {
        r->code = r->verdict == ROUTE_PERM ? 556 : 451;
        r->enhanced = r->verdict == ROUTE_PERM ? "5.1.10" : "4.4.3";
        snprintf(r->text, sizeof r->text, "no mail for %s", domain);
        return;
    }
    snprintf(r->site_key, sizeof r->site_key, "%s",
             !bench->one_site && strncmp(domain, "other", 5) == 0 ? "other" : "site");
    for (unsigned i = 0; i < bench->hosts; i++) {
        struct route_host *h = &r->hosts[r->host_count++];
        snprintf(h->name, sizeof h->name, "mx%u.test", i);
        h->preference = (uint16_t)(10 * i);
        h->first_address = (uint8_t)r->address_count;
        h->address_count = 1;
        r->addresses[r->address_count++] = bench->mx[i].address;
    }
}

static void
on_route(struct deferred *d)
{
    struct route_state *s = container_of(d, struct route_state, later);
    struct route_op *op = s->op;
    op->route = calloc(1, sizeof *op->route);
    op->err.code = s->cancelled ? ERR_CANCELLED : ERR_NONE;
    fill_route(op->route, s->domain);
    if (s->cancelled)
        op->route->verdict = ROUTE_TEMP;
    op->state = NULL;
    free(s);
    op->done(op);
}

void
route_start(struct route_op *op, struct loop *l, const struct route_config *cfg,
            struct slice domain, void (*done)(struct route_op *op))
{
    struct route_state *s = calloc(1, sizeof *s);
    (void)cfg;
    assert_non_null(s);
    assert_true(slice_to_cstr(domain, s->domain, sizeof s->domain));
    s->op = op;
    op->done = done;
    op->state = s;
    bench->routes++;
    deferred_init(&s->later, l, on_route);
    if (!bench->routes_wait)
        deferred_schedule(&s->later);
}

void
route_cancel(struct route_op *op)
{
    op->state->cancelled = true;
    deferred_schedule(&op->state->later);
}

void
route_free(struct route *r)
{
    free(r);
}

static void
set_envelope(struct bench *b, const struct envelope *e)
{
    struct buf rec;
    buf_init(&rec, sizeof b->envelope);
    assert_true(envelope_encode(e, &rec));
    b->envelope_bytes = rec.len;
    memcpy(b->envelope, buf_slice(&rec).p, rec.len);
    buf_fini(&rec);
}

static void
bench_init(struct bench *b, unsigned hosts)
{
    static const struct envelope envelope = {.reverse_path = {"sender@example.org", 18}};
    *b = (struct bench){.loop = loop_new(), .hosts = hosts, .verdict = ROUTE_OK};
    bench = b;
    fake_queue_init(&b->queue, b->loop);
    for (unsigned i = 0; i < HOSTS; i++)
        script_mx_open(&b->mx[i], b->loop);
    b->config = (struct config){
        .hostname = "gateway.test",
        .site_connections_max = 2,
        .connections_max = 4,
        .ndr_from_domain = "",
        .retry = {.first_ms = 5000, .max_ms = 3600000, .factor_pct = 200, .expire_ms = 86400000}};
    set_envelope(b, &envelope);
}

static void
bench_start(struct bench *b)
{
    struct deliver_parts parts = {.loop = b->loop, .config = &b->config, .tls = b->tls};
    b->deliver = deliver_new(&parts);
    deliver_set_queue(b->deliver, &b->queue);
}

static bool
is_quiet(void *arg)
{
    return !deliver_busy(((struct bench *)arg)->deliver);
}

static void
bench_fini(struct bench *b)
{
    deliver_drain(b->deliver);
    run_until(b->loop, is_quiet, b);
    deliver_free(b->deliver);
    for (unsigned i = 0; i < HOSTS; i++) {
        assert_string_equal(b->mx[i].fault, "");
        script_mx_close(&b->mx[i]);
    }
    fake_queue_fini(&b->queue);
    loop_free(b->loop);
}

static void
give(struct bench *b, struct fake_job_spec spec)
{
    struct queue_consumer *c = deliver_consumer(b->deliver);
    if (spec.next_hop == NULL)
        spec.next_hop = "rcpt.test";
    if (spec.targets == 0)
        spec.targets = 1;
    if (spec.envelope.n == 0)
        spec.envelope = slice_from(b->envelope, b->envelope_bytes);
    c->on_job(c, fake_job_new(&b->queue, &spec));
}

static bool
connected(void *arg)
{
    return ((struct bench *)arg)->mx[0].connections > 0;
}

struct ends_wanted {
    struct bench *b;
    unsigned n;
};

static bool
ends_reached(void *arg)
{
    struct ends_wanted *w = arg;
    return w->b->queue.end_count >= w->n;
}

static void
wait_ends(struct bench *b, unsigned n)
{
    struct ends_wanted w = {b, n};
    run_until(b->loop, ends_reached, &w);
}

static struct verdict
verdict_of(const struct fake_end *e, unsigned i)
{
    struct verdict v;
    assert_true(verdict_decode(e->targets[i].reply, &v));
    return v;
}

static bool
event_has(const struct fake_end *e, const char *text)
{
    return slice_find_slice(e->event, slice_str(text)) < e->event.n;
}

#define JOB(...) ((struct fake_job_spec){__VA_ARGS__})
#define assert_end(e, i, want_state, want_code)                                                    \
    do {                                                                                           \
        assert_false((e)->released);                                                               \
        assert_int_equal((e)->targets[i].state, (want_state));                                     \
        assert_int_equal(verdict_of((e), (i)).code, (want_code));                                  \
    } while (0)

/* ---- the good way -------------------------------------------------------------- */

static void
test_one_job(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(.not_in_memory = true));
    wait_ends(&b, 1);
    const struct fake_end *e = &b.queue.ends[0];
    assert_end(e, 0, QUEUE_DELIVERED, 250);
    assert_true(e->intended);
    assert_int_equal(b.queue.loads, 1);
    assert_int_equal(e->targets[0].attempts, 1);
    assert_false(e->targets[0].notice_owed);
    assert_false(e->targets[0].uncertain);
    assert_true(event_has(e, "\"type\":\"delivery.succeeded\""));
    assert_true(event_has(e, "\"recipients\":[\"r0@rcpt.test\"]"));
    assert_true(slice_eq(verdict_of(e, 0).mx, SLICE("mx0.test")));
    bench_fini(&b);
}

/* RTY-20: jobs follow each other on one connection, and one route question. */
static void
test_connection_is_reused(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.config.site_connections_max = 1;
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    for (int i = 0; i < 3; i++)
        give(&b, JOB(0));
    wait_ends(&b, 3);
    give(&b, JOB(.next_hop = "shares-the-site.test"));
    wait_ends(&b, 4);
    for (int i = 0; i < 4; i++)
        assert_end(&b.queue.ends[i], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.mx[0].connections, 1);
    assert_int_equal(b.routes, 2);
    bench_fini(&b);
}

/* More recipients than one transaction takes: several, one attempt. */
static void
test_many_recipients(void **state)
{
    static struct mx_step script[512];
    struct bench b;
    unsigned n = 0;
    const struct mx_step ehlo[] = {EHLO};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ehlo); i++)
        script[n++] = ehlo[i];
    for (unsigned part = 0; part < 2; part++) {
        unsigned rcpts = part == 0 ? RCPT_PER_TRANSACTION_MAX : 50;
        script[n++] = (struct mx_step)HEAR("MAIL");
        for (unsigned i = 0; i < rcpts; i++)
            script[n++] = (struct mx_step)HEAR("RCPT");
        script[n++] = (struct mx_step)HEAR("DATA");
        for (unsigned i = 0; i < rcpts + 1; i++)
            script[n++] = (struct mx_step)SAY("250 \r\n");
        script[n++] = (struct mx_step)SAY("354 go\r\n");
        script[n++] = (struct mx_step)TEXT;
        script[n++] = (struct mx_step)SAY("250 ok\r\n");
    }
    script[n] = (struct mx_step)END;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    give(&b, JOB(.targets = 150));
    wait_ends(&b, 1);
    for (unsigned i = 0; i < 150; i++)
        assert_end(&b.queue.ends[0], i, QUEUE_DELIVERED, 250);
    assert_int_equal(b.mx[0].texts, 2);
    assert_int_equal(b.queue.intents, 1);
    bench_fini(&b);
}

/* A connection is left after so many messages; the next ones get another. */
static void
test_worn_connection(void **state)
{
    enum { N = MESSAGES_PER_CONNECTION_MAX + 1 };
    static struct mx_step script[4 + 6 * N + 3];
    static const struct mx_step ehlo[] = {EHLO}, mail[] = {GOOD_MAIL},
                                bye[] = {HEAR("QUIT"), SAY("221 bye\r\n"), HANG_UP};
    struct bench b;
    unsigned n = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ehlo); i++)
        script[n++] = ehlo[i];
    for (unsigned m = 0; m < MESSAGES_PER_CONNECTION_MAX; m++)
        for (size_t i = 0; i < ARRAY_LEN(mail); i++)
            script[n++] = mail[i];
    for (size_t i = 0; i < ARRAY_LEN(bye); i++)
        script[n++] = bye[i];
    assert_true(n <= ARRAY_LEN(script));
    bench_init(&b, 1);
    b.config.site_connections_max = 1;
    script_mx_add(&b.mx[0], script);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    for (unsigned sent = 0; sent < N;) { /* as many at a time as the fake notes */
        b.queue.end_count = 0;
        unsigned part = N - sent < FAKE_ENDS ? N - sent : FAKE_ENDS;
        for (unsigned i = 0; i < part; i++)
            give(&b, JOB(0));
        wait_ends(&b, part);
        for (unsigned i = 0; i < part; i++)
            assert_end(&b.queue.ends[i], 0, QUEUE_DELIVERED, 250);
        sent += part;
    }
    assert_int_equal(b.mx[0].connections, 2);
    bench_fini(&b);
}

/* A site that does not move keeps so many in memory; the rest goes back. */
static void
test_site_is_full(void **state)
{
    static const struct mx_step silent[] = {END};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], silent);
    bench_start(&b);
    give(&b, JOB(0));
    run_until(b.loop, connected, &b);
    for (int i = 0; i < SITE_READY_MAX + 1; i++)
        give(&b, JOB(0));
    assert_int_equal(b.queue.end_count, 2);
    assert_true(b.queue.ends[0].released);
    assert_int_equal(b.queue.ends[0].delay_ms, SITE_STUCK_DELAY_MS);
    b.queue.end_count = 0;
    b.queue.forgets_ends = true; /* draining gives all of them back */
    bench_fini(&b);
}

/* What is heard of the local parts, in order: 't' transactional, 'b' bulk. */
static void
order_heard(const struct bench *b, char *out, size_t cap)
{
    struct slice all = buf_slice(&b->mx[0].heard);
    size_t n = 0;
    while (all.n > 0) {
        struct slice line = slice_cut_at(&all, '\n');
        if (slice_starts(line, SLICE("RCPT TO:<")) && n + 1 < cap)
            out[n++] = slice_find_slice(line, SLICE("@other")) < line.n ? 't' : 'b';
    }
    out[n] = '\0';
}

/* A password reset does not wait behind a newsletter; the newsletter goes on. */
static void
test_transactional_overtakes_bulk(void **state)
{
    static struct mx_step script[3 + 6 * 17 + 1];
    static const struct mx_step ehlo[] = {EHLO}, mail[] = {GOOD_MAIL};
    struct bench b;
    unsigned n = 0;
    char order[32];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ehlo); i++)
        script[n++] = ehlo[i];
    for (int m = 0; m < 16; m++)
        for (size_t i = 0; i < ARRAY_LEN(mail); i++)
            script[n++] = mail[i];
    assert_true(n < ARRAY_LEN(script));
    bench_init(&b, 1);
    b.one_site = true;
    b.config.site_connections_max = 1;
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    for (int i = 0; i < 8; i++)
        give(&b, JOB(.klass = QUEUE_BULK));
    for (int i = 0; i < 8; i++)
        give(&b, JOB(.next_hop = "other.test"));
    wait_ends(&b, 16);
    order_heard(&b, order, sizeof order);
    assert_string_equal(order, "ttttbttttbbbbbbb");
    bench_fini(&b);
}

/* RTY-03: 452 too many: the others get the message now, in the same attempt. */
static void
test_too_many_recipients(void **state)
{
    static const struct mx_step script[] = {
        EHLO,         HEAR("MAIL"),
        HEAR("RCPT"), HEAR("RCPT"),
        HEAR("DATA"), SAY("250 \r\n250 \r\n452 4.5.3 many\r\n354 \r\n"),
        TEXT,         SAY("250 ok\r\n"),
        HEAR("MAIL"), HEAR("RCPT TO:<r1"),
        HEAR("DATA"), SAY("250 \r\n250 \r\n354 \r\n"),
        TEXT,         SAY("250 ok\r\n"),
        END};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    give(&b, JOB(.targets = 2));
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_DELIVERED, 250);
    assert_end(&b.queue.ends[0], 1, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

/* RTY-18 and the notices: refused for good owes one, refused for now does not. */
static void
test_mixed_results(void **state)
{
    static const struct mx_step script[] = {
        EHLO,
        HEAR("MAIL"),
        HEAR("RCPT"),
        HEAR("RCPT"),
        HEAR("RCPT"),
        HEAR("DATA"),
        SAY("250 \r\n250 \r\n550 5.1.1 no\r\n451 4.2.1 later\r\n354 \r\n"),
        TEXT,
        SAY("250 ok\r\n"),
        END};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    int64_t before = clock_sched_unix_ms();
    give(&b, JOB(.targets = 3));
    wait_ends(&b, 1);
    const struct fake_end *e = &b.queue.ends[0];
    assert_end(e, 0, QUEUE_DELIVERED, 250);
    assert_end(e, 1, QUEUE_BOUNCED, 550);
    assert_end(e, 2, QUEUE_DEFERRED, 451);
    assert_false(e->targets[0].notice_owed);
    assert_true(e->targets[1].notice_owed);
    assert_false(e->targets[2].notice_owed);
    assert_true(e->retry_at_unix_ms >= before + 5000);
    assert_true(e->retry_at_unix_ms <= clock_sched_unix_ms() + 5000);
    assert_true(event_has(e, "delivery.bounced") && event_has(e, "delivery.deferred"));
    bench_fini(&b);
}

static void
test_null_sender_owes_nothing(void **state)
{
    static const struct mx_step script[] = {EHLO,
                                            HEAR("MAIL FROM:<>"),
                                            HEAR("RCPT"),
                                            HEAR("DATA"),
                                            SAY("250 \r\n550 no\r\n554 \r\n"),
                                            HEAR("RSET"),
                                            SAY("250 \r\n"),
                                            END};
    static const struct envelope null_sender = {.is_ndr = true};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    set_envelope(&b, &null_sender);
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    give(&b, JOB(0));
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_BOUNCED, 550);
    assert_false(b.queue.ends[0].targets[0].notice_owed);
    bench_fini(&b);
}

/* ---- hosts --------------------------------------------------------------------- */

static void
test_next_host(void **state)
{
    static const struct mx_step refuses[] = {SAY("554 go away\r\n"), END};
    static const struct mx_step leaves[] = {EHLO, HEAR("MAIL"), SAY("421 4.3.2 out\r\n"), HANG_UP};
    struct bench b;
    (void)state;
    bench_init(&b, 3);
    script_mx_add(&b.mx[0], refuses);
    script_mx_add(&b.mx[1], leaves); /* RTY-02: 421 after MAIL */
    script_mx_add(&b.mx[2], good);
    bench_start(&b);
    give(&b, JOB(0));
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.queue.ends[0].targets[0].attempts, 1);
    assert_int_equal(b.queue.intents, 1);
    assert_int_equal(b.mx[0].connections, 1);
    assert_int_equal(b.mx[1].connections, 1);
    bench_fini(&b);
}

/* A 5xx of a host before MAIL is not the recipient's: deferred, not bounced;
 * and the site rests: the next job goes back without a connection. */
static void
test_no_host_wants_us(void **state)
{
    static const struct mx_step refuses[] = {SAY("554 go away\r\n"), END};
    struct bench b;
    (void)state;
    bench_init(&b, 2);
    script_mx_add(&b.mx[0], refuses);
    script_mx_add(&b.mx[1], closed);
    bench_start(&b);
    give(&b, JOB(0));
    give(&b, JOB(0));
    wait_ends(&b, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b.queue.ends[i].targets[0].state, QUEUE_DEFERRED);
        assert_false(b.queue.ends[i].intended);
    }
    unsigned connections = b.mx[0].connections;
    give(&b, JOB(0));
    wait_ends(&b, 3);
    assert_true(b.queue.ends[2].released);
    assert_true(b.queue.ends[2].delay_ms > 0 && b.queue.ends[2].delay_ms <= SITE_BACKOFF_MS + 1);
    assert_int_equal(b.mx[0].connections, connections);
    bench_fini(&b);
}

/* MXR-11: STARTTLS is broken: the same host in clear, and remembered. */
static void
test_broken_tls(void **state)
{
    static const struct mx_step broken[] = {
        SAY("220 mx\r\n"), HEAR("EHLO"),      SAY("250-mx\r\n250 STARTTLS\r\n"),
        HEAR("STARTTLS"),  SAY("220 go\r\n"), HANG_UP};
    static const struct mx_step clear[] = {SAY("220 mx\r\n"), HEAR("EHLO"),
                                           SAY("250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
                                           GOOD_MAIL, HANG_UP};
    struct bench b;
    struct err err = {0};
    (void)state;
    bench_init(&b, 1);
    b.tls = tls_client_opportunistic_new(&err);
    script_mx_add(&b.mx[0], broken);
    script_mx_add(&b.mx[0], clear);
    bench_start(&b);
    give(&b, JOB(0));
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.mx[0].connections, 2);
    give(&b, JOB(0));
    wait_ends(&b, 2);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.mx[0].connections, 3); /* TLS was not tried again */
    struct tls_context *tls = b.tls;
    bench_fini(&b);
    tls_context_free(tls);
}

/* RTY-20: the peer closes an idle connection: a new one, no failure. */
static void
test_peer_closes_reused_connection(void **state)
{
    static const struct mx_step once[] = {EHLO, GOOD_MAIL, HEAR("MAIL"), HANG_UP};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], once);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(0));
    wait_ends(&b, 1);
    give(&b, JOB(0));
    wait_ends(&b, 2);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.queue.ends[1].targets[0].attempts, 1);
    assert_int_equal(b.queue.intents, 2);
    bench_fini(&b);
}

/* A message on which hosts break off ends as deferred, and hurts no other. */
static void
test_connection_breaks_off(void **state)
{
    static const struct mx_step breaks[] = {EHLO, HEAR("MAIL"), SAY("250 \r\n"), HANG_UP};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.config.site_connections_max = 1;
    script_mx_add(&b.mx[0], breaks);
    script_mx_add(&b.mx[0], breaks);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(0));
    give(&b, JOB(0));
    wait_ends(&b, 2);
    assert_int_equal(b.queue.ends[0].targets[0].state, QUEUE_DEFERRED);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

/* One connection for two sites: an idle one makes room. */
static void
test_connections_are_shared_out(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.config.connections_max = 1;
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    for (int i = 0; i < 3; i++) {
        give(&b, JOB(0));
        give(&b, JOB(.next_hop = "other.test"));
    }
    wait_ends(&b, 6);
    for (int i = 0; i < 6; i++)
        assert_end(&b.queue.ends[i], 0, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

/* ---- routes ---------------------------------------------------------------------- */

static void
test_route_refuses(void **state)
{
    static const struct {
        enum route_verdict verdict;
        enum queue_state state;
        unsigned code;
    } cases[] = {{ROUTE_PERM, QUEUE_BOUNCED, 556}, {ROUTE_TEMP, QUEUE_DEFERRED, 451}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        bench_init(&b, 1);
        script_mx_add(&b.mx[0], good);
        b.verdict = cases[i].verdict;
        bench_start(&b);
        give(&b, JOB(0));
        give(&b, JOB(0));
        wait_ends(&b, 2);
        assert_end(&b.queue.ends[1], 0, cases[i].state, cases[i].code);
        assert_int_equal(b.queue.ends[1].targets[0].notice_owed, cases[i].state == QUEUE_BOUNCED);
        assert_int_equal(verdict_of(&b.queue.ends[0], 0).enhanced[0], cases[i].code / 100);
        assert_int_equal(b.routes, 1);
        assert_int_equal(b.mx[0].connections, 0);
        bench_fini(&b);
    }
}

/* ---- the queue says no, or nobody knows ------------------------------------------- */

static void
test_intent_refused(void **state)
{
    static const enum queue_intent results[] = {QUEUE_INTENT_STALE, QUEUE_INTENT_AWAY};
    static const struct mx_step script[] = {EHLO, MAIL_OF_1, SAY("250 ok\r\n"), END};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        struct bench b;
        bench_init(&b, 1);
        b.queue.intent = results[i];
        script_mx_add(&b.mx[0], script);
        bench_start(&b);
        give(&b, JOB(0));
        wait_ends(&b, 1);
        assert_true(b.queue.ends[0].released);
        assert_int_equal(b.queue.ends[0].delay_ms,
                         results[i] == QUEUE_INTENT_AWAY ? AWAY_DELAY_MS : 0);
        run_turns(b.loop, 20);
        assert_int_equal(b.mx[0].texts, 0);
        bench_fini(&b);
    }
}

/* The intent comes late: the text is there, the dot is not. */
static void
test_intent_comes_late(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.queue.intent_waits = true;
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(0));
    run_turns(b.loop, 60);
    assert_true(script_mx_heard(&b.mx[0], "DATA"));
    assert_int_equal(b.mx[0].texts, 0);
    fake_queue_answer(&b.queue);
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

/* The refusal is faster than the intent: the outcome waits for it. */
static void
test_refused_before_the_intent(void **state)
{
    static const struct mx_step script[] = {EHLO,
                                            HEAR("MAIL"),
                                            HEAR("RCPT"),
                                            HEAR("DATA"),
                                            SAY("550 5.7.1 no\r\n503 \r\n503 \r\n"),
                                            HEAR("RSET"),
                                            SAY("250 \r\n"),
                                            END};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.queue.intent_waits = true;
    script_mx_add(&b.mx[0], script);
    bench_start(&b);
    give(&b, JOB(0));
    run_turns(b.loop, 60);
    assert_true(script_mx_heard(&b.mx[0], "RSET"));
    assert_int_equal(b.queue.end_count, 0);
    fake_queue_answer(&b.queue);
    wait_ends(&b, 1);
    assert_end(&b.queue.ends[0], 0, QUEUE_BOUNCED, 550);
    bench_fini(&b);
}

static void
test_load_fails(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.queue.load_error = ERR_AWAY;
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(.not_in_memory = true));
    wait_ends(&b, 1);
    assert_true(b.queue.ends[0].released);
    assert_int_equal(b.queue.ends[0].delay_ms, AWAY_DELAY_MS);
    b.queue.load_error = ERR_NONE;
    give(&b, JOB(.not_in_memory = true));
    wait_ends(&b, 2);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.mx[0].connections, 1); /* the connection was not at fault */
    bench_fini(&b);
}

/* CRS-10: uncertain is flagged, and tried again or held as configured. */
static void
test_uncertain(void **state)
{
    static const struct mx_step script[] = {EHLO, MAIL_OF_1, HANG_UP};
    (void)state;
    for (int hold = 0; hold < 2; hold++) {
        struct bench b;
        bench_init(&b, 1);
        b.config.hold_uncertain = hold != 0;
        script_mx_add(&b.mx[0], script);
        bench_start(&b);
        give(&b, JOB(0));
        wait_ends(&b, 1);
        const struct fake_end *e = &b.queue.ends[0];
        assert_end(e, 0, hold ? QUEUE_HELD : QUEUE_DEFERRED, 0);
        assert_true(e->targets[0].uncertain);
        assert_true(event_has(e, "delivery.uncertain"));
        assert_int_equal(e->retry_at_unix_ms == 0, hold);
        assert_int_equal(b.mx[0].connections, 1); /* no other host after the dot */
        bench_fini(&b);
    }
}

static void
test_expired(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(.expires_unix_ms = clock_sched_unix_ms() - 1, .attempts = 3));
    wait_ends(&b, 1);
    const struct fake_end *e = &b.queue.ends[0];
    assert_int_equal(e->targets[0].state, QUEUE_EXPIRED);
    assert_true(e->targets[0].notice_owed);
    assert_true(event_has(e, "delivery.expired"));
    assert_int_equal(b.mx[0].connections, 0);
    bench_fini(&b);
}

static void
test_unreadable_envelope(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(.envelope = SLICE("garbage")));
    wait_ends(&b, 1);
    assert_int_equal(b.queue.ends[0].targets[0].state, QUEUE_HELD);
    assert_int_equal(b.mx[0].connections, 0);
    bench_fini(&b);
}

/* ---- draining -------------------------------------------------------------------- */

static bool
heard_data(void *arg)
{
    return script_mx_heard(&((struct bench *)arg)->mx[0], "DATA");
}

static void
test_drain_while_routing(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.routes_wait = true;
    bench_start(&b);
    give(&b, JOB(0));
    deliver_drain(b.deliver);
    wait_ends(&b, 1);
    assert_true(b.queue.ends[0].released);
    give(&b, JOB(0)); /* what comes now goes back at once */
    assert_true(b.queue.ends[1].released);
    bench_fini(&b);
}

static void
test_drain_while_dialing(void **state)
{
    static const struct mx_step silent[] = {END};
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    script_mx_add(&b.mx[0], silent);
    bench_start(&b);
    give(&b, JOB(0));
    run_until(b.loop, connected, &b);
    deliver_drain(b.deliver);
    wait_ends(&b, 1);
    assert_true(b.queue.ends[0].released);
    bench_fini(&b);
}

/* A transaction that runs comes to its end; what waits behind it goes back. */
static void
test_drain_in_a_transaction(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.config.site_connections_max = 1;
    b.queue.intent_waits = true;
    script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give(&b, JOB(0));
    give(&b, JOB(0));
    run_until(b.loop, heard_data, &b);
    deliver_drain(b.deliver);
    assert_int_equal(b.queue.end_count, 1);
    assert_true(b.queue.ends[0].released);
    assert_true(deliver_busy(b.deliver));
    fake_queue_answer(&b.queue);
    wait_ends(&b, 2);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

/* ---- large messages ---------------------------------------------------------------- */

struct times {
    struct bench *b;
    const char *line;
    unsigned n;
};

/* A line was heard so often, on all connections together. */
static bool
heard_times(void *arg)
{
    const struct times *t = arg;
    struct slice all = buf_slice(&t->b->mx[0].heard);
    unsigned n = 0;
    while (all.n > 0)
        n += slice_starts(slice_cut_at(&all, '\n'), slice_str(t->line));
    return n >= t->n;
}

static void
wait_heard(struct bench *b, const char *line, unsigned n)
{
    struct times t = {b, line, n};
    run_until(b->loop, heard_times, &t);
}

static void
give_large(struct bench *b)
{
    give(b, JOB(.not_in_memory = true, .size_bytes = DELIVER_BYTES_IN_MEMORY_MAX));
}

/* Only so much of them is in memory at a time; small ones do not mind. */
static void
test_large_messages_have_turns(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.config.site_connections_max = 3;
    b.queue.intent_waits = true;
    for (int i = 0; i < 3; i++)
        script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give_large(&b);
    wait_heard(&b, "DATA", 1);
    give_large(&b);
    wait_heard(&b, "EHLO", 2);
    give(&b, JOB(.not_in_memory = true, .size_bytes = DELIVER_SMALL_BYTES));
    wait_heard(&b, "DATA", 2);
    assert_int_equal(b.queue.loads, 2);
    fake_queue_answer(&b.queue);
    wait_ends(&b, 3);
    for (int i = 0; i < 3; i++)
        assert_end(&b.queue.ends[i], 0, QUEUE_DELIVERED, 250);
    assert_int_equal(b.queue.loads, 3);
    bench_fini(&b);
}

/* A connection that would wait too long takes what else there is. */
static void
test_a_connection_is_not_kept_for_memory(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.queue.intent_waits = true;
    for (int i = 0; i < 2; i++)
        script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give_large(&b);
    wait_heard(&b, "DATA", 1);
    give_large(&b);
    give(&b, JOB(0));
    wait_heard(&b, "DATA", 2);
    assert_int_equal(b.queue.end_count, 1);
    assert_true(b.queue.ends[0].released);
    fake_queue_answer(&b.queue);
    wait_ends(&b, 3);
    bench_fini(&b);
}

/* What waits for memory does not hold a drain up: it goes back as if untried. */
static void
test_drain_while_memory_is_short(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, 1);
    b.queue.intent_waits = true;
    for (int i = 0; i < 2; i++)
        script_mx_add(&b.mx[0], good);
    bench_start(&b);
    give_large(&b);
    wait_heard(&b, "DATA", 1);
    give_large(&b);
    wait_heard(&b, "EHLO", 2);
    deliver_drain(b.deliver);
    wait_ends(&b, 1);
    assert_true(b.queue.ends[0].released);
    assert_int_equal(b.queue.loads, 1);
    fake_queue_answer(&b.queue);
    wait_ends(&b, 2);
    assert_end(&b.queue.ends[1], 0, QUEUE_DELIVERED, 250);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_job),
        cmocka_unit_test(test_connection_is_reused),
        cmocka_unit_test(test_worn_connection),
        cmocka_unit_test(test_site_is_full),
        cmocka_unit_test(test_transactional_overtakes_bulk),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_too_many_recipients),
        cmocka_unit_test(test_mixed_results),
        cmocka_unit_test(test_null_sender_owes_nothing),
        cmocka_unit_test(test_next_host),
        cmocka_unit_test(test_no_host_wants_us),
        cmocka_unit_test(test_broken_tls),
        cmocka_unit_test(test_peer_closes_reused_connection),
        cmocka_unit_test(test_connection_breaks_off),
        cmocka_unit_test(test_connections_are_shared_out),
        cmocka_unit_test(test_route_refuses),
        cmocka_unit_test(test_intent_refused),
        cmocka_unit_test(test_intent_comes_late),
        cmocka_unit_test(test_refused_before_the_intent),
        cmocka_unit_test(test_load_fails),
        cmocka_unit_test(test_uncertain),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_unreadable_envelope),
        cmocka_unit_test(test_drain_while_routing),
        cmocka_unit_test(test_drain_while_dialing),
        cmocka_unit_test(test_drain_in_a_transaction),
        cmocka_unit_test(test_large_messages_have_turns),
        cmocka_unit_test(test_a_connection_is_not_kept_for_memory),
        cmocka_unit_test(test_drain_while_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
