/* Values with a unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/value.h"

static void
test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } GOOD[] = {{"500ms", 500},   {"10s", 10000},    {"5m", 300000},
                {"4h", 14400000}, {"5d", 432000000}, {"2w", 1209600000},
                {"0s", 0},        {"007s", 7000},    {"18446744073709551615ms", UINT64_MAX}};
    static const char *const BAD[] = {"",
                                      "10",
                                      "s",
                                      "10 s",
                                      "-1s",
                                      "1.5h",
                                      "10S",
                                      "1y",
                                      "1ss",
                                      " 1s",
                                      "1s ",
                                      "+1s",
                                      "0x1s",
                                      "1m30s",
                                      "18446744073709551616ms",
                                      "18446744073709551615s"};
    uint64_t ms;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        assert_true(config_parse_duration(slice_str(GOOD[i].text), &ms));
        assert_int_equal(ms, GOOD[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        ms = 77;
        assert_false(config_parse_duration(slice_str(BAD[i]), &ms));
        assert_int_equal(ms, 77);
    }
}

static void
test_sizes(void **state)
{
    uint64_t n;
    (void)state;
    assert_true(config_parse_size(SLICE("10MB"), &n) && n == 10u << 20);
    assert_true(config_parse_size(SLICE("64KB"), &n) && n == 64u << 10);
    assert_true(config_parse_size(SLICE("17179869183GB"), &n) && n == 17179869183ull << 30);
    assert_true(config_parse_size(SLICE("7B"), &n) && n == 7);
    assert_false(config_parse_size(SLICE("17179869184GB"), &n));
    assert_false(config_parse_size(SLICE("10mb"), &n));
    assert_false(config_parse_size(SLICE("10M"), &n));
    assert_false(config_parse_size(SLICE("10"), &n));
    assert_false(config_parse_size(SLICE("10s"), &n));
}

static void
test_rates(void **state)
{
    unsigned n = 0;
    uint64_t per_ms = 0;
    (void)state;
    assert_true(config_parse_rate(SLICE("100/m"), &n, &per_ms) && n == 100 && per_ms == 60000);
    assert_true(config_parse_rate(SLICE("1/s"), &n, &per_ms) && n == 1 && per_ms == 1000);
    assert_true(config_parse_rate(SLICE("1000000000/h"), &n, &per_ms) && per_ms == 3600000);
    static const struct slice bad[] = {SLICE(""),    SLICE("100"),         SLICE("100/"),
                                       SLICE("/m"),  SLICE("0/m"),         SLICE("-1/m"),
                                       SLICE("1/d"), SLICE("1/m/m"),       SLICE("1 / m"),
                                       SLICE("1/M"), SLICE("1000000001/h")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(config_parse_rate(bad[i], &n, &per_ms));
}

static void
test_dates(void **state)
{
    uint64_t ms = 0;
    (void)state;
    assert_true(config_parse_date(SLICE("2027-01-31"), &ms) && ms == 1801353600000);
    assert_true(config_parse_date(SLICE("2027-01-31T12:00:01Z"), &ms) && ms == 1801396801000);
    assert_true(config_parse_date(SLICE("1970-01-01"), &ms) && ms == 0);
    assert_true(config_parse_date(SLICE("2028-02-29"), &ms));
    static const struct slice bad[] = {SLICE(""),
                                       SLICE("2027"),
                                       SLICE("2027-1-31"),
                                       SLICE("2027-02-29"),
                                       SLICE("2027-13-01"),
                                       SLICE("2027-00-01"),
                                       SLICE("2027-01-31T12:00:00"),
                                       SLICE("2027-01-31T24:00:00Z"),
                                       SLICE("2027-01-31T12:00:00Zx"),
                                       SLICE("2027-01-31 12:00:00Z"),
                                       SLICE("+027-01-31"),
                                       SLICE("1969-12-31"),
                                       SLICE("31.01.2027")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(config_parse_date(bad[i], &ms));
}

static void
test_formats_in_the_largest_whole_unit(void **state)
{
    char out[CONFIG_VALUE_TEXT];
    (void)state;
    config_format_duration(5400000, out);
    assert_string_equal(out, "90m");
    config_format_duration(1500, out);
    assert_string_equal(out, "1500ms");
    config_format_duration(0, out);
    assert_string_equal(out, "0ms");
    config_format_size(50u << 20, out);
    assert_string_equal(out, "50MB");
    config_format_size(1000, out);
    assert_string_equal(out, "1000B");
}

static void
test_distance(void **state)
{
    (void)state;
    assert_int_equal(config_distance(SLICE("hostname"), SLICE("hostname")), 0);
    assert_int_equal(config_distance(SLICE("hostnme"), SLICE("hostname")), 1);
    assert_int_equal(config_distance(SLICE("kitten"), SLICE("sitting")), 3);
    assert_int_equal(config_distance(SLICE(""), SLICE("abc")), 3);
    assert_int_equal(config_distance(SLICE("abc"), SLICE("")), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_formats_in_the_largest_whole_unit),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
