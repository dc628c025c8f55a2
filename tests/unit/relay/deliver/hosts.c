#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "relay/deliver/hosts.h"
#include "relay/sys/base/limits.h"

static struct net_address
address(unsigned n)
{
    char text[32];
    struct net_address a;
    snprintf(text, sizeof text, "192.0.%u.%u", n >> 8 & 255, n & 255);
    assert_true(net_address_from_ip(slice_str(text), (uint16_t)(25 + (n >> 16)), &a));
    return a;
}

static void
test_down_and_up(void **state)
{
    struct hosts *h = hosts_new();
    struct net_address a = address(1), b = address(2), other_port = a;
    (void)state;
    other_port.port = 2525;
    assert_int_equal(hosts_down_for_ms(h, &a), 0);
    hosts_note_down(h, &a);
    uint64_t ms = hosts_down_for_ms(h, &a);
    assert_true(ms > 0 && ms <= SITE_BACKOFF_MS);
    assert_int_equal(hosts_down_for_ms(h, &b), 0);
    assert_int_equal(hosts_down_for_ms(h, &other_port), 0);
    hosts_note_up(h, &a);
    assert_int_equal(hosts_down_for_ms(h, &a), 0);
    assert_int_equal(hosts_count(h), 0); /* nothing to remember is not remembered */
    hosts_note_up(h, &b);
    hosts_free(h);
}

static void
test_tls_is_remembered(void **state)
{
    struct hosts *h = hosts_new();
    struct net_address a = address(1);
    (void)state;
    assert_false(hosts_tls_broken(h, &a));
    hosts_note_tls_broken(h, &a);
    hosts_note_down(h, &a);
    hosts_note_up(h, &a); /* it works, in clear: the TLS memory stays */
    assert_true(hosts_tls_broken(h, &a));
    hosts_free(h);
    hosts_free(NULL);
}

static void
test_memory_is_bounded(void **state)
{
    struct hosts *h = hosts_new();
    (void)state;
    for (unsigned i = 0; i < HOSTS_REMEMBERED_MAX + 100; i++) {
        struct net_address a = address(i);
        hosts_note_down(h, &a);
    }
    struct net_address first = address(0), last = address(HOSTS_REMEMBERED_MAX + 99);
    assert_int_equal(hosts_count(h), HOSTS_REMEMBERED_MAX);
    assert_int_equal(hosts_down_for_ms(h, &first), 0);
    assert_true(hosts_down_for_ms(h, &last) > 0);
    hosts_free(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down_and_up),
        cmocka_unit_test(test_tls_is_remembered),
        cmocka_unit_test(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
