#include "relay/accept/policy/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool
admits(const struct config_credential *cr, const char *ip)
{
    struct net_address a;
    assert_true(net_address_from_ip(slice_str(ip), 1, &a));
    return policy_network_admits(cr, &a);
}

static void
networks(void **state)
{
    static const char *nets[] = {"192.0.2.0/24", "2001:db8::/32", "not a network"};
    const struct config_credential some = {.networks = nets, .network_count = 3}, any = {0};
    const struct net_address unix_socket = {.kind = NET_UNIX};
    (void)state;
    assert_true(admits(&some, "192.0.2.255"));
    assert_true(admits(&some, "::ffff:192.0.2.1"));
    assert_true(admits(&some, "2001:db8::7"));
    assert_false(admits(&some, "192.0.3.0"));
    assert_false(admits(&some, "2001:db9::"));
    assert_false(admits(&some, "127.0.0.1"));
    assert_false(policy_network_admits(&some, &unix_socket));
    assert_false(policy_network_admits(&some, NULL));
    assert_true(admits(&any, "192.0.3.0"));
    assert_true(policy_network_admits(&any, NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
