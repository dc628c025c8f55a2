#include "relay/accept/policy/allowance.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
limits(void **state)
{
    const struct config_credential none = {0}, rate = {.rate = {5, 1000}},
                                   day = {.rate = {5, 1000}, .daily = 3},
                                   fresh = {.new_recipients = 2};
    struct queue_allowance a;
    (void)state;
    assert_false(policy_allowance_of(&none, &a));
    assert_true(policy_allowance_of(&rate, &a) && a.rate == 5 && a.per_ms == 1000 && a.daily == 0);
    assert_true(policy_allowance_of(&day, &a) && a.daily == 3);
    assert_true(policy_allowance_of(&fresh, &a) && a.fresh == 2 && a.rate == 0);
    assert_int_equal(policy_allowance_recipients_max(&none), UINT_MAX);
    assert_int_equal(policy_allowance_recipients_max(&rate), 5);
    assert_int_equal(policy_allowance_recipients_max(&day), 3);
    assert_int_equal(policy_allowance_recipients_max(&fresh), UINT_MAX);
}

static void
words(void **state)
{
    const struct config_credential cr = {.rate = {5, 3600000}};
    struct queue_allow_op op = {.result = QUEUE_OVER_RATE, .wait_ms = 1};
    struct buf b;
    (void)state;
    buf_init(&b, 200);
    policy_allowance_explain(&cr, &op, &b);
    assert_true(slice_eq(buf_slice(&b), SLICE("more than 5 recipients an hour: try again in 1 s")));
    buf_fini(&b);
    assert_string_equal(policy_allowance_name(QUEUE_OVER_RATE), "rate");
    assert_string_equal(policy_allowance_name(QUEUE_OVER_DAILY), "daily");
    assert_string_equal(policy_allowance_name(QUEUE_OVER_FRESH), "new");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(limits), cmocka_unit_test(words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
