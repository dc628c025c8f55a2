/* relay/wire/xtext: xtext and original recipients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/xtext.h"

static struct arena arena;

static int
setup(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* CMD-09: what was encoded is encoded again on output. */
static void
test_round_trips(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},         {"abc", "abc"},       {"a+2Bb", "a+b"}, {"a+3Db", "a=b"},
        {"a+20b", "a b"}, {"+2B+3D+20", "+= "}, {"~!", "~!"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice out;
        struct buf again;
        buf_init(&again, 100);
        assert_int_equal(xtext_decode(slice_str(cases[i][0]), &arena, &out), PARSE_OK);
        assert_true(slice_eq(out, slice_str(cases[i][1])));
        assert_true(xtext_encode(out, &again));
        assert_true(slice_eq(buf_slice(&again), slice_str(cases[i][0])));
        buf_fini(&again);
    }
}

/* CMD-09 */
static void
test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"+00", "+0A", "+0D", "+1B", "+7F", "+80", "+FF",     "+",
                                        "a+2", "+G0", "+2b", "a=b", "a b", "a\r", "\xc3\xbc"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice out = SLICE("untouched");
        if (xtext_decode(slice_str(cases[i]), &arena, &out) != PARSE_BAD)
            fail_msg("'%s' taken", cases[i]);
        assert_true(slice_eq(out, SLICE("untouched")));
    }
}

static void
test_encode_any_octet(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 100);
    assert_true(xtext_encode(slice_from("\0\r\n\xff", 4), &out));
    assert_true(slice_eq(buf_slice(&out), SLICE("+00+0D+0A+FF")));
    buf_fini(&out);
    buf_init(&out, 4);
    assert_false(xtext_encode(SLICE("ab=c"), &out));
    assert_int_equal(buf_slice(&out).n, 0);
    buf_fini(&out);
}

/* CMD-09. `encoded` NULL: refused. */
static void
test_orcpt(void **state)
{
    (void)state;
    static const struct {
        const char *in, *address, *encoded, *field;
    } cases[] = {
        {"rfc822;a@b", "a@b", "rfc822;a@b", "rfc822; a@b"},
        {"RFC822;a+2Bb@c", "a+b@c", "RFC822;a+2Bb@c", "RFC822; a+b@c"},
        {"x400;/c=us/", NULL, NULL, NULL},
        {"utf-8;a@b", "a@b", "utf-8;a@b", "utf-8; a@b"},
        {"utf-8;\xc3\xbc@b", "\xc3\xbc@b", "utf-8;\\x{FC}@b", "utf-8; \\x{FC}@b"},
        {"UTF-8;\\x{FC}@b", "\xc3\xbc@b", "UTF-8;\\x{FC}@b", "UTF-8; \\x{FC}@b"},
        {"utf-8;\\x{1F600}@b", "\xf0\x9f\x98\x80@b", "utf-8;\\x{1F600}@b", "utf-8; \\x{1F600}@b"},
        {"utf-8;\\x{2B}\\x{5C}", "+\\", "utf-8;\\x{2B}\\x{5C}", "utf-8; \\x{2B}\\x{5C}"},
        {"utf-8;\\x{00}", NULL, NULL, NULL},
        {"utf-8;\\x{0A}", NULL, NULL, NULL},
        {"utf-8;\\x{D800}", NULL, NULL, NULL},
        {"utf-8;\\x{110000}", NULL, NULL, NULL},
        {"utf-8;\\x{00FC}", NULL, NULL, NULL},
        {"utf-8;\\x{fc}", NULL, NULL, NULL},
        {"utf-8;\\x{FC", NULL, NULL, NULL},
        {"utf-8;\\x{}", NULL, NULL, NULL},
        {"utf-8;\\y", NULL, NULL, NULL},
        {"utf-8;a b", NULL, NULL, NULL},
        {"utf-8;\xff", NULL, NULL, NULL},
        {"\xc3\xbc;a", NULL, NULL, NULL},
        {"rfc822;\xc3\xbc", NULL, NULL, NULL},
        {"rfc 822;a", NULL, NULL, NULL},
        {"rfc822", NULL, NULL, NULL},
        {"rfc822;", NULL, NULL, NULL},
        {";a", NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct orcpt o = {.type = SLICE("untouched")};
        struct buf out;
        enum parse r = orcpt_decode(slice_str(cases[i].in), &arena, &o);
        if ((r == PARSE_OK) != (cases[i].encoded != NULL))
            fail_msg("'%s': %d", cases[i].in, (int)r);
        if (r != PARSE_OK) {
            assert_true(slice_eq(o.type, SLICE("untouched")));
            continue;
        }
        assert_true(slice_eq(o.address, slice_str(cases[i].address)));
        buf_init(&out, 100);
        assert_true(orcpt_encode(&o, &out));
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].encoded)));
        buf_clear(&out);
        assert_true(orcpt_add_field(&o, &out));
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].field)));
        buf_fini(&out);
    }
}

/* CMD-09 */
static void
test_orcpt_length(void **state)
{
    (void)state;
    char text[ORCPT_MAX + 1];
    struct orcpt o;
    memset(text, 'a', sizeof(text));
    memcpy(text, "rfc822;", 7);
    assert_int_equal(orcpt_decode(slice_from(text, ORCPT_MAX), &arena, &o), PARSE_OK);
    assert_int_equal(orcpt_decode(slice_from(text, ORCPT_MAX + 1), &arena, &o), PARSE_BAD);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test(test_encode_any_octet),
        cmocka_unit_test_setup_teardown(test_orcpt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_orcpt_length, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
