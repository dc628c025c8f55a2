/* relay/wire/encoded_word: RFC 2047, strictly (INJ-01). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/encoded_word.h"

enum { OUT_MAX = 40 };

static void
test_decodes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"plain  text", "plain  text"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"=?utf-8?q?gr=C3=bc=C3=9F_e?=", "gr\xc3\xbc\xc3\x9f e"},
        {"=?UTF-8?B?Z3LDvMOf?=", "gr\xc3\xbc\xc3\x9f"},
        {"=?us-ascii*en?Q?a?=", "a"},
        {"=?iso-8859-1?q?gr=FC=DF?=", "gr\xc3\xbc\xc3\x9f"},
        {"a =?utf-8?q?b?= c =?utf-8?q?d?=", "a b c d"},
        {"=?utf-8?q?a?=  =?utf-8?q?b?=\t=?utf-8?b?Yw==?=", "abc"},
        {"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "\xc3\xbc"}, /* split: common, if wrong */
        {"=?utf-8?q?"
         "?=",
         ""},
        {"=?utf-8?q?a?=b", "ab"},
        {"a = b? c", "a = b? c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, OUT_MAX);
        assert_true(buf_add_str(&out, "> "));
        if (!encoded_word_decode(slice_str(cases[i][0]), &out))
            fail_msg("refused: %s", cases[i][0]);
        struct slice got = slice_skip(buf_slice(&out), 2);
        if (!slice_eq(got, slice_str(cases[i][1])))
            fail_msg("%s: %.*s", cases[i][0], SLICE_FMT(got));
        buf_fini(&out);
    }
}

static void
test_refuses(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "=?",
        "a=?b",
        "=?utf-8?q?a",
        "=?utf-8?q?a?",
        "=?utf-8?q?a b?=",
        "=?utf-8?x?a?=",
        "=?utf-8?b?a?=",
        "=?utf-8?b?YQ?=",
        "=?utf-8?q?=C?=",
        "=?utf-8?q?=GG?=",
        "=?utf-8?q?=?=",
        "=?koi8-r?q?a?=",
        "=?"
        "?q?a?=",
        "=?utf-8?"
        "?a?=",
        "=?utf-8?q?=C3?=",
        "\xff",
        "=?utf-8?q?=C3?=x=?utf-8?q?=BC?=",
        "01234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, OUT_MAX);
        assert_true(buf_add_str(&out, "> "));
        if (encoded_word_decode(slice_str(cases[i]), &out))
            fail_msg("taken: %s", cases[i]);
        assert_true(slice_eq(buf_slice(&out), SLICE("> ")));
        buf_fini(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decodes),
                                       cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
