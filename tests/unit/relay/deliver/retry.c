#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/deliver/retry.h"
#include "relay/sys/base/bug.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE };

static const struct config_retry plain = {
    .first_ms = 5 * MINUTE, .max_ms = 4 * HOUR, .factor_pct = 300, .jitter_pct = 0};

/* RTY-01: quick at first, then exponential up to the longest pause. */
static void
test_pauses(void **state)
{
    static const uint64_t minutes[] = {5, 15, 45, 135, 240, 240, 240};
    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(minutes); i++)
        assert_int_equal(retry_pause_ms(&plain, i + 1), minutes[i] * MINUTE);
    assert_int_equal(retry_pause_ms(&plain, UINT32_MAX), 4 * HOUR);
    struct config_retry flat = plain;
    flat.factor_pct = 100;
    assert_int_equal(retry_pause_ms(&flat, UINT32_MAX), 5 * MINUTE);
    flat.first_ms = 8 * HOUR; /* never longer than the longest */
    assert_int_equal(retry_pause_ms(&flat, 1), 4 * HOUR);
}

static void
test_jitter(void **state)
{
    static const uint32_t random[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, UINT32_MAX};
    struct config_retry r = plain;
    int64_t low = INT64_MAX, high = 0;
    (void)state;
    r.jitter_pct = 20;
    for (size_t i = 0; i < ARRAY_LEN(random); i++) {
        int64_t at = retry_at_unix_ms(&r, 1, 1000000, 0, random[i]) - 1000000;
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    assert_int_equal(low, 4 * MINUTE);
    assert_true(high > 6 * MINUTE - 100 && high <= 6 * MINUTE);
    assert_int_equal(retry_at_unix_ms(&plain, 1, 1000000, 0, 12345), 1000000 + 5 * MINUTE);
}

static void
test_expiry(void **state)
{
    (void)state;
    /* Not behind the end: then the recipient is given up, not late. */
    assert_int_equal(retry_at_unix_ms(&plain, 9, 1000, 5000, 0), 5000);
    assert_int_equal(retry_at_unix_ms(&plain, 9, 6000, 5000, 0), 6000);
    assert_true(retry_is_over(5000, 5000));
    assert_false(retry_is_over(4999, 5000));
    assert_false(retry_is_over(INT64_MAX, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
