/* The resolver against a name server that answers, errs, lies and stays silent. */
#include "relay/sys/net/resolver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "tests/unit/support/fake_dns.h"

enum { LONG_MS = 30000, SHORT_MS = 50 };

static const struct fake_dns_row rows[] = {
    {"a.test", DNS_MX, FAKE_DNS_ANSWER, "10 mx1.a.test.;20 MX2.a.test."},
    {"a.test", DNS_A, FAKE_DNS_ANSWER, "192.0.2.1;192.0.2.2"},
    {"a.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 -all"},
    {"null.test", DNS_MX, FAKE_DNS_ANSWER, "0 ."},
    {"alias.test", DNS_A, FAKE_DNS_ANSWER, "CNAME a.test."},
    {"servfail.test", DNS_MX, FAKE_DNS_RCODE, "2"},
    {"refused.test", DNS_MX, FAKE_DNS_RCODE, "5"},
    {"formerr.test", DNS_MX, FAKE_DNS_RCODE, "1"},
    {"silent.test", DNS_MX, FAKE_DNS_SILENT, NULL},
    {"truncated.test", DNS_MX, FAKE_DNS_TRUNCATED, NULL},
    {"garbage.test", DNS_MX, FAKE_DNS_GARBAGE, NULL},
    {"signed.test", DNS_MX, FAKE_DNS_ANSWER, "10 mx.signed.test."},
};

struct world {
    struct fake_dns dns;
    struct loop *loop;
    struct resolver *resolver;
};

struct ask {
    struct dns_query q;
    struct loop *loop;
    unsigned done;
};

static struct world *
world_new(bool special_zones, const char *anchor)
{
    struct world *w = test_calloc(1, sizeof(*w));
    struct err err = {0};
    fake_dns_open(&w->dns, rows, ARRAY_LEN(rows));
    w->loop = loop_new();
    w->resolver = resolver_new(w->loop,
                               &(struct resolver_config){.forward = w->dns.forward,
                                                         .no_special_zones = !special_zones,
                                                         .trust_anchor_file = anchor},
                               &err);
    if (w->resolver == NULL)
        fail_msg("%s", err.text);
    return w;
}

static void
world_free(struct world *w)
{
    resolver_free(w->resolver);
    loop_free(w->loop);
    fake_dns_close(&w->dns);
    test_free(w);
}

static void
on_done(struct dns_query *q)
{
    struct ask *a = container_of(q, struct ask, q);
    a->done++;
    if (a->loop != NULL)
        loop_stop(a->loop);
}

static void
start(struct world *w, struct ask *a, const char *name, enum dns_type type, uint64_t timeout_ms)
{
    *a = (struct ask){.loop = w->loop};
    dns_query_start(&a->q, w->resolver, name, type, timeout_ms, on_done);
    assert_int_equal(a->done, 0); /* never inside start */
}

static enum dns_status
ask(struct world *w, struct ask *a, const char *name, enum dns_type type)
{
    start(w, a, name, type, LONG_MS);
    loop_run(w->loop);
    assert_int_equal(a->done, 1);
    return a->q.status;
}

static void
records_come_as_rdata(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask a;
    uint16_t preference;
    char host[ADDRESS_DOMAIN_MAX + 1];
    assert_int_equal(ask(w, &a, "a.test", DNS_MX), DNS_OK);
    assert_int_equal(a.q.count, 2);
    assert_false(a.q.secure);
    assert_in_range(a.q.ttl_s, 1, 256);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(dns_mx_parse(a.q.records[i], &preference, host));
        assert_string_equal(host, preference == 10 ? "mx1.a.test" : "mx2.a.test");
    }
    dns_query_fini(&a.q);
    assert_int_equal(ask(w, &a, "a.test.", DNS_TXT), DNS_OK);
    assert_int_equal(a.q.records[0].n, 12);
    assert_memory_equal(a.q.records[0].p, "\x0bv=spf1 -all", 12);
    dns_query_fini(&a.q);
    assert_int_equal(ask(w, &a, "null.test", DNS_MX), DNS_OK);
    assert_true(dns_mx_parse(a.q.records[0], &preference, host));
    assert_string_equal(host, "");
    dns_query_fini(&a.q);
    world_free(w);
}

static void
alias_is_followed(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask a;
    assert_int_equal(ask(w, &a, "alias.test", DNS_A), DNS_OK);
    assert_int_equal(a.q.count, 2);
    assert_int_equal(a.q.records[0].n, 4);
    dns_query_fini(&a.q);
    world_free(w);
}

