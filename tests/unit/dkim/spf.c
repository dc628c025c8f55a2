/* RFC 7208 by tables: one zone, one question, the result that check_host() has. */
#include "dkim/spf.h"

#include <stdio.h>

#include "tests/unit/support/spf_zone.h"

#include "relay/sys/base/bug.h"

enum { QUESTIONS_LIMIT = SPF_QUESTIONS_MAX + 1 };

static struct spf_verdict
check(const char *zone, const char *ip, const char *local, const char *domain)
{
    struct spf_mail m;
    assert_true(
        spf_mail_set(&m, slice_str(ip), slice_str(local), slice_str(domain), SLICE("helo.test")));
    struct spf_check *c = spf_check_new(&m);
    unsigned asked = 0;
    while (spf_check_run(c) == SPF_ASK) {
        enum dns_type type;
        struct buf records;
        buf_init(&records, 1 << 18);
        const char *name = spf_check_question(c, &type);
        assert_true(++asked <= QUESTIONS_LIMIT && strlen(name) <= ADDRESS_DOMAIN_MAX);
        enum dns_status status = zone_answer(zone, name, type, &records);
        spf_check_answer(c, status, buf_slice(&records));
        buf_fini(&records);
    }
    struct spf_verdict v = *spf_check_verdict(c);
    spf_check_free(c);
    return v;
}

struct row {
    const char *zone; /* lines; a first one without a type is the TXT of d.test */
    const char *ip;
    enum spf_result want;
};

#define HOSTS                                                                                      \
    "\nd.test A 192.0.2.1\nd.test AAAA 2001:db8::1\nd.test MX 10 mx.d.test"                        \
    "\nmx.d.test A 192.0.2.2\nmx.d.test AAAA 2001:db8::2\nh.test A 192.0.2.3\n"
#define ME "192.0.2.1"
#define MX "192.0.2.2"
#define OTHER "198.51.100.9"
#define ME6 "2001:db8::1"

