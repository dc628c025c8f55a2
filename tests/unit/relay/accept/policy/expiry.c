#include "relay/accept/policy/expiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
over_from_its_moment_on(void **state)
{
    const struct config_credential ends = {.expires_unix_ms = 1000}, never = {0};
    (void)state;
    assert_false(policy_expiry_is_over(&ends, 999));
    assert_true(policy_expiry_is_over(&ends, 1000));
    assert_true(policy_expiry_is_over(&ends, INT64_MAX));
    assert_false(policy_expiry_is_over(&never, INT64_MAX));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(over_from_its_moment_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
