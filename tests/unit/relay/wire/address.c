/* relay/wire/address: the one parser for mailboxes and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/address.h"

/* SLICE() for static tables. */
#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

enum { ARENA_MAX = 1 << 20 };

static struct arena arena;

static int
setup(void **state)
{
    (void)state;
    arena_init(&arena, ARENA_MAX);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void
expect_formatted(const struct mailbox *m, bool canonical, const char *text)
{
    struct buf out;
    buf_init(&out, 1024);
    assert_true(canonical ? address_format_canonical(m, &out) : address_format(m, &out));
    assert_true(buf_add_char(&out, '\0'));
    assert_string_equal(buf_slice(&out).p, text);
    buf_fini(&out);
}

static void
expect_fault(struct slice text, enum address_fault expected)
{
    struct mailbox m = {.local = SLICE("untouched")};
    enum address_fault fault;
    if (address_parse(text, &arena, &m, &fault) != PARSE_BAD || fault != expected)
        fail_msg("'%.*s': fault %d, not %d", SLICE_FMT(text), (int)fault, (int)expected);
    assert_true(slice_eq(m.local, SLICE("untouched")));
}

static void
test_mailboxes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *local, *domain, *formatted, *canonical;
        bool quoted, literal, utf8;
    } cases[] = {
        {"user@example.org", "user", "example.org", "user@example.org", "user@example.org", 0, 0,
         0},
        {"User+Tag@EXAMPLE.Org", "User+Tag", "EXAMPLE.Org", "User+Tag@EXAMPLE.Org",
         "User+Tag@example.org", 0, 0, 0},
        /* ADR-01: percent and bang mean nothing */
        {"user%remote@ours.example", "user%remote", "ours.example", "user%remote@ours.example",
         "user%remote@ours.example", 0, 0, 0},
        {"remote!user@ours.example", "remote!user", "ours.example", "remote!user@ours.example",
         "remote!user@ours.example", 0, 0, 0},
        {"user@localhost", "user", "localhost", "user@localhost", "user@localhost", 0, 0, 0},
        {"user@[127.0.0.1]", "user", "[127.0.0.1]", "user@[127.0.0.1]", "user@[127.0.0.1]", 0, 1,
         0},
        {"user@[IPv6:::1]", "user", "[IPv6:::1]", "user@[IPv6:::1]", "user@[ipv6:::1]", 0, 1, 0},
        {"\"user@remote\"@ours.example", "user@remote", "ours.example",
         "\"user@remote\"@ours.example", "\"user@remote\"@ours.example", 1, 0, 0},
        {"user@b\xc3\xbc"
         "cher.example",
         "user",
         "b\xc3\xbc"
         "cher.example",
         "user@b\xc3\xbc"
         "cher.example",
         "user@xn--bcher-kva.example", 0, 0, 1},
        {"user@XN--bcher-KVA.example", "user", "XN--bcher-KVA.example",
         "user@XN--bcher-KVA.example", "user@xn--bcher-kva.example", 0, 0, 0},
        {"\xc3\xbc"
         "ser@example.org",
         "\xc3\xbc"
         "ser",
         "example.org",
         "\xc3\xbc"
         "ser@example.org",
         "\xc3\xbc"
         "ser@example.org",
         0, 0, 1},
        {"a@r3---sn-x.example", "a", "r3---sn-x.example", "a@r3---sn-x.example",
         "a@r3---sn-x.example", 0, 0, 0},
        /* ADR-02: one canonical writing of equal mailboxes */
        {"\"a b\"@d", "a b", "d", "\"a b\"@d", "\"a b\"@d", 1, 0, 0},
        {"\"a\\\"b\"@d", "a\"b", "d", "\"a\\\"b\"@d", "\"a\\\"b\"@d", 1, 0, 0},
        {"\"a\\\\b\"@d", "a\\b", "d", "\"a\\\\b\"@d", "\"a\\\\b\"@d", 1, 0, 0},
        {"\"\\a\\b\"@d", "ab", "d", "ab@d", "ab@d", 0, 0, 0},
        {"\"plain\"@d", "plain", "d", "plain@d", "plain@d", 0, 0, 0},
        {"\"a@evil.com x\"@d", "a@evil.com x", "d", "\"a@evil.com x\"@d", "\"a@evil.com x\"@d", 1,
         0, 0},
        {"\"a..b\"@d", "a..b", "d", "\"a..b\"@d", "\"a..b\"@d", 1, 0, 0},
        {"\"\"@d", "", "d", "\"\"@d", "\"\"@d", 1, 0, 0},
        /* ADR-05: inert */
        {"${run{id}}@d", "${run{id}}", "d", "${run{id}}@d", "${run{id}}@d", 0, 0, 0},
        {"%s%n@d", "%s%n", "d", "%s%n@d", "%s%n@d", 0, 0, 0},
        {"__proto__@d", "__proto__", "d", "__proto__@d", "__proto__@d", 0, 0, 0},
        {"'--@d", "'--", "d", "'--@d", "'--@d", 0, 0, 0},
        {"\";id|sh\"@d", ";id|sh", "d", "\";id|sh\"@d", "\";id|sh\"@d", 1, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mailbox m;
        enum address_fault fault;
        if (address_parse(slice_str(cases[i].text), &arena, &m, &fault) != PARSE_OK)
            fail_msg("'%s': %s", cases[i].text, address_fault_text(fault));
        assert_true(slice_eq(m.local, slice_str(cases[i].local)));
        assert_true(slice_eq(m.domain, slice_str(cases[i].domain)));
        assert_int_equal(m.quoted, cases[i].quoted);
        assert_int_equal(m.literal, cases[i].literal);
        assert_int_equal(m.utf8, cases[i].utf8);
        expect_formatted(&m, false, cases[i].formatted);
        expect_formatted(&m, true, cases[i].canonical);
    }
}

