#include "relay/accept/policy/recipient.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
listed_or_everybody(void **state)
{
    static const char *to[] = {"test.example", "boss@example.org"};
    const struct config_credential staging = {.recipients = to, .recipient_count = 2}, any = {0};
    (void)state;
    assert_true(
        policy_recipient_is_allowed(&staging, SLICE("x@test.example"), SLICE("test.example")));
    assert_true(
        policy_recipient_is_allowed(&staging, SLICE("boss@example.org"), SLICE("example.org")));
    assert_false(
        policy_recipient_is_allowed(&staging, SLICE("x@example.org"), SLICE("example.org")));
    assert_true(policy_recipient_is_allowed(&any, SLICE("x@example.org"), SLICE("example.org")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(listed_or_everybody)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