static const struct row ROWS[] = {
    /* 4.5: which records are SPF records */
    {"v=spf1 +all", ME, SPF_PASS},
    {"v=spf1", ME, SPF_NEUTRAL},
    {"V=SPF1 -all", ME, SPF_FAIL},
    {"v=spf10 -all", ME, SPF_NONE},
    {"v=spf1-all", ME, SPF_NONE},
    {"v=spf2.0/mfrom -all", ME, SPF_NONE},
    {" v=spf1 -all", ME, SPF_NONE},
    {"hello", ME, SPF_NONE},
    {"v=spf1 -all\nd.test TXT v=spf1 +all", ME, SPF_PERMERROR},
    {"v=spf1 -all\nd.test TXT google-site-verification=1", ME, SPF_FAIL},
    {"x\nd.test FAIL", ME, SPF_TEMPERROR},
    /* 4.6: syntax is checked before anything else */
    {"v=spf1   ip4:192.0.2.1   -all  ", ME, SPF_PASS},
    {"v=spf1 +all nonsense", ME, SPF_PERMERROR},
    {"v=spf1 +all ip4:1.2.3", ME, SPF_PERMERROR},
    {"v=spf1 all:x -all", ME, SPF_PERMERROR},
    {"v=spf1 -all/8", ME, SPF_PERMERROR},
    {"v=spf1 +all\tmx", ME, SPF_PERMERROR},
    {"v=spf1 unknown=%{d} -all", ME, SPF_FAIL},
    {"v=spf1 unknown=%{x} -all", ME, SPF_PERMERROR},
    {"v=spf1 1bad=x -all", ME, SPF_PERMERROR},
    {"v=spf1 *=x -all", ME, SPF_PERMERROR},
    {"v=spf1 default=pass ?all", ME, SPF_NEUTRAL},
    {"v=spf1 \xc3\xa9 -all", ME, SPF_PERMERROR},
    /* 4.7, qualifiers */
    {"v=spf1 ~all", ME, SPF_SOFTFAIL},
    {"v=spf1 ?all", ME, SPF_NEUTRAL},
    {"v=spf1 !all", ME, SPF_PERMERROR},
    {"v=spf1 -ip4:192.0.2.1 +all", ME, SPF_FAIL},
    {"v=spf1 ip4:203.0.113.0/24", ME, SPF_NEUTRAL},
    {"v=spf1 -all +all", ME, SPF_FAIL},
    /* 5.6: ip4 and ip6 */
    {"v=spf1 ip4:192.0.2.0/24 -all", ME, SPF_PASS},
    {"v=spf1 ip4:192.0.2.0/31 -all", ME, SPF_PASS},
    {"v=spf1 ip4:192.0.2.0/32 -all", ME, SPF_FAIL},
    {"v=spf1 ip4:10.0.0.0/0 -all", ME, SPF_PASS},
    {"v=spf1 ip4:192.0.2.1/33 -all", ME, SPF_PERMERROR},
    {"v=spf1 ip4:192.0.2.1/032 -all", ME, SPF_PERMERROR},
    {"v=spf1 ip4:192.0.2.1// -all", ME, SPF_PERMERROR},
    {"v=spf1 ip4 -all", ME, SPF_PERMERROR},
    {"v=spf1 ip6:2001:db8::/32 -all", ME6, SPF_PASS},
    {"v=spf1 ip6:2001:db8::/32 -all", ME, SPF_FAIL},
    {"v=spf1 ip6:::/0 -all", ME6, SPF_PASS},
    {"v=spf1 ip6:2001:db8::/129 -all", ME6, SPF_PERMERROR},
    {"v=spf1 ip6:2001:zz:: -all", ME6, SPF_PERMERROR},
    {"v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", SPF_PASS},
    {"v=spf1 ip4:192.0.2.1 -all", "127.0.0.1", SPF_FAIL},
    /* 5.3 and 5.4: a and mx */
    {"v=spf1 a -all" HOSTS, ME, SPF_PASS},
    {"v=spf1 a -all" HOSTS, OTHER, SPF_FAIL},
    {"v=spf1 a -all" HOSTS, ME6, SPF_PASS},
    {"v=spf1 a:h.test -all" HOSTS, "192.0.2.3", SPF_PASS},
    {"v=spf1 A:H.Test. -all" HOSTS, "192.0.2.3", SPF_PASS},
    {"v=spf1 a/24 -all" HOSTS, "192.0.2.77", SPF_PASS},
    {"v=spf1 a/24//64 -all" HOSTS, "2001:db8::77", SPF_PASS},
    {"v=spf1 a//64 -all" HOSTS, "2001:db8:0:1::7", SPF_FAIL},
    {"v=spf1 a:h.test/33 -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 a: -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 a:museum -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 a:111.222.33.44 -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 a:h.test/ -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 mx -all" HOSTS, MX, SPF_PASS},
    {"v=spf1 mx -all" HOSTS, ME, SPF_FAIL},
    {"v=spf1 mx//128 -all" HOSTS, "2001:db8::2", SPF_PASS},
    {"v=spf1 mx:d.test/24 -all" HOSTS, "192.0.2.99", SPF_PASS},
    {"v=spf1 mx -all\nd.test MX 0 .", ME, SPF_FAIL},
    {"v=spf1 a:f.test -all\nf.test FAIL", ME, SPF_TEMPERROR},
    {"v=spf1 mx -all\nd.test MX 10 f.test\nf.test FAIL", ME, SPF_TEMPERROR},
    /* 5.2: include */
    {"v=spf1 include:i.test -all\ni.test TXT v=spf1 ip4:192.0.2.1 -all", ME, SPF_PASS},
    {"v=spf1 include:i.test ~all\ni.test TXT v=spf1 -all", ME, SPF_SOFTFAIL},
    {"v=spf1 -include:i.test +all\ni.test TXT v=spf1 +all", ME, SPF_FAIL},
    {"v=spf1 include:i.test -all\ni.test TXT v=spf1 ~all", ME, SPF_FAIL},
    {"v=spf1 include:i.test -all", ME, SPF_PERMERROR},
    {"v=spf1 include:i.test -all\ni.test TXT v=spf1 wrong", ME, SPF_PERMERROR},
    {"v=spf1 include:i.test -all\ni.test FAIL", ME, SPF_TEMPERROR},
    {"v=spf1 include -all", ME, SPF_PERMERROR},
    {"v=spf1 include:d.test -all", ME, SPF_PERMERROR},
    {"v=spf1 include:i.test -all\ni.test TXT v=spf1 a -all\ni.test A 192.0.2.1", ME, SPF_PASS},
    /* 5.7: exists, and macros of 7 */
    {"v=spf1 exists:h.test -all" HOSTS, OTHER, SPF_PASS},
    {"v=spf1 exists:no.test -all", ME, SPF_FAIL},
    {"v=spf1 exists:h.test/24 -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 exists:%{i}.h.test -all\n192.0.2.1.h.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{ir}.%{v}.test -all\n1.2.0.192.in-addr.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{l}.%{o}.x.test -all\nuser.d.test.x.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{h}.x.test -all\nhelo.test.x.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{d1}.x.test -all\ntest.x.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{d2}.x.test -all\nd.test.x.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{dr}.x.test -all\ntest.d.x.test A 127.0.0.2", ME, SPF_PASS},
    {"v=spf1 exists:%{d0}.x.test -all", ME, SPF_PERMERROR},
    {"v=spf1 exists:%{d99999999999999999999999}.x.test -all", ME, SPF_PERMERROR},
    {"v=spf1 exists:%{d -all", ME, SPF_PERMERROR},
    {"v=spf1 exists:% -all", ME, SPF_PERMERROR},
    {"v=spf1 exists:%{c}.x.test -all", ME, SPF_PERMERROR},
    {"v=spf1 a:%{d} -all" HOSTS, ME, SPF_PASS},
    {"v=spf1 exists:%{ir}.x.test -all\n"
     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.x.test A 127.0.0.2",
     ME6, SPF_PASS},
    /* 6: modifiers */
    {"v=spf1 redirect=r.test\nr.test TXT v=spf1 -all", ME, SPF_FAIL},
    {"v=spf1 redirect=r.test ip4:192.0.2.1\nr.test TXT v=spf1 -all", ME, SPF_PASS},
    {"v=spf1 redirect=r.test ?all\nr.test TXT v=spf1 -all", ME, SPF_NEUTRAL},
    {"v=spf1 redirect=r.test", ME, SPF_PERMERROR},
    {"v=spf1 redirect=r.test redirect=r.test\nr.test TXT v=spf1 -all", ME, SPF_PERMERROR},
    {"v=spf1 redirect=d.test", ME, SPF_PERMERROR},
    {"v=spf1 redirect= -all", ME, SPF_PERMERROR},
    {"v=spf1 redirect=r.test\nr.test TXT v=spf1 a -all\nr.test A 192.0.2.1", ME, SPF_PASS},
    {"v=spf1 redirect=r.test\nr.test FAIL", ME, SPF_TEMPERROR},
    {"v=spf1 exp=e.test -all\ne.test TXT %{", ME, SPF_FAIL},
    {"v=spf1 exp=e.test exp=e.test -all", ME, SPF_PERMERROR},
    /* 4.6.4: limits, over includes too */
    {"v=spf1 a:no1.test a:no2.test -all", ME, SPF_FAIL},
    {"v=spf1 a:no1.test a:no2.test a:no3.test -all", ME, SPF_PERMERROR},
    {"v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test "
     "a:h.test -all" HOSTS,
     ME, SPF_FAIL},
    {"v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test "
     "a:h.test a:h.test -all" HOSTS,
     ME, SPF_PERMERROR},
    {"v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test "
     "a:h.test ip4:192.0.2.1 a:h.test -all" HOSTS,
     ME, SPF_PASS},
    {"v=spf1 a:h.test a:h.test a:h.test a:h.test include:i.test -all" HOSTS
     "i.test TXT v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test -all",
     ME, SPF_PERMERROR},
    {"v=spf1 a:h.test a:h.test a:h.test a:h.test include:i.test -all" HOSTS
     "i.test TXT v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test -all",
     ME, SPF_FAIL},
    {"v=spf1 mx mx mx mx mx mx mx mx mx mx -all" HOSTS, ME, SPF_FAIL},
    {"v=spf1 mx mx mx mx mx mx mx mx mx mx mx -all" HOSTS, ME, SPF_PERMERROR},
    {"v=spf1 mx -all\nd.test MX 1 m.test\nd.test MX 1 m.test\nd.test MX 1 m.test\n"
     "d.test MX 1 m.test\nd.test MX 1 m.test\nd.test MX 1 m.test\nd.test MX 1 m.test\n"
     "d.test MX 1 m.test\nd.test MX 1 m.test\nd.test MX 1 m.test\nd.test MX 1 m.test\n"
     "m.test A 192.0.2.1",
     ME, SPF_PERMERROR},
    {"v=spf1 include:i.test -all\ni.test TXT v=spf1 include:d.test -all", ME, SPF_PERMERROR},
};

