#include "relay/sys/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
sequences_have_their_length_and_code(void **state)
{
    (void)state;
    uint32_t code = 0;
    assert_int_equal(utf8_sequence(SLICE("a"), &code), 1);
    assert_int_equal(utf8_sequence(SLICE("\xc3\xa4x"), &code), 2);
    assert_int_equal(code, 0xe4);
    assert_int_equal(utf8_sequence(SLICE("\xe2\x9c\x93"), &code), 3);
    assert_int_equal(code, 0x2713);
    assert_int_equal(utf8_sequence(SLICE("\xf0\x9f\x98\x80"), &code), 4);
    assert_int_equal(code, 0x1f600);
    assert_int_equal(utf8_sequence(SLICE("\xf4\x8f\xbf\xbf"), NULL), 4);
}

static void
bad_sequences_are_none(void **state)
{
    (void)state;
    static const char *const BAD[] = {"\x80",
                                      "\xc3",
                                      "\xc3(",
                                      "\xc0\x80",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xff"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(utf8_sequence(slice_str(BAD[i]), NULL), 0);
        assert_false(utf8_is_valid(slice_str(BAD[i])));
    }
    assert_int_equal(utf8_sequence(SLICE_NONE, NULL), 0);
    assert_true(utf8_is_valid(SLICE("Gr\xc3\xbc\xc3\x9f"
                                    "e")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_have_their_length_and_code),
        cmocka_unit_test(bad_sequences_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
