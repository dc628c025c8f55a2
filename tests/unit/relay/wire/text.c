/* relay/wire/text: UTF-8, and strangers' text made safe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/text.h"

#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static void
test_sequences(void **state)
{
    (void)state;
    static const struct {
        struct slice s;
        size_t n;
        uint32_t code;
    } cases[] = {
        {LITERAL("a"), 1, 'a'},
        {LITERAL("\0"), 1, 0},
        {LITERAL("\xc3\xbc"), 2, 0xfc},
        {LITERAL("\xe2\x82\xac"), 3, 0x20ac},
        {LITERAL("\xf0\x9f\x98\x80"), 4, 0x1f600},
        {LITERAL("\xf4\x8f\xbf\xbf"), 4, 0x10ffff},
        /* cut short, overlong, surrogate, too high, a lone continuation */
        {LITERAL("\xc3"), 0, 0},
        {LITERAL("\xe2\x82"), 0, 0},
        {LITERAL("\xc0\x80"), 0, 0},
        {LITERAL("\xc1\xbf"), 0, 0},
        {LITERAL("\xe0\x80\x80"), 0, 0},
        {LITERAL("\xed\xa0\x80"), 0, 0},
        {LITERAL("\xf0\x80\x80\x80"), 0, 0},
        {LITERAL("\xf4\x90\x80\x80"), 0, 0},
        {LITERAL("\xf8\x88\x80\x80\x80"), 0, 0},
        {LITERAL("\x80"), 0, 0},
        {LITERAL("\xc3"
                 "a"),
         0, 0},
        {LITERAL("\xff"), 0, 0},
        {LITERAL(""), 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t code = 0;
        assert_int_equal(utf8_sequence(cases[i].s, &code), cases[i].n);
        assert_int_equal(code, cases[i].code);
    }
    assert_true(utf8_is_valid(SLICE("gr\xc3\xbc\xc3\x9f")));
    assert_false(utf8_is_valid(SLICE("gr\xc3")));
}

/* MXR-03 */
static void
test_safe_text(void **state)
{
    (void)state;
    static const struct {
        struct slice s;
        const char *safe, *ascii;
    } cases[] = {
        {LITERAL("plain text"), "plain text", "plain text"},
        {LITERAL("a\tb\rc\nd\0e\x1b\x7f"), "a b?c?d?e??", "a b?c?d?e??"},
        {LITERAL("\xc3\xbc"), "\xc3\xbc", "??"},
        {LITERAL("\xc2\x9b"), "??", "??"},
        {LITERAL("\xe2\x80\xae"
                 "x"),
         "???x", "???x"},
        {LITERAL("\xe2\x80\xa8"), "???", "???"},
        {LITERAL("\xff\xc3"), "??", "??"},
        {LITERAL("\xef\xbf\xbe"), "???", "???"},
        {LITERAL(""), "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 100);
        assert_true(text_add_safe(&out, cases[i].s));
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].safe)));
        buf_clear(&out);
        assert_true(text_add_ascii(&out, cases[i].s));
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].ascii)));
        buf_fini(&out);
    }
    struct buf small;
    buf_init(&small, 3);
    assert_false(text_add_safe(&small, SLICE("four")));
    assert_int_equal(buf_slice(&small).n, 0);
    buf_fini(&small);
}

static void
test_clip(void **state)
{
    (void)state;
    struct slice s = SLICE("a\xe2\x82\xac"
                           "b");
    static const size_t expected[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t n = 0; n < ARRAY_LEN(expected); n++)
        assert_int_equal(text_clip(s, n).n, expected[n]);
    assert_int_equal(text_clip(SLICE("\x80\x80\x80\x80\x80\x80"), 5).n, 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_safe_text),
        cmocka_unit_test(test_clip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