static void
test_table(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct buf zone;
        buf_init(&zone, 1 << 16);
        buf_addf(&zone, "d.test TXT %s%c", ROWS[i].zone, '\0');
        struct spf_verdict v = check(buf_slice(&zone).p, ROWS[i].ip, "user", "d.test");
        if (v.result != ROWS[i].want) {
            print_error("%s from %s: %s (%s), not %s\n", ROWS[i].zone, ROWS[i].ip,
                        spf_result_name(v.result), v.text, spf_result_name(ROWS[i].want));
            wrong++;
        }
        buf_fini(&zone);
    }
    assert_int_equal(wrong, 0);
}

static void
test_no_domain(void **state)
{
    (void)state;
    assert_int_equal(check("x TXT y", ME, "user", "gone.test").result, SPF_NONE);
    struct spf_mail m;
    assert_false(spf_mail_set(&m, SLICE(ME), SLICE("u"), SLICE("localhost"), SLICE_NONE));
    assert_false(spf_mail_set(&m, SLICE(ME), SLICE("u"), SLICE("a..b"), SLICE_NONE));
    assert_false(spf_mail_set(&m, SLICE(ME), SLICE("u"), SLICE_NONE, SLICE_NONE));
    assert_false(spf_mail_set(&m, SLICE("192.0.2"), SLICE("u"), SLICE("a.b"), SLICE_NONE));
    assert_true(spf_mail_set(&m, SLICE(ME), SLICE_NONE, SLICE("A.b."), SLICE_NONE));
    assert_string_equal(m.local, "postmaster");
    assert_string_equal(m.helo, "a.b");
}