static void
nothing_there_is_told_apart(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask a;
    assert_int_equal(ask(w, &a, "a.test", DNS_AAAA), DNS_NODATA);
    assert_int_equal(a.q.count, 0);
    dns_query_fini(&a.q);
    assert_int_equal(ask(w, &a, "no.such.test", DNS_MX), DNS_NXDOMAIN);
    assert_int_equal(a.q.err.code, ERR_NONE);
    dns_query_fini(&a.q);
    world_free(w);
}

/* DNS-07 */
static void
trouble_is_temporary(void **state)
{
    (void)state;
    static const char *const names[] = {"servfail.test", "refused.test", "formerr.test",
                                        "truncated.test", "garbage.test"};
    struct world *w = world_new(false, NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct ask a;
        assert_int_equal(ask(w, &a, names[i], DNS_MX), DNS_TEMP);
        assert_int_not_equal(a.q.err.code, ERR_NONE);
        assert_int_not_equal(a.q.err.code, ERR_TIMEOUT);
        assert_string_not_equal(a.q.err.text, "");
        dns_query_fini(&a.q);
    }
    world_free(w);
}

/* The cache calls back inside the question: done must still come later, and
 * many of them must not nest. */
static void
cached_answers_come_on_a_later_turn(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct world *w = world_new(false, NULL);
    struct ask first, *many = test_calloc(MANY, sizeof(*many));
    assert_int_equal(ask(w, &first, "a.test", DNS_MX), DNS_OK);
    dns_query_fini(&first.q);
    unsigned asked = atomic_load(&w->dns.queries);
    for (unsigned i = 0; i < MANY; i++)
        start(w, &many[i], "a.test", DNS_MX, LONG_MS);
    while (many[MANY - 1].done == 0)
        loop_run(w->loop);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(many[i].done, 1);
        assert_int_equal(many[i].q.status, DNS_OK);
        assert_int_equal(many[i].q.count, 2);
        dns_query_fini(&many[i].q);
    }
    assert_int_equal(atomic_load(&w->dns.queries), asked);
    test_free(many);
    world_free(w);
}

static void
silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask a;
    start(w, &a, "silent.test", DNS_MX, SHORT_MS);
    loop_run(w->loop);
    assert_int_equal(a.q.status, DNS_TEMP);
    assert_int_equal(a.q.err.code, ERR_TIMEOUT);
    dns_query_fini(&a.q);
    /* libunbound still works on it; others are not disturbed. */
    assert_int_equal(ask(w, &a, "a.test", DNS_MX), DNS_OK);
    dns_query_fini(&a.q);
    assert_int_equal(a.done, 1);
    world_free(w);
}

static void
names_that_are_none_are_not_asked(void **state)
{
    (void)state;
    char long_label[66 + 5] = {0}, long_name[300] = {0};
    memset(long_label, 'a', 64);
    strcat(long_label, ".test");
    for (int i = 0; i < 128; i++)
        strcat(long_name, "a.");
    const char *names[] = {"",     ".",          "..",       "a..test", ".test", "a\\.test",
                           "a b.", "\xc3\xa4.t", long_label, long_name, "a\n.b"};
    struct world *w = world_new(false, NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct ask a;
        assert_int_equal(ask(w, &a, names[i], DNS_MX), DNS_NXDOMAIN);
        dns_query_fini(&a.q);
    }
    assert_int_equal(atomic_load(&w->dns.queries), 0);
    world_free(w);
}

static void
special_zones_stay_inside_unless_removed(void **state)
{
    (void)state;
    struct world *w = world_new(true, NULL);
    struct ask a;
    assert_int_equal(ask(w, &a, "a.test", DNS_MX), DNS_NXDOMAIN);
    assert_int_equal(atomic_load(&w->dns.queries), 0);
    dns_query_fini(&a.q);
    world_free(w);
}

/* Cancelled while libunbound works, when the answer is already there, and when
 * it is all over. */
static void
cancel_in_each_state(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask a;
    start(w, &a, "silent.test", DNS_MX, LONG_MS);
    dns_query_cancel(&a.q);
    assert_int_equal(a.done, 0);
    loop_run(w->loop);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.q.status, DNS_TEMP);
    assert_int_equal(a.q.err.code, ERR_CANCELLED);
    dns_query_cancel(&a.q);
    dns_query_fini(&a.q);

    assert_int_equal(ask(w, &a, "a.test", DNS_MX), DNS_OK);
    dns_query_fini(&a.q);
    start(w, &a, "a.test", DNS_MX, LONG_MS); /* from the cache: settled at once */
    dns_query_cancel(&a.q);
    loop_run(w->loop);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.q.err.code, ERR_CANCELLED);
    assert_int_equal(a.q.count, 0);
    dns_query_fini(&a.q);
    world_free(w);
}

