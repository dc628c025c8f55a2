#include "tests/unit/relay/sys/net/net_test.h"

static void
addresses_come_back_as_they_were(void **state)
{
    (void)state;
    static const char *const TEXT[] = {"127.0.0.1:25", "[::1]:465", "[2001:db8::2:1]:65535",
                                       "0.0.0.0:0", "unix:/run/stagepost/signer.sock"};
    for (size_t i = 0; i < ARRAY_LEN(TEXT); i++) {
        struct net_address a;
        char text[160];
        assert_true(net_address_parse(slice_str(TEXT[i]), &a));
        net_address_format(&a, text);
        assert_string_equal(text, TEXT[i]);
    }
}

static void
other_text_is_no_address(void **state)
{
    (void)state;
    static const char *const TEXT[] = {
        "",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "127.1:25",
        "localhost:25",
        "::1:25",
        "[::1]",
        "[::1]25",
        "[127.0.0.1]:25",
        "[::1:25",
        "unix:",
        "unix:relative",
        "127.0.0.1:000025",
        "127.0.0.1:-1",
        " 127.0.0.1:25",
        "256.0.0.1:25",
        "[fe80::1%lo]:25",
    };
    for (size_t i = 0; i < ARRAY_LEN(TEXT); i++) {
        struct net_address a;
        assert_false(net_address_parse(slice_str(TEXT[i]), &a));
    }
    struct net_address a;
    assert_false(net_address_parse(SLICE("127.0.0.1\0:25"), &a));
    assert_false(net_address_parse(SLICE("unix:/a\0b"), &a));
}

static void
the_longest_path_fits_and_no_longer(void **state)
{
    (void)state;
    char text[5 + 108 + 1] = "unix:/", back[160];
    struct net_address a;
    memset(text + 6, 'p', 106);
    assert_true(net_address_parse(slice_str(text), &a));
    net_address_format(&a, back);
    assert_string_equal(back, text);
    text[5 + 107] = 'p';
    assert_false(net_address_parse(slice_str(text), &a));
}

static void
ip_addresses_alone(void **state)
{
    (void)state;
    struct net_address a;
    char text[64];
    assert_true(net_address_from_ip(SLICE("192.0.2.7"), 25, &a));
    assert_int_equal(a.kind, NET_IPV4);
    assert_int_equal(a.port, 25);
    assert_memory_equal(a.ip, "\xc0\0\x02\x07", 4);
    net_address_format_ip(&a, text);
    assert_string_equal(text, "192.0.2.7");
    assert_true(net_address_from_ip(SLICE("2001:DB8::1"), 25, &a));
    net_address_format_ip(&a, text);
    assert_string_equal(text, "2001:db8::1");
    assert_false(net_address_from_ip(SLICE("[::1]"), 25, &a));
    assert_false(net_address_from_ip(SLICE("mx.test"), 25, &a));
    assert_false(net_address_from_ip(SLICE_NONE, 25, &a));
}

static void
loopback_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool loopback;
    } ROWS[] = {
        {"127.0.0.1:1", true},
        {"127.255.0.9:1", true},
        {"128.0.0.1:1", false},
        {"[::1]:1", true},
        {"[::2]:1", false},
        {"unix:/x", true},
        {"0.0.0.0:1", false},
        {"[::ffff:127.0.0.1]:1", true},
        {"[::]:1", false},
        {"10.0.0.1:1", false},
        {"[::ffff:192.0.2.1]:1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct net_address a;
        assert_true(net_address_parse(slice_str(ROWS[i].text), &a));
        assert_int_equal(net_address_is_loopback(&a), ROWS[i].loopback);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_as_they_were),
        cmocka_unit_test(other_text_is_no_address),
        cmocka_unit_test(the_longest_path_fits_and_no_longer),
        cmocka_unit_test(ip_addresses_alone),
        cmocka_unit_test(loopback_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
