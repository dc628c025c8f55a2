#include "relay/sys/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
formats_rfc3339(void **state)
{
    (void)state;
    char text[25];
    clock_format_rfc3339(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_rfc3339(1795421730123, text);
    assert_string_equal(text, "2026-11-23T08:15:30.123Z");
    clock_format_rfc3339(951782400000, text); /* a leap day */
    assert_string_equal(text, "2000-02-29T00:00:00.000Z");
    clock_format_rfc3339(-1, text); /* nobody has such a time: said, not printed wrongly */
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_rfc3339(INT64_MAX, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

static void
the_schedule_clock_is_advanced_and_the_other_is_not(void **state)
{
    (void)state;
    uint64_t mono = clock_mono_ms();
    int64_t before = clock_sched_unix_ms();
    clock_sched_set_offset_ms(3600 * 1000);
    assert_true(clock_sched_unix_ms() - before >= 3600 * 1000);
    assert_int_equal(clock_sched_offset_ms(), 3600 * 1000);
    assert_true(clock_mono_ms() >= mono && clock_mono_ms() - mono < 3600 * 1000);
    clock_sched_set_offset_ms(0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_rfc3339),
        cmocka_unit_test(the_schedule_clock_is_advanced_and_the_other_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