static void
free_ends_pending_questions(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask pending, settled, finished;
    assert_int_equal(ask(w, &finished, "a.test", DNS_MX), DNS_OK);
    start(w, &pending, "silent.test", DNS_MX, LONG_MS);
    start(w, &settled, "..", DNS_MX, LONG_MS);
    resolver_free(w->resolver);
    w->resolver = NULL;
    assert_int_equal(pending.done, 1);
    assert_int_equal(pending.q.err.code, ERR_CANCELLED);
    assert_int_equal(settled.done, 1);
    assert_int_equal(finished.done, 1);
    assert_int_equal(finished.q.records[0].n > 0, 1); /* valid until fini */
    dns_query_fini(&pending.q);
    dns_query_fini(&settled.q);
    dns_query_fini(&finished.q);
    world_free(w);
}

static void
questions_are_bounded(void **state)
{
    (void)state;
    struct world *w = world_new(false, NULL);
    struct ask *many = test_calloc(DNS_QUESTIONS_MAX + 1, sizeof(*many));
    for (unsigned i = 0; i <= DNS_QUESTIONS_MAX; i++)
        start(w, &many[i], "silent.test", DNS_MX, LONG_MS);
    loop_run(w->loop);
    assert_int_equal(many[0].done, 0);
    assert_int_equal(many[DNS_QUESTIONS_MAX].done, 1);
    assert_int_equal(many[DNS_QUESTIONS_MAX].q.err.code, ERR_FULL);
    resolver_free(w->resolver);
    w->resolver = NULL;
    for (unsigned i = 0; i <= DNS_QUESTIONS_MAX; i++) {
        assert_int_equal(many[i].done, 1);
        dns_query_fini(&many[i].q);
    }
    test_free(many);
    world_free(w);
}

/* A zone that must be signed and is not: data comes, and must not be used. */
static void
bogus_is_temporary(void **state)
{
    (void)state;
    char path[] = "/tmp/stagepost-anchor-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd,
                        "signed.test. IN DS 12345 13 2 "
                        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n") > 0);
    close(fd);
    struct world *w = world_new(false, path);
    struct ask a;
    assert_int_equal(ask(w, &a, "signed.test", DNS_MX), DNS_TEMP);
    assert_int_equal(a.q.count, 0);
    assert_non_null(strstr(a.q.err.text, "DNSSEC"));
    dns_query_fini(&a.q);
    assert_int_equal(ask(w, &a, "a.test", DNS_MX), DNS_OK);
    dns_query_fini(&a.q);
    world_free(w);
    unlink(path);
}

static void
bad_configuration_is_an_error(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct err err = {0};
    assert_null(resolver_new(l, &(struct resolver_config){.forward = "not an address"}, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    loop_free(l);
}

static void
reverse_names(void **state)
{
    (void)state;
    static const uint8_t V4[] = {192, 0, 2, 1}, V6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 0xc1};
    char name[DNS_REVERSE_NAME_MAX], host[ADDRESS_DOMAIN_MAX + 1];
    dns_reverse_name(V4, false, name);
    assert_string_equal(name, "1.2.0.192.in-addr.arpa");
    dns_reverse_name(V6, true, name);
    assert_string_equal(name,
                        "1.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    assert_true(dns_ptr_parse(SLICE("\3out\1A\0"), host));
    assert_string_equal(host, "out.a");
    assert_false(dns_ptr_parse(SLICE("\0"), host));
    assert_false(dns_ptr_parse(SLICE("\3out\0x"), host));
    assert_false(dns_ptr_parse(SLICE("\3o t\0"), host));
    assert_false(dns_ptr_parse(SLICE_NONE, host));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_as_rdata),
        cmocka_unit_test(alias_is_followed),
        cmocka_unit_test(nothing_there_is_told_apart),
        cmocka_unit_test(trouble_is_temporary),
        cmocka_unit_test(cached_answers_come_on_a_later_turn),
        cmocka_unit_test(silence_ends_at_the_deadline),
        cmocka_unit_test(names_that_are_none_are_not_asked),
        cmocka_unit_test(special_zones_stay_inside_unless_removed),
        cmocka_unit_test(cancel_in_each_state),
        cmocka_unit_test(free_ends_pending_questions),
        cmocka_unit_test(questions_are_bounded),
        cmocka_unit_test(bogus_is_temporary),
        cmocka_unit_test(bad_configuration_is_an_error),
        cmocka_unit_test(reverse_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