static void
test_refused_mailboxes(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        enum address_fault fault;
    } cases[] = {
        {LITERAL(""), ADDRESS_EMPTY},
        {LITERAL("@example.org"), ADDRESS_EMPTY},
        /* ADR-01 */
        {LITERAL("user"), ADDRESS_NO_DOMAIN},
        {LITERAL("user@"), ADDRESS_NO_DOMAIN},
        {LITERAL("user@remote."), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@remote@ours"), ADDRESS_SYNTAX},
        {LITERAL("@ours:user@remote"), ADDRESS_EMPTY},
        {LITERAL("user@xn--"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@xn--\xc3\xbc"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@127.0.0.1"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@\xef\xbc\x91\xef\xbc\x92.1"), ADDRESS_BAD_DOMAIN}, /* full-width 12.1 */
        /* full-width e; zero-width space, soft hyphen inside; ideographic full stop; NFD */
        {LITERAL("user@\xef\xbd\x85xample"), ADDRESS_MAPPED},
        {LITERAL("user@exam\xe2\x80\x8bple"), ADDRESS_MAPPED},
        {LITERAL("user@exam\xc2\xadple"), ADDRESS_MAPPED},
        {LITERAL("user@example\xe3\x80\x82org"), ADDRESS_MAPPED},
        {LITERAL("user@u\xcc\x88.example"), ADDRESS_MAPPED},
        {LITERAL("user@[999.1.1.1]"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@[127.1]"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@[::1]"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@[tag:x]"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@[127.0.0.1"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@[127.0.0.1]x"), ADDRESS_SYNTAX},
        {LITERAL("user@a..b"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@.a"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@-a"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@a-"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@a_b"), ADDRESS_BAD_DOMAIN},
        {LITERAL("user@a b"), ADDRESS_SYNTAX},
        {LITERAL("user@\xe2\x84\x80.example"), ADDRESS_BAD_DOMAIN}, /* maps to a/c */
        {LITERAL("<user@a>"), ADDRESS_SYNTAX},
        {LITERAL(" user@a"), ADDRESS_SYNTAX},
        {LITERAL("user@a "), ADDRESS_SYNTAX},
        {LITERAL("a b@d"), ADDRESS_SYNTAX},
        {LITERAL(".a@d"), ADDRESS_SYNTAX},
        {LITERAL("a.@d"), ADDRESS_SYNTAX},
        {LITERAL("a..b@d"), ADDRESS_SYNTAX},
        {LITERAL("\"a\"b@d"), ADDRESS_SYNTAX},
        {LITERAL("\"a@d"), ADDRESS_SYNTAX},
        {LITERAL("\"a\\\"@d"), ADDRESS_SYNTAX},
        {LITERAL("a(c)@d"), ADDRESS_SYNTAX},
        {LITERAL("a,b@d"), ADDRESS_SYNTAX},
        {LITERAL(";id|sh@d"), ADDRESS_SYNTAX},
        {LITERAL("=?x?q?=40?=@d"), ADDRESS_SYNTAX},
        /* ADR-02 */
        {LITERAL("\"\r\n\"@d"), ADDRESS_BAD_OCTET},
        {LITERAL("\"a\tb\"@d"), ADDRESS_BAD_OCTET},
        {LITERAL("\"a\\\0b\"@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\0@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\r\n@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a@d\r\n"), ADDRESS_BAD_OCTET},
        {LITERAL("a@d\0"), ADDRESS_BAD_OCTET},
        {LITERAL("a\x7f@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\xff@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\xc0\xaf@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\xc2\x85@d"), ADDRESS_BAD_OCTET},
        {LITERAL("a\xe2\x80\xae@d"), ADDRESS_BAD_OCTET},
        {LITERAL("\"a\\\xc3\xbc\"@d"), ADDRESS_BAD_OCTET},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_fault(cases[i].text, cases[i].fault);
}

/* ADR-04 */
static void
test_limits(void **state)
{
    (void)state;
    char local[80], domain[300], text[400];
    struct mailbox m;
    memset(local, 'l', sizeof(local));
    for (size_t n = ADDRESS_LOCAL_MAX; n <= ADDRESS_LOCAL_MAX + 1; n++) {
        (void)snprintf(text, sizeof(text), "%.*s@d", (int)n, local);
        if (n == ADDRESS_LOCAL_MAX)
            assert_int_equal(address_parse(slice_str(text), NULL, &m, NULL), PARSE_OK);
        else
            expect_fault(slice_str(text), ADDRESS_TOO_LONG);
    }
    memset(domain, 'd', sizeof(domain));
    for (size_t i = 63; i < sizeof(domain); i += 64)
        domain[i] = '.';
    assert_true(domain_is_ldh(slice_from(domain, 63)));
    assert_true(domain_is_ldh(slice_from(domain, ADDRESS_DOMAIN_MAX)));
    assert_false(domain_is_ldh(slice_from(domain, ADDRESS_DOMAIN_MAX + 1)));
    memset(domain, 'd', 64);
    assert_false(domain_is_ldh(slice_from(domain, 64)));
    domain[63] = '.';
    (void)snprintf(text, sizeof(text), "l@%.*s", 252, domain);
    assert_int_equal(address_parse(slice_str(text), NULL, &m, NULL), PARSE_OK);
    (void)snprintf(text, sizeof(text), "l@%.*s", 253, domain);
    expect_fault(slice_str(text), ADDRESS_TOO_LONG);
    (void)snprintf(text, sizeof(text), "l@%.*s", 299, domain);
    expect_fault(slice_str(text), ADDRESS_TOO_LONG);
    /* "\xc3\xbc" is "xn--tda": five octets more where it is sent on. */
    (void)snprintf(text, sizeof(text), "l@%.*s.\xc3\xbc", 244, domain + 1);
    assert_int_equal(address_parse(slice_str(text), NULL, &m, NULL), PARSE_OK);
    (void)snprintf(text, sizeof(text), "l@%.*s.\xc3\xbc", 245, domain);
    expect_fault(slice_str(text), ADDRESS_TOO_LONG);
}

static void
test_budget(void **state)
{
    (void)state;
    struct mailbox m;
    enum address_fault fault;
    assert_int_equal(address_parse(SLICE("\"a\\\"b\"@d"), NULL, &m, &fault), PARSE_BAD);
    assert_int_equal(fault, ADDRESS_BUDGET);
    assert_int_equal(address_parse(SLICE("\"a b\"@d"), NULL, &m, &fault), PARSE_OK);
}

static void
test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool forward;
        enum path_kind kind;
        const char *address, *rest;
        bool source_route;
    } cases[] = {
        {"<a@b> SIZE=1", false, PATH_MAILBOX, "a@b", " SIZE=1", false},
        {"<a@b>", true, PATH_MAILBOX, "a@b", "", false},
        {"<> BODY=7BIT", false, PATH_NULL, NULL, " BODY=7BIT", false},
        /* ADR-01: the route is recognised and dropped */
        {"<@ours:user@remote>", true, PATH_MAILBOX, "user@remote", "", true},
        {"<@a,@b:user@c>x", false, PATH_MAILBOX, "user@c", "x", true},
        {"<postmaster>", true, PATH_POSTMASTER, NULL, "", false},
        {"<PostMaster>", true, PATH_POSTMASTER, NULL, "", false},
        {"<postmaster@d>", true, PATH_MAILBOX, "postmaster@d", "", false},
        {"<\"a>b\"@d>", true, PATH_MAILBOX, "\"a>b\"@d", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i].text);
        struct path p;
        enum parse r = cases[i].forward ? path_cut_forward(&in, &arena, &p, NULL)
                                        : path_cut_reverse(&in, &arena, &p, NULL);
        if (r != PARSE_OK)
            fail_msg("'%s' refused", cases[i].text);
        assert_int_equal(p.kind, cases[i].kind);
        assert_int_equal(p.source_route, cases[i].source_route);
        assert_true(slice_eq(in, slice_str(cases[i].rest)));
        if (p.kind == PATH_MAILBOX)
            expect_formatted(&p.mailbox, false, cases[i].address);
    }
}

static void
test_refused_paths(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool forward;
        enum address_fault fault;
    } cases[] = {
        {"<>", true, ADDRESS_NULL_PATH},      {"<postmaster>", false, ADDRESS_NO_DOMAIN},
        {"a@b", false, ADDRESS_SYNTAX},       {"", true, ADDRESS_SYNTAX},
        {"<a@b", true, ADDRESS_SYNTAX},       {"<a@b> ", true, ADDRESS_FINE},
        {"<user>", true, ADDRESS_NO_DOMAIN},  {"<user@>", true, ADDRESS_NO_DOMAIN},
        {"< a@b>", true, ADDRESS_SYNTAX},     {"<a@b >", true, ADDRESS_SYNTAX},
        {"<@a:>", true, ADDRESS_SYNTAX},      {"<@a b@c>", true, ADDRESS_SYNTAX},
        {"<@a,b@c>", true, ADDRESS_SYNTAX},   {"<@a,@b>", true, ADDRESS_SYNTAX},
        {"<@:a@b>", true, ADDRESS_NO_DOMAIN}, {"<<a@b>>", true, ADDRESS_SYNTAX},
        {"<a@b@c>", true, ADDRESS_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i].text), before = in;
        struct path p;
        enum address_fault fault;
        (void)(cases[i].forward ? path_cut_forward(&in, &arena, &p, &fault)
                                : path_cut_reverse(&in, &arena, &p, &fault));
        if (fault != cases[i].fault)
            fail_msg("'%s': fault %d, not %d", cases[i].text, (int)fault, (int)cases[i].fault);
        if (fault != ADDRESS_FINE)
            assert_ptr_equal(in.p, before.p);
    }
}

