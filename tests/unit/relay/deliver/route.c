/* Where mail goes, against a name server that says what each case needs. */
#include "relay/deliver/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "tests/unit/support/fake_dns.h"

enum { PORT = 2525, DNS_TIMEOUT_MS = 20000 };

static char many_mx[1600], long_mx[1600];

static const struct fake_dns_row rows[] = {
    {"two.test", DNS_MX, FAKE_DNS_ANSWER, "20 b.two.test.;10 a.two.test."},
    {"twin.test", DNS_MX, FAKE_DNS_ANSWER, "5 A.two.test.;7 b.two.test."},
    {"a.two.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.1;192.0.2.2"},
    {"a.two.test", DNS_AAAA, FAKE_DNS_ANSWER, "2001:db8::1"},
    {"b.two.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.3"},
    {"null.test", DNS_MX, FAKE_DNS_ANSWER, "0 ."},
    {"null.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"null10.test", DNS_MX, FAKE_DNS_ANSWER, "10 ."},
    {"nullplus.test", DNS_MX, FAKE_DNS_ANSWER, "0 .;10 b.two.test."},
    {"implicit.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.4"},
    {"implicit6.test", DNS_AAAA, FAKE_DNS_ANSWER, "2001:db8::4"},
    {"nothing.test", DNS_TXT, FAKE_DNS_ANSWER, "here"},
    {"servfail.test", DNS_MX, FAKE_DNS_RCODE, "2"},
    {"servfail.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"refused.test", DNS_MX, FAKE_DNS_RCODE, "5"},
    {"refused.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"truncated.test", DNS_MX, FAKE_DNS_TRUNCATED, NULL},
    {"silent.test", DNS_MX, FAKE_DNS_SILENT, NULL},
    {"silent.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"gone.test", DNS_MX, FAKE_DNS_ANSWER, "10 no1.test.;20 nothing.test."},
    {"gone.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"mixed.test", DNS_MX, FAKE_DNS_ANSWER, "10 no1.test.;20 shaky.test."},
    {"mixed.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"shaky.test", DNS_A, FAKE_DNS_RCODE, "2"},
    {"shaky.test", DNS_AAAA, FAKE_DNS_RCODE, "2"},
    {"half.test", DNS_MX, FAKE_DNS_ANSWER, "10 half4.test."},
    {"half4.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.5"},
    {"half4.test", DNS_AAAA, FAKE_DNS_RCODE, "2"},
    {"second.test", DNS_MX, FAKE_DNS_ANSWER, "10 shaky.test.;20 b.two.test."},
    {"strange.test", DNS_MX, FAKE_DNS_ANSWER, "10 a b.test.;20 b.two.test."},
    {"strange-only.test", DNS_MX, FAKE_DNS_ANSWER, "10 a$b.test."},
    {"strange-only.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.9"},
    {"inside.test", DNS_MX, FAKE_DNS_ANSWER, "10 private.test.;20 loop.test."},
    {"private.test", DNS_A, FAKE_DNS_ANSWER, "10.1.2.3;192.168.1.1;169.254.169.254"},
    {"loop.test", DNS_A, FAKE_DNS_ANSWER, "127.0.0.1"},
    {"loop.test", DNS_AAAA, FAKE_DNS_ANSWER, "::1"},
    {"equal.test", DNS_MX, FAKE_DNS_ANSWER, "10 e1.test.;10 e2.test.;10 e3.test.;10 e4.test."},
    {"e1.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.11"},
    {"e2.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.12"},
    {"e3.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.13"},
    {"e4.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.14"},
    {"us.test", DNS_MX, FAKE_DNS_ANSWER, "5 e1.test.;10 us.example.;10 e2.test.;20 e3.test."},
    {"only-us.test", DNS_MX, FAKE_DNS_ANSWER, "10 us.example.;20 e3.test."},
    {"many.test", DNS_MX, FAKE_DNS_ANSWER, many_mx},
    {"long.test", DNS_MX, FAKE_DNS_ANSWER, long_mx},
    {"crowd.test", DNS_MX, FAKE_DNS_ANSWER, "10 crowd-a.test.;20 b.two.test.;20 B.TWO.test."},
    {"crowd-a.test", DNS_A, FAKE_DNS_ANSWER,
     "192.0.2.21;192.0.2.22;192.0.2.23;192.0.2.24;192.0.2.25;192.0.2.26;192.0.2.27;192.0.2.28"},
    {"crowd-a.test", DNS_AAAA, FAKE_DNS_ANSWER, "2001:db8::21;2001:db8::22;2001:db8::23"},
    {"late.test", DNS_MX, FAKE_DNS_ANSWER,
     "1 no1.test.;2 no2.test.;3 no3.test.;4 no4.test.;5 no5.test.;6 no6.test.;7 e1.test."},
};

struct world {
    struct fake_dns dns;
    struct loop *loop;
    struct resolver *resolver;
    struct route_config cfg;
};

struct ask {
    struct route_op op;
    struct loop *loop;
    unsigned done;
};

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};
    for (int i = 0; i < 30; i++)
        snprintf(many_mx + strlen(many_mx), 40, "%s%d m%d.test.", i > 0 ? ";" : "", 100 - i, i);
    for (int i = 0; i < 9; i++)
        snprintf(long_mx + strlen(long_mx), 100, "%s10 e1.%050d.%d.test.", i > 0 ? ";" : "", 0, i);
    strcat(long_mx, ";10 e1.test.");
    fake_dns_open(&w->dns, rows, ARRAY_LEN(rows));
    w->loop = loop_new();
    w->resolver = resolver_new(
        w->loop, &(struct resolver_config){.forward = w->dns.forward, .no_special_zones = true},
        &err);
    w->cfg = (struct route_config){
        .resolver = w->resolver, .mx_port = PORT, .dns_timeout_ms = DNS_TIMEOUT_MS};
    *state = w;
    return w->resolver != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    many_mx[0] = long_mx[0] = '\0';
    resolver_free(w->resolver);
    loop_free(w->loop);
    fake_dns_close(&w->dns);
    free(w);
    return 0;
}

static void
on_done(struct route_op *op)
{
    struct ask *a = container_of(op, struct ask, op);
    a->done++;
    loop_stop(a->loop);
}

static struct route *
ask(struct world *w, const char *domain)
{
    struct ask a = {.loop = w->loop};
    route_start(&a.op, w->loop, &w->cfg, slice_str(domain), on_done);
    assert_int_equal(a.done, 0);
    loop_run(w->loop);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.op.err.code, ERR_NONE);
    assert_non_null(a.op.route);
    return a.op.route;
}

static void
expect_failure(struct world *w, const char *domain, enum route_verdict verdict, unsigned code,
               const char *enhanced)
{
    struct route *r = ask(w, domain);
    if (r->verdict != verdict || r->code != code || strcmp(r->enhanced, enhanced) != 0)
        fail_msg("%s: %u %s %s", domain, r->code, r->enhanced, r->text);
    assert_non_null(strstr(r->text, domain));
    assert_int_equal(r->address_count, 0);
    route_free(r);
}

/* "a.two.test 192.0.2.1 192.0.2.2 b.two.test 192.0.2.3 " */
static void
expect_hosts(struct world *w, const char *domain, const char *expected)
{
    struct route *r = ask(w, domain);
    struct buf text;
    buf_init(&text, 4096);
    assert_int_equal(r->verdict, ROUTE_OK);
    for (unsigned i = 0; i < r->host_count; i++) {
        const struct route_host *h = &r->hosts[i];
        buf_addf(&text, "%s%u %s", i > 0 ? "; " : "", h->preference, h->name);
        for (unsigned k = 0; k < h->address_count; k++) {
            char ip[64];
            assert_int_equal(r->addresses[h->first_address + k].port, w->cfg.mx_port);
            net_address_format_ip(&r->addresses[h->first_address + k], ip);
            buf_addf(&text, " %s", ip);
        }
    }
    buf_add_char(&text, '\0');
    assert_string_equal(buf_slice(&text).p, expected);
    buf_fini(&text);
    route_free(r);
}

static void
hosts_come_by_preference_with_both_families(void **state)
{
    struct world *w = *state;
    struct route *r = ask(w, "two.test");
    assert_int_equal(r->verdict, ROUTE_OK);
    assert_int_equal(r->host_count, 2);
    assert_string_equal(r->hosts[0].name, "a.two.test");
    assert_int_equal(r->hosts[0].preference, 10);
    assert_int_equal(r->hosts[0].address_count, 3);
    assert_int_equal(r->addresses[0].kind, NET_IPV4);
    assert_int_equal(r->addresses[1].kind, NET_IPV6);
    assert_int_equal(r->addresses[2].kind, NET_IPV4);
    assert_string_equal(r->hosts[1].name, "b.two.test");
    assert_int_equal(r->hosts[1].first_address, 3);
    assert_string_equal(r->site_key, "a.two.test,b.two.test");
    assert_in_range(r->ttl_s, 1, 256);
    route_free(r);
}

static void
domains_with_the_same_hosts_share_a_site(void **state)
{
    struct world *w = *state;
    struct route *a = ask(w, "two.test"), *b = ask(w, "twin.test"), *c = ask(w, "implicit.test");
    assert_string_equal(a->site_key, b->site_key);
    assert_string_equal(c->site_key, "implicit.test");
    route_free(a);
    route_free(b);
    route_free(c);
    struct route *l1 = ask(w, "long.test"), *l2 = ask(w, "long.test");
    assert_string_equal(l1->site_key, l2->site_key); /* whatever the shuffling */
    assert_in_range(strlen(l1->site_key), 40, ROUTE_SITE_KEY_MAX - 1);
    route_free(l1);
    route_free(l2);
}

/* DNS-01, DNS-02 */
static void
null_mx_refuses_mail(void **state)
{
    struct world *w = *state;
    expect_failure(w, "null.test", ROUTE_PERM, 556, "5.1.10");
    expect_failure(w, "null10.test", ROUTE_PERM, 556, "5.1.10");
    expect_hosts(w, "nullplus.test", "10 b.two.test 192.0.2.3");
}

/* DNS-04 */
static void
no_domain_is_permanent(void **state)
{
    expect_failure(*state, "no-such.test", ROUTE_PERM, 550, "5.1.2");
    expect_failure(*state, "..", ROUTE_PERM, 550, "5.1.2");
}

/* DNS-05 */
static void
domain_without_mx_is_its_own_host(void **state)
{
    expect_hosts(*state, "implicit.test", "0 implicit.test 192.0.2.4");
    expect_hosts(*state, "implicit6.test", "0 implicit6.test 2001:db8::4");
}

/* DNS-06 */
static void
domain_without_anything_is_permanent(void **state)
{
    expect_failure(*state, "nothing.test", ROUTE_PERM, 550, "5.4.4");
}

/* DNS-07: the A record that is there must not be used. */
static void
trouble_with_the_mx_question_is_temporary(void **state)
{
    struct world *w = *state;
    expect_failure(w, "servfail.test", ROUTE_TEMP, 451, "4.4.3");
    expect_failure(w, "refused.test", ROUTE_TEMP, 451, "4.4.3");
    expect_failure(w, "truncated.test", ROUTE_TEMP, 451, "4.4.3");
    w->cfg.dns_timeout_ms = 50;
    expect_failure(w, "silent.test", ROUTE_TEMP, 451, "4.4.3");
}

/* DNS-08 */
static void
hosts_without_addresses(void **state)
{
    struct world *w = *state;
    expect_failure(w, "gone.test", ROUTE_PERM, 550, "5.4.4");
    expect_failure(w, "mixed.test", ROUTE_TEMP, 451, "4.4.3");
    expect_hosts(w, "second.test", "20 b.two.test 192.0.2.3");
}

/* DNS-15 */
static void
one_family_in_trouble_leaves_the_other(void **state)
{
    expect_hosts(*state, "half.test", "10 half4.test 192.0.2.5");
}

/* DNS-17 */
static void
names_that_no_host_has_are_left_out(void **state)
{
    expect_hosts(*state, "strange.test", "20 b.two.test 192.0.2.3");
    expect_failure(*state, "strange-only.test", ROUTE_PERM, 550, "5.4.4");
}

/* DNS-09 */
static void
inside_addresses_are_refused(void **state)
{
    struct world *w = *state;
    expect_failure(w, "inside.test", ROUTE_PERM, 550, "5.4.4");
    w->cfg.allow_loopback = true;
    expect_hosts(w, "inside.test", "20 loop.test 127.0.0.1 ::1");
    expect_failure(w, "implicit.test", ROUTE_PERM, 550, "5.4.4");
}

/* DNS-10 */
static void
hosts_from_ourselves_on_are_left_out(void **state)
{
    struct world *w = *state;
    w->cfg.own_name = "us.example";
    expect_hosts(w, "us.test", "5 e1.test 192.0.2.11");
    expect_failure(w, "only-us.test", ROUTE_PERM, 550, "5.4.6");
}

/* DNS-14 */
static void
hosts_and_addresses_are_bounded(void **state)
{
    struct world *w = *state;
    struct route *r = ask(w, "crowd.test");
    assert_int_equal(r->host_count, 2); /* one is named twice */
    assert_int_equal(r->hosts[0].address_count, MX_ADDRESSES_PER_HOST_MAX);
    assert_int_equal(r->hosts[1].address_count, 1);
    route_free(r);
    unsigned before = atomic_load(&w->dns.queries);
    r = ask(w, "many.test"); /* 30 hosts, none of which exists */
    assert_int_equal(r->verdict, ROUTE_PERM);
    assert_in_range(atomic_load(&w->dns.queries) - before, 1, 1 + 2 * MX_HOSTS_MAX);
    route_free(r);
    expect_hosts(w, "late.test", "7 e1.test 192.0.2.11"); /* beyond the first wave */
}

/* DNS-13: the order of four equals, 10,000 times; the limit is passed by chance
 * once in 10^9 (chi squared, three degrees of freedom). */
static void
equal_preferences_are_spread_evenly(void **state)
{
    enum { RUNS = 10000, HOSTS = 4, LIMIT = 45 };
    struct world *w = *state;
    double seen[HOSTS][HOSTS] = {{0}};
    for (int i = 0; i < RUNS; i++) {
        struct route *r = ask(w, "equal.test");
        assert_int_equal(r->host_count, HOSTS);
        for (unsigned k = 0; k < HOSTS; k++)
            seen[k][r->hosts[k].name[1] - '1'] += 1;
        route_free(r);
    }
    double expected = (double)RUNS / HOSTS;
    for (unsigned k = 0; k < HOSTS; k++) {
        double chi = 0;
        for (unsigned h = 0; h < HOSTS; h++)
            chi += (seen[k][h] - expected) * (seen[k][h] - expected) / expected;
        assert_true(chi < LIMIT);
    }
}

/* RFC 5321 4.1.3 */
static void
literals_are_their_own_host(void **state)
{
    struct world *w = *state;
    expect_hosts(w, "[192.0.2.7]", "0 [192.0.2.7] 192.0.2.7");
    expect_hosts(w, "[ipv6:2001:db8::7]", "0 [ipv6:2001:db8::7] 2001:db8::7");
    expect_failure(w, "[127.0.0.1]", ROUTE_PERM, 550, "5.4.4");
    expect_failure(w, "[192.0.2]", ROUTE_PERM, 550, "5.1.2");
    expect_failure(w, "[2001:db8::7]", ROUTE_PERM, 550, "5.1.2");
    expect_failure(w, "[", ROUTE_PERM, 550, "5.1.2");
    assert_int_equal(atomic_load(&w->dns.queries), 0);
}

static void
expect_cancelled(struct world *w, struct ask *a)
{
    route_cancel(&a->op);
    route_cancel(&a->op);
    assert_int_equal(a->done, 0);
    loop_run(w->loop);
    assert_int_equal(a->done, 1);
    assert_int_equal(a->op.err.code, ERR_CANCELLED);
    assert_int_equal(a->op.route->verdict, ROUTE_TEMP);
    route_free(a->op.route);
}

struct turn {
    struct deferred d;
    struct world *w;
    unsigned at_queries;
};

/* Goes round until the name server saw that many questions. */
static void
on_turn(struct deferred *d)
{
    struct turn *t = container_of(d, struct turn, d);
    if (atomic_load(&t->w->dns.queries) >= t->at_queries)
        loop_stop(t->w->loop);
    else
        deferred_schedule(d);
}

static void
cancel_in_each_state(void **state)
{
    struct world *w = *state;
    struct ask a = {.loop = w->loop};
    route_start(&a.op, w->loop, &w->cfg, SLICE("silent.test"), on_done); /* the MX question */
    expect_cancelled(w, &a);
    a.done = 0;
    route_start(&a.op, w->loop, &w->cfg, SLICE("[192.0.2.7]"), on_done); /* known at once */
    expect_cancelled(w, &a);
    a.done = 0;
    struct turn t = {.w = w, .at_queries = atomic_load(&w->dns.queries) + 2};
    deferred_init(&t.d, w->loop, on_turn);
    route_start(&a.op, w->loop, &w->cfg, SLICE("mixed.test"), on_done); /* addresses */
    deferred_schedule(&t.d);
    loop_run(w->loop);
    assert_int_equal(a.done, 0);
    expect_cancelled(w, &a);
}

static void
resolver_that_goes_away_ends_it(void **state)
{
    struct world *w = *state;
    struct ask a = {.loop = w->loop};
    route_start(&a.op, w->loop, &w->cfg, SLICE("silent.test"), on_done);
    resolver_free(w->resolver);
    w->resolver = NULL;
    assert_int_equal(a.done, 1);
    assert_int_equal(a.op.route->verdict, ROUTE_TEMP);
    route_free(a.op.route);
}

static void
closed_networks(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        bool allowed;
    } cases[] = {
        {"0.0.0.0", false},
        {"9.255.255.255", true},
        {"10.0.0.0", false},
        {"11.0.0.0", true},
        {"100.63.255.255", true},
        {"100.64.0.0", false},
        {"100.127.0.1", false},
        {"100.128.0.0", true},
        {"127.8.8.8", false},
        {"169.254.1.1", false},
        {"172.15.0.1", true},
        {"172.16.0.1", false},
        {"172.31.0.1", false},
        {"172.32.0.1", true},
        {"192.168.0.1", false},
        {"198.18.0.1", false},
        {"198.20.0.1", true},
        {"223.255.255.255", true},
        {"224.0.0.1", false},
        {"255.255.255.255", false},
        {"8.8.8.8", true},
        {"::", false},
        {"::1", false},
        {"::ffff:10.0.0.1", false},
        {"::ffff:8.8.8.8", true},
        {"64:ff9b::a00:1", false},
        {"64:ff9b::808:808", true},
        {"2002:a00:1::1", false},
        {"2002:808:808::1", true},
        {"fc00::1", false},
        {"fd00:ec2::254", false},
        {"fe80::1", false},
        {"fec0::1", false},
        {"ff02::1", false},
        {"100::1", false},
        {"2a00:1450::1", true},
        {"::10.0.0.1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_address a;
        assert_true(net_address_from_ip(slice_str(cases[i].ip), 25, &a));
        if (route_address_allowed(&a, false) != cases[i].allowed)
            fail_msg("%s", cases[i].ip);
        assert_int_equal(route_address_allowed(&a, true), net_address_is_loopback(&a));
    }
}

#define ROUTE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(hosts_come_by_preference_with_both_families),
        ROUTE_TEST(domains_with_the_same_hosts_share_a_site),
        ROUTE_TEST(null_mx_refuses_mail),
        ROUTE_TEST(no_domain_is_permanent),
        ROUTE_TEST(domain_without_mx_is_its_own_host),
        ROUTE_TEST(domain_without_anything_is_permanent),
        ROUTE_TEST(trouble_with_the_mx_question_is_temporary),
        ROUTE_TEST(hosts_without_addresses),
        ROUTE_TEST(one_family_in_trouble_leaves_the_other),
        ROUTE_TEST(names_that_no_host_has_are_left_out),
        ROUTE_TEST(inside_addresses_are_refused),
        ROUTE_TEST(hosts_from_ourselves_on_are_left_out),
        ROUTE_TEST(hosts_and_addresses_are_bounded),
        ROUTE_TEST(equal_preferences_are_spread_evenly),
        ROUTE_TEST(literals_are_their_own_host),
        ROUTE_TEST(cancel_in_each_state),
        ROUTE_TEST(resolver_that_goes_away_ends_it),
        cmocka_unit_test(closed_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