/* What differs from the RFC on purpose or because of the library; the list in
 * dkim/README.md says why. */
static void
test_known_deviations(void **state)
{
    (void)state;
    struct spf_verdict v = check("d.test TXT v=spf1 mx -all\nd.test MX 10 a:b.test\na:b.test A " ME,
                                 ME, "user", "d.test");
    assert_int_equal(v.result, SPF_FAIL);
    v = check("d.test TXT v=spf1 exists:%{l}.test -all\nab.test A 127.0.0.1", ME, "a b", "d.test");
    assert_int_equal(v.result, SPF_FAIL);
}

/* Names that are no host names are asked for as they are; libspf2 sees none of them. */
static void
test_names_that_are_no_host_names(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *local;
        enum spf_result want;
        unsigned lookups;
    } rows[] = {
        {"d.test TXT v=spf1 exists:%{l}.test -all\na=b+c.test A 127.0.0.1", "a=b+c", SPF_PASS, 1},
        {"d.test TXT v=spf1 exists:%{l}.test -all\na=b+c.test A 127.0.0.1", "a=b", SPF_FAIL, 1},
        {"d.test TXT v=spf1 a:f:o/o.h.test/24 -all\nf:o/o.h.test A " ME, "u", SPF_PASS, 1},
        {"d.test TXT v=spf1 a:f:o.test/0 -all\nf:o.test A " OTHER, "u", SPF_PASS, 1},
        {"d.test TXT v=spf1 mx:f:o.test -all\nf:o.test MX 10 h.test\nh.test A " ME, "u", SPF_PASS,
         1},
        {"d.test TXT v=spf1 include:%{l}.test -all\n!.test TXT v=spf1 a -all\n!.test A " ME, "!",
         SPF_PASS, 2},
        {"d.test TXT v=spf1 redirect=%{l}.test\n!.test TXT v=spf1 exists:%{d} -all\n!.test A " ME,
         "!", SPF_PASS, 2},
        {"d.test TXT v=spf1 ptr:%{l}.test -all", "!", SPF_FAIL, 1},
        /* names of ours, written by a stranger, are names like others */
        {"d.test TXT v=spf1 exists:" SPF_PTR_MATCHES " -all", "u", SPF_FAIL, 1},
        {"d.test TXT v=spf1 a:0" SPF_ODD_NAME " include:7" SPF_ODD_NAME " -all", "u", SPF_PERMERROR,
         2},
        {"d.test TXT v=spf1 a:h.test" SPF_ANY_ADDRESS " -all\nh.test A " OTHER, "u", SPF_FAIL, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_verdict v = check(rows[i].zone, ME, rows[i].local, "d.test");
        if (v.result != rows[i].want || v.lookups != rows[i].lookups)
            fail_msg("row %zu: %s, %u lookups", i, spf_result_name(v.result), v.lookups);
    }
}

