#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/prefix.h"

static struct net_prefix
must_parse(const char *text)
{
    struct net_prefix p;
    assert_true(net_prefix_parse(slice_str(text), &p));
    return p;
}

static bool
contains(const char *prefix, const char *ip)
{
    struct net_prefix p = must_parse(prefix);
    struct net_address a;
    assert_true(net_address_from_ip(slice_str(ip), 25, &a));
    return net_prefix_contains(&p, &a);
}

static void
networks_come_back_as_they_were(void **state)
{
    (void)state;
    static const struct {
        const char *text, *back;
    } CASES[] = {
        {"10.0.0.0/8", "10.0.0.0/8"},         {"0.0.0.0/0", "0.0.0.0/0"},
        {"192.0.2.7", "192.0.2.7/32"},        {"192.0.2.7/32", "192.0.2.7/32"},
        {"192.0.2.128/25", "192.0.2.128/25"}, {"::/0", "::/0"},
        {"2001:DB8::/32", "2001:db8::/32"},   {"::1", "::1/128"},
        {"fe80::/10", "fe80::/10"},           {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
        {"::ffff:192.0.2.7", "192.0.2.7/32"}, {"::ffff:0.0.0.0/96", "0.0.0.0/0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        char back[NET_PREFIX_TEXT];
        struct net_prefix p = must_parse(CASES[i].text);
        net_prefix_format(&p, back);
        assert_string_equal(back, CASES[i].back);
    }
}

static void
other_text_is_no_network(void **state)
{
    (void)state;
    static const char *const TEXT[] = {
        "",
        "/8",
        "10/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "10.0.0.0/8/8",
        "2001:db8::1/32",
        "[::1]/128",
        "localhost",
        "192.0.2.129/25",
        "10.0.0.0/-1",
        "10.0.0.0/00",
        "10.0.0.0/256",
        "10.0.0.0/0000000008",
        "fe80::1%lo/128",
        "unix:/tmp/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(TEXT); i++) {
        struct net_prefix p;
        assert_false(net_prefix_parse(slice_str(TEXT[i]), &p));
    }
    struct net_prefix p;
    assert_false(net_prefix_parse(SLICE("10.0.0.0\0/8"), &p));
}

static void
addresses_are_in_their_networks(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *ip;
        bool in;
    } CASES[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.128/31", "192.0.2.129", true},
        {"192.0.2.128/31", "192.0.2.130", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.6", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.7", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        /* one address, whatever the socket */
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"10.0.0.0/8", "::ffff:11.1.2.3", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::/0", "::ffff:10.1.2.3", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++)
        assert_int_equal(contains(CASES[i].prefix, CASES[i].ip), CASES[i].in);
}

static void
a_unix_socket_is_in_no_network(void **state)
{
    (void)state;
    struct net_prefix p = must_parse("0.0.0.0/0");
    struct net_address a;
    assert_true(net_address_parse(SLICE("unix:/run/x"), &a));
    assert_false(net_prefix_contains(&p, &a));
}

static void
one_of_several_is_enough(void **state)
{
    (void)state;
    struct net_prefix p[] = {must_parse("10.0.0.0/8"), must_parse("::1")};
    struct net_address a;
    assert_true(net_address_from_ip(SLICE("::1"), 0, &a));
    assert_true(net_prefixes_contain(p, 2, &a));
    assert_false(net_prefixes_contain(p, 1, &a));
    assert_false(net_prefixes_contain(p, 0, &a));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_come_back_as_they_were),
        cmocka_unit_test(other_text_is_no_network),
        cmocka_unit_test(addresses_are_in_their_networks),
        cmocka_unit_test(a_unix_socket_is_in_no_network),
        cmocka_unit_test(one_of_several_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
