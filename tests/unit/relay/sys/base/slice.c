#include "relay/sys/base/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
cuts_leave_the_rest(void **state)
{
    (void)state;
    struct slice s = SLICE("one,two,,three");
    assert_true(slice_eq(slice_cut_at(&s, ','), SLICE("one")));
    assert_true(slice_eq(slice_cut_at(&s, ','), SLICE("two")));
    assert_int_equal(slice_cut_at(&s, ',').n, 0);
    assert_true(slice_eq(slice_cut_at(&s, ','), SLICE("three")));
    assert_int_equal(s.n, 0);
    assert_int_equal(slice_cut_at(&s, ',').n, 0);
    s = SLICE("abc");
    assert_true(slice_eq(slice_cut(&s, 2), SLICE("ab")));
    assert_true(slice_eq(slice_cut(&s, 99), SLICE("c")));
}

static void
comparing_knows_case_and_length(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_NONE, SLICE("")));
    assert_false(slice_eq(SLICE("a"), SLICE("A")));
    assert_true(slice_eq_nocase(SLICE("Ehlo"), SLICE("eHLO")));
    assert_false(slice_eq_nocase(SLICE("Ehlo"), SLICE("Ehl")));
    assert_true(slice_starts(SLICE("STARTTLS"), SLICE("START")));
    assert_false(slice_starts(SLICE("ST"), SLICE("START")));
    assert_true(slice_starts_nocase(SLICE("starttls"), SLICE("START")));
    assert_false(slice_starts_nocase(SLICE_NONE, SLICE("x")));
    assert_true(slice_ends_nocase(SLICE("mail.EXAMPLE"), SLICE(".example")));
    assert_true(slice_compare(SLICE("a"), SLICE("ab")) < 0);
    assert_true(slice_compare(SLICE("b"), SLICE("ab")) > 0);
    assert_int_equal(slice_compare(SLICE("ab"), SLICE("ab")), 0);
    /* 0xe4 is no letter in ASCII: no locale may fold it. */
    assert_false(slice_eq_nocase(SLICE("\xe4"), SLICE("\xc4")));
}

static void
finding_gives_the_length_when_there_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(slice_find(SLICE("abc"), 'b'), 1);
    assert_int_equal(slice_find(SLICE("abc"), 'x'), 3);
    assert_int_equal(slice_find(SLICE_NONE, 'x'), 0);
    assert_int_equal(slice_find_slice(SLICE("aabaa"), SLICE("ba")), 2);
    assert_int_equal(slice_find_slice(SLICE("aabaa"), SLICE("bb")), 5);
    assert_int_equal(slice_find_slice(SLICE("a"), SLICE("")), 0);
}

static void
numbers_are_digits_without_overflow(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(slice_to_u64(SLICE("0"), &v) && v == 0);
    assert_true(slice_to_u64(SLICE("18446744073709551615"), &v) && v == UINT64_MAX);
    assert_false(slice_to_u64(SLICE("18446744073709551616"), &v));
    assert_false(slice_to_u64(SLICE("000000000000000000001"), &v));
    assert_false(slice_to_u64(SLICE(""), &v));
    assert_false(slice_to_u64(SLICE("-1"), &v));
    assert_false(slice_to_u64(SLICE("1 "), &v));
    assert_true(v == UINT64_MAX);
}

static void
c_strings_fit_or_are_refused(void **state)
{
    (void)state;
    char out[4] = "xyz";
    assert_true(slice_to_cstr(SLICE("abc"), out, sizeof out));
    assert_string_equal(out, "abc");
    assert_false(slice_to_cstr(SLICE("abcd"), out, sizeof out));
    assert_string_equal(out, "");
    assert_false(slice_to_cstr(SLICE("a\0b"), out, sizeof out));
    assert_true(slice_eq(slice_trim(SLICE(" \t a b\r\n")), SLICE("a b")));
    assert_int_equal(slice_trim(SLICE(" \r\n")).n, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_leave_the_rest),
        cmocka_unit_test(comparing_knows_case_and_length),
        cmocka_unit_test(finding_gives_the_length_when_there_is_nothing),
        cmocka_unit_test(numbers_are_digits_without_overflow),
        cmocka_unit_test(c_strings_fit_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
