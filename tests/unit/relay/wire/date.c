/* relay/wire/date: RFC 5322 dates. */
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

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