/* ADR-03: the header form of the same parser. `expected`: addresses joined by a
 * space, or NULL for refused. */
static void
test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a@b", "a@b"},
        {" a@b\r\n", NULL},
        {" a@b ", "a@b"},
        {"a@b, c@d", "a@b c@d"},
        {"A <a@b>, \"C, D\" <c@d>,e@f", "a@b c@d e@f"},
        {"<a@b>", "a@b"},
        {"John Q. Public <j@p>", "j@p"},
        {"John\r\n Doe\r\n\t<j@d>", "j@d"},
        {"=?utf-8?q?J=C3=BC?= <j@d>", "j@d"},
        {"J\xc3\xbcrgen <j@d>", "j@d"},
        {"(comment) a@b (more (nested \\) ))", "a@b"},
        {"\"evil@x\" <a@b>", "a@b"},
        {"\"<evil@x>\" <a@b>", "a@b"},
        {"(<evil@x>) a@b", "a@b"},
        {"undisclosed-recipients:;", ""},
        {"Group: a@b, C <c@d>; , e@f", "a@b c@d e@f"},
        {"Group: (nobody) ;", ""},
        {"\"a \\\"q\\\" b\"@d", "\"a \\\"q\\\" b\"@d"},
        {"\"a\" \"b\" <\"x y\"@d>", "\"x y\"@d"},
        {"a@[127.0.0.1]", "a@[127.0.0.1]"},
        /* refused */
        {"", NULL},
        {" ", NULL},
        {"a", NULL},
        {"<aaa@bbb.com>ccc@ddd.com", NULL},
        {"<a@b> <c@d>", NULL},
        {"a@b c@d", NULL},
        {"a@b <c@d>", NULL},
        {"<a@b> x", NULL},
        {"a@b,", NULL},
        {",a@b", NULL},
        {"a@b,,c@d", NULL},
        {"<>", NULL},
        {"X <>", NULL},
        {"X <@route:a@b>", NULL},
        {"<a@b", NULL},
        {"a@b>", NULL},
        {"a @b", NULL},
        {"a@ b", NULL},
        {"a(x)@b", NULL},
        {"a . b@c", NULL},
        {"John Doe@x", NULL},
        {".x <a@b>", NULL},
        {"(unclosed a@b", NULL},
        {"\"unclosed <a@b>", NULL},
        {"G: a@b", NULL},
        {"G: H: a@b;;", NULL},
        {": a@b;", NULL},
        {"a@b;", NULL},
        {"=?x?q?=40?=@d", NULL},
        {"a@b\n", NULL},
        {"a\r\n@b", NULL},
        {"X\r\n<a@b>", NULL},
        {"\xff <a@b>", NULL},
        {"a@b \\", NULL},
        {"(\\", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct address_list list = {0};
        struct buf out;
        enum parse r = address_list_parse(slice_str(cases[i].text), &arena, &list, NULL);
        if ((r == PARSE_OK) != (cases[i].expected != NULL))
            fail_msg("'%s': answer %d", cases[i].text, (int)r);
        if (r != PARSE_OK)
            continue;
        buf_init(&out, 1024);
        for (size_t k = 0; k < list.n; k++)
            assert_true((k == 0 || buf_add_char(&out, ' ')) && address_format(&list.v[k], &out));
        if (!slice_eq(buf_slice(&out), slice_str(cases[i].expected)))
            fail_msg("'%s': got '%.*s'", cases[i].text, SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

/* A deep nest and a long list cost no stack and no more than the budget. */
static void
test_list_extremes(void **state)
{
    (void)state;
    struct buf text;
    struct address_list list;
    enum address_fault fault;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 60000; i++)
        assert_true(buf_add_char(&text, '('));
    assert_int_equal(address_list_parse(buf_slice(&text), &arena, &list, NULL), PARSE_BAD);
    for (int i = 0; i < 60000; i++)
        assert_true(buf_add_char(&text, ')'));
    assert_true(buf_add_str(&text, "a@b"));
    assert_int_equal(address_list_parse(buf_slice(&text), &arena, &list, NULL), PARSE_OK);
    buf_clear(&text);
    assert_true(buf_add_str(&text, "a@b"));
    for (int i = 0; i < 60000; i++)
        assert_true(buf_add_str(&text, ",a@b"));
    assert_int_equal(address_list_parse(buf_slice(&text), &arena, &list, &fault), PARSE_BAD);
    assert_int_equal(fault, ADDRESS_BUDGET);
    buf_fini(&text);
}

static void
test_domains(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"Example.ORG", "example.org"},
        {"b\xc3\xbc"
         "cher.Example",
         "xn--bcher-kva.example"},
        {"fa\xc3\x9f.de", "xn--fa-hia.de"}, /* not transitional: eszett stays */
        {"\xc3\x9c.XN--tda.\xce\xa0\xd0\x81\xd0\x96.\xc5\xb9\xe1\xba\xa4\xd5\x80.A",
         "xn--tda.xn--tda.xn--1xa0vwc.xn--fha24rdv2a.a"}, /* capitals: a habit */
        /* what is mapped is not what a reader sees */
        {"u\xcc\x88.example", NULL}, /* not in NFC */
        {"a\xe3\x80\x82"
         "example",
         NULL},                            /* U+3002 is a dot */
        {"exam\xe2\x80\x8bple.org", NULL}, /* zero-width space */
        {"b\xc3\xbc\xe2\x80\x8b"
         "cher.example",
         NULL},                               /* in a U-label, too */
        {"\xef\xbd\x85xample.org", NULL},     /* full-width */
        {"\xef\xbd\x98n--tda.example", NULL}, /* and of a prefix */
        {"\xc5\xbf.example", NULL},           /* long s is s */
        {"\xef\xac\x81.example", NULL},       /* a ligature */
        {"fa\xe1\xba\x9e.example", NULL},     /* capital eszett: ss or not */
        {"[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"xn--a.example", NULL},
        {"example.org.", NULL},
        {"a..b", NULL},
        {"", NULL},
        {"a b", NULL},
        {"\xff", NULL},
        {"a\xe2\x80\xae.example", NULL},
        {"[1.2.3]", NULL},
        {"1.2.3.4", NULL},
        {"*", NULL},
        {"{a}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 512);
        bool ok = domain_add_canonical(slice_str(cases[i].text), &out);
        if (ok != (cases[i].canonical != NULL) ||
            (ok && !slice_eq(buf_slice(&out), slice_str(cases[i].canonical))))
            fail_msg("'%s': '%.*s'", cases[i].text, SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
    assert_false(domain_add_canonical(slice_from("a\0b", 3), &(struct buf){.max = 10}));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mailboxes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_mailboxes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test(test_budget),
        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_extremes, setup, teardown),
        cmocka_unit_test(test_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
