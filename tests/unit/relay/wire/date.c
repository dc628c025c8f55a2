/* relay/wire/date: dates of RFC 5322 and RFC 3339. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/date.h"

static void
test_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_ms;
        const char *text;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {999, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {-1, "Wed, 31 Dec 1969 23:59:59 +0000"},
        {1795435200000, "Mon, 23 Nov 2026 12:00:00 +0000"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 +0000"},
        {4107542400000, "Mon, 01 Mar 2100 00:00:00 +0000"},
        {2147483648000, "Tue, 19 Jan 2038 03:14:08 +0000"},
        {INT64_MIN, "Mon, 01 Jan 1900 00:00:00 +0000"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 +0000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[DATE_TEXT_BYTES + 1];
        date_format(cases[i].unix_ms, out);
        assert_string_equal(out, cases[i].text);
        assert_int_equal(strlen(out), DATE_TEXT_BYTES);
    }
}

static void
test_parses_mail_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t unix_ms; /* -1: refused */
    } cases[] = {
        {"Mon, 23 Nov 2026 12:00:00 +0000", 1795435200000},
        {"23 Nov 2026 12:00:00 GMT", 1795435200000},
        {"mon,  23  NOV 2026  13:00:00  +0100", 1795435200000},
        {"Mon, 23 Nov 2026 04:30:00 -0730", 1795435200000},
        {"Thu, 1 Jan 1970 00:00:00 -0000", 0},
        {"Tue, 29 Feb 2000 00:00:00 UT", 951782400000},
        {"Thu, 1 Jan 1970 00:00:00 +0001", -1},
        {"Mon, 29 Feb 2100 00:00:00 GMT", -1},
        {"Mon 23 Nov 2026 12:00:00 +0000", -1},
        {"Mon, 23 Nov 26 12:00:00 +0000", -1},
        {"Mon, 23 Nov 2026 12:00 +0000", -1},
        {"Mon, 23 Nov 2026 24:00:00 +0000", -1},
        {"Mon, 23 Nov 2026 12:00:00 EST", -1},
        {"Mon, 23 Nov 2026 12:00:00 +01:00", -1},
        {"Mon, 23 Nov 2026 12:00:00 +0000 (UTC)", -1},
        {"Mon, 0 Nov 2026 12:00:00 +0000", -1},
        {"Mon, 23 Foo 2026 12:00:00 +0000", -1},
        {"2026-11-23T12:00:00Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t at = -1;
        if (date_parse(slice_str(cases[i].text), &at) != (cases[i].unix_ms >= 0) ||
            at != cases[i].unix_ms)
            fail_msg("%s: %lld", cases[i].text, (long long)at);
    }
}

static void
test_what_is_written_is_read(void **state)
{
    (void)state;
    for (int64_t at = 0; at < 253402300800000; at += 86400000 * INT64_C(97) + 3661000) {
        char out[DATE_TEXT_BYTES + 1];
        int64_t back = -1;
        date_format(at, out);
        assert_true(date_parse(slice_str(out), &back));
        assert_int_equal(back, at);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dates),
                                       cmocka_unit_test(test_parses_mail_dates),
                                       cmocka_unit_test(test_what_is_written_is_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
