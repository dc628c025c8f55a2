/* Which recipients rehearse what. */
#include "relay/sandbox/mx_magic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static void
names_are_known_by_local_part(void **state)
{
    (void)state;
    static const struct {
        const char *local;
        enum magic magic;
        unsigned code;
        const char *enhanced;
    } cases[] = {
        {"bounce", MAGIC_BOUNCE, 550, "5.1.1"},
        {"Bounce+tag+more", MAGIC_BOUNCE, 550, "5.1.1"},
        {"full", MAGIC_FULL, 452, "4.2.2"},
        {"defer", MAGIC_DEFER, 451, "4.3.0"},
        {"greylist", MAGIC_GREYLIST, 451, "4.7.1"},
        {"slow", MAGIC_SLOW, 0, NULL},
        {"drop-after-dot", MAGIC_DROP_AFTER_DOT, 0, NULL},
        {"bouncex", MAGIC_NONE, 0, NULL},
        {"xbounce", MAGIC_NONE, 0, NULL},
        {"", MAGIC_NONE, 0, NULL},
        {"+bounce", MAGIC_NONE, 0, NULL},
        {"alice+bounce", MAGIC_NONE, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(magic_of(slice_str(cases[i].local)), cases[i].magic);
        struct reply_text r = magic_refusal(cases[i].magic);
        assert_int_equal(r.code, cases[i].code);
        if (r.code != 0)
            assert_string_equal(r.enhanced, cases[i].enhanced);
    }
}

static void
greylist_knows_pairs(void **state)
{
    (void)state;
    struct greylist *g = greylist_new();
    assert_false(greylist_pass(g, SLICE("a@x"), SLICE("b@y")));
    assert_true(greylist_pass(g, SLICE("a@x"), SLICE("b@y")));
    assert_true(greylist_pass(g, SLICE("a@x"), SLICE("b@y")));
    assert_false(greylist_pass(g, SLICE("b@y"), SLICE("a@x")));
    assert_false(greylist_pass(g, SLICE(""), SLICE("b@y")));
    assert_false(greylist_pass(g, SLICE("a@xb"), SLICE("@y"))); /* not one string */
    greylist_free(g);
}

static void
greylist_is_bounded(void **state)
{
    (void)state;
    struct greylist *g = greylist_new();
    char to[32];
    for (unsigned i = 0; i <= SANDBOX_GREYLIST_MAX; i++) {
        snprintf(to, sizeof(to), "%u@y", i);
        assert_false(greylist_pass(g, SLICE("a@x"), slice_str(to)));
    }
    /* Only the last one is left. */
    assert_true(greylist_pass(g, SLICE("a@x"), slice_str(to)));
    assert_false(greylist_pass(g, SLICE("a@x"), SLICE("0@y")));
    greylist_free(g);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_known_by_local_part),
        cmocka_unit_test(greylist_knows_pairs),
        cmocka_unit_test(greylist_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