/* A verdict over postmaster is said to be one. */
static void
test_records_that_ask_for_the_local_part(void **state)
{
    (void)state;
    static const struct {
        const char *zone;
        bool by_local_part;
    } rows[] = {
        {"d.test TXT v=spf1 exists:%{l}.test -all", true},
        {"d.test TXT v=spf1 exists:%{S2r}.test -all", true},
        {"d.test TXT v=spf1 redirect=%{l}.test", true},
        {"d.test TXT v=spf1 include:i.test -all\ni.test TXT v=spf1 exists:%{l}.test", true},
        {"d.test TXT v=spf1 a exists:%{i}.%{d}.%{o}.%{h}.test -all", false},
        {"d.test TXT v=spf1 -all exists:%{l}.test", false},
        {"d.test TXT v=spf1 -all exp=%{l}.test other=%{l}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (check(rows[i].zone, ME, "", "d.test").by_local_part != rows[i].by_local_part)
            fail_msg("row %zu", i);
}

/* More of them than there is room for do not match; nothing grows. */
static void
test_many_odd_names(void **state)
{
    (void)state;
    char zone[4000] = "d.test TXT v=spf1 ?include:1.test -all";
    for (int i = 1; i < 9; i++) {
        snprintf(zone + strlen(zone), sizeof zone - strlen(zone), "\n%d.test TXT v=spf1", i);
        for (int k = 0; k < 10; k++)
            snprintf(zone + strlen(zone), sizeof zone - strlen(zone), " a:%d:%d.test", i, k);
    }
    struct spf_verdict v = check(zone, ME, "user", "d.test");
    assert_int_equal(v.result, SPF_PERMERROR);
    assert_true(v.lookups <= SPF_LOOKUPS_MAX + 1);
}

#define PTR "\n1.2.0.192.in-addr.arpa PTR "
#define PTR6 "\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR "

/* 5.5, 7.3 and the limits of 4.6.4: names count only when they lead back. */
static void
test_names_of_the_client(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *ip;
        enum spf_result want;
        unsigned voids;
        bool unsure;
    } rows[] = {
        {"d.test TXT v=spf1 ptr -all" PTR "d.test\nd.test A " ME, ME, SPF_PASS, 0, false},
        {"d.test TXT v=spf1 ptr -all" PTR "a.D.test\na.d.test A " ME, ME, SPF_PASS, 0, false},
        {"d.test TXT v=spf1 ptr:x.test -all" PTR "a.x.test\na.x.test A " ME, ME, SPF_PASS, 0,
         false},
        {"d.test TXT v=spf1 ptr -all" PTR "xd.test\nxd.test A " ME, ME, SPF_FAIL, 0, false},
        {"d.test TXT v=spf1 ptr -all" PTR "d.test\nd.test A " OTHER, ME, SPF_FAIL, 0, false},
        {"d.test TXT v=spf1 ptr -all" PTR "gone.test" PTR "d.test\nd.test A " ME, ME, SPF_PASS, 0,
         false},
        {"d.test TXT v=spf1 ptr -all" PTR6 "d.test\nd.test AAAA " ME6, ME6, SPF_PASS, 0, false},
        {"d.test TXT v=spf1 ptr -all", ME, SPF_FAIL, 1, false},
        {"d.test TXT v=spf1 ptr ptr ptr ?all", ME, SPF_PERMERROR, 3, false},
        {"d.test TXT v=spf1 ptr -all\n1.2.0.192.in-addr.arpa FAIL", ME, SPF_FAIL, 0, true},
        {"d.test TXT v=spf1 ptr -all" PTR "d.test\nd.test FAIL", ME, SPF_TEMPERROR, 0, false},
        {"d.test TXT v=spf1 +all ptr", ME, SPF_PASS, 0, false},
        {"d.test TXT v=spf1 exists:%{p}.x.test -all\nunknown.x.test A 127.0.0.1", ME, SPF_PASS, 0,
         false},
        {"d.test TXT v=spf1 exists:%{p}.x.test -all" PTR "z.test" PTR "a.d.test\nz.test A " ME
         "\na.d.test A " ME "\na.d.test.x.test A 127.0.0.1",
         ME, SPF_PASS, 0, false},
        {"d.test TXT v=spf1 include:i.test -all\ni.test TXT v=spf1 ptr ?all" PTR
         "h.i.test\nh.i.test A " ME,
         ME, SPF_PASS, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_verdict v = check(rows[i].zone, rows[i].ip, "user", "d.test");
        if (v.result != rows[i].want || v.void_lookups != rows[i].voids ||
            v.unsure != rows[i].unsure)
            fail_msg("row %zu: %s, %u voids, unsure %d", i, spf_result_name(v.result),
                     v.void_lookups, v.unsure);
    }
}

/* The eleventh name is not looked at. */
static void
test_many_names_of_the_client(void **state)
{
    (void)state;
    char zone[2000] = "d.test TXT v=spf1 ptr -all\nd.test A " ME;
    for (int i = 0; i < SPF_PTR_NAMES_MAX; i++)
        snprintf(zone + strlen(zone), sizeof zone - strlen(zone), PTR "n%d.test", i);
    snprintf(zone + strlen(zone), sizeof zone - strlen(zone), PTR "d.test");
    assert_int_equal(check(zone, ME, "user", "d.test").result, SPF_FAIL);
}

/* It lets everybody pass as soon as there is an address of the family. */
static void
test_prefix_of_no_bits(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *ip;
        enum spf_result want;
    } rows[] = {
        {"d.test TXT v=spf1 a/0 -all" HOSTS, OTHER, SPF_PASS},
        {"d.test TXT v=spf1 a:gone.test/0 -all" HOSTS, OTHER, SPF_FAIL},
        {"d.test TXT v=spf1 a//0 -all" HOSTS, "2001:db8:ffff::9", SPF_PASS},
        {"d.test TXT v=spf1 a:h.test//0 -all" HOSTS, ME6, SPF_FAIL},
        {"d.test TXT v=spf1 mx//0 -all" HOSTS, "2001:db8:ffff::9", SPF_PASS},
        {"d.test TXT v=spf1 a//0 -all" HOSTS, "fe80::1", SPF_PASS},
        {"d.test TXT v=spf1 mx/0 -all" HOSTS, OTHER, SPF_PASS},
        {"d.test TXT v=spf1 mx/0//64 -all" HOSTS, "2001:db8:ffff::9", SPF_FAIL},
        {"d.test TXT v=spf1 mx:gone.test/0 -all" HOSTS, OTHER, SPF_FAIL},
        {"d.test TXT v=spf1 a:h.test/0//64 -all" HOSTS, ME6, SPF_FAIL},
        {"d.test TXT v=spf1 a:h.test/0//64 -all" HOSTS, OTHER, SPF_PASS},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_verdict v = check(rows[i].zone, rows[i].ip, "user", "d.test");
        if (v.result != rows[i].want || v.lookups != 1)
            fail_msg("row %zu: %s, %u lookups", i, spf_result_name(v.result), v.lookups);
    }
}

static void
test_counts(void **state)
{
    (void)state;
    struct spf_verdict v = check("d.test TXT v=spf1 mx a:no.test include:i.test -all" HOSTS
                                 "i.test TXT v=spf1 exists:h.test -all",
                                 OTHER, "user", "d.test");
    assert_int_equal(v.result, SPF_PASS);
    assert_int_equal(v.lookups, 4);
    assert_int_equal(v.void_lookups, 1);
    assert_false(v.unsure);
    assert_string_equal(v.text, "");
    v = check("d.test TXT v=spf1 mxx -all", ME, "user", "d.test");
    assert_string_equal(v.text, "d.test: \"mxx\" is not valid");
}

/* Macros and a long literal: libspf2 alone is crashed by these. Each is asked
 * for directly and through an include. */
static void
crash_input(const char *before, int macros, size_t literal)
{
    struct buf zone;
    buf_init(&zone, 1 << 17);
    buf_addf(&zone, "d.test TXT v=spf1 %s", before);
    if (strstr(before, "exp=e.test") != NULL)
        buf_addf(&zone, "\ne.test TXT ");
    for (int i = 0; i < macros; i++)
        buf_addf(&zone, "%%{d}");
    for (size_t i = 0; i < literal; i++)
        buf_add_char(&zone, 'a');
    buf_addf(&zone, ".test -all\ni.test TXT v=spf1 include:d.test -all%c", '\0');
    assert_false(zone.overflowed);
    bool in_record = strstr(before, "exp=e.test") == NULL;
    struct spf_verdict v = check(buf_slice(&zone).p, ME, "user", "d.test");
    bool too_long = in_record && literal + 4 * (size_t)macros > SPF_RECORD_MAX;
    assert_int_equal(v.result, too_long ? SPF_PERMERROR : SPF_FAIL);
    check(buf_slice(&zone).p, ME, "user", "i.test");
    buf_fini(&zone);
}

static void
test_crash_inputs(void **state)
{
    static const char *const places[] = {"-all exp=e.test", "a:", "-all exp=", "redirect="};
    static const size_t literals[] = {100, 1500, 3600, 5000, 9000, 30000};
    (void)state;
    for (size_t p = 0; p < ARRAY_LEN(places); p++)
        for (size_t l = 0; l < ARRAY_LEN(literals); l++)
            for (int macros = 125; macros <= 129; macros++)
                crash_input(places[p], macros, literals[l]);
}

/* A name that grows by a macro in each include must end. */
static void
test_growing_names(void **state)
{
    (void)state;
    char zone[2048] = "d.test TXT v=spf1 include:%{d1r}%{p}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d1r} -all";
    struct spf_verdict v = check(zone, ME, "user", "d.test");
    assert_int_equal(v.result, SPF_PERMERROR);
    v = check(
        "d.test TXT v=spf1 exists:%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}."
        "%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}."
        "%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.x.test -all",
        ME, "user", "d.test");
    assert_int_equal(v.result, SPF_FAIL);
}

static void
test_many_addresses(void **state)
{
    (void)state;
    struct buf zone;
    buf_init(&zone, 4096);
    buf_addf(&zone, "d.test TXT v=spf1");
    for (int i = 0; i < 110; i++)
        buf_addf(&zone, " ip4:10.1.1.%d", i);
    buf_addf(&zone, " ip4:192.0.2.1 -all%c", '\0');
    assert_int_equal(check(buf_slice(&zone).p, ME, "user", "d.test").result, SPF_PASS);
    buf_fini(&zone);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_no_domain),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_known_deviations),
        cmocka_unit_test(test_names_that_are_no_host_names),
        cmocka_unit_test(test_many_odd_names),
        cmocka_unit_test(test_records_that_ask_for_the_local_part),
        cmocka_unit_test(test_crash_inputs),
        cmocka_unit_test(test_growing_names),
        cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_prefix_of_no_bits),
        cmocka_unit_test(test_names_of_the_client),
        cmocka_unit_test(test_many_names_of_the_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
