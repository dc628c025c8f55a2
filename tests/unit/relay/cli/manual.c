/* stagepost.conf(5): says every key, and nothing in it is taken for a request of roff's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/cli/manual.h"
#include "relay/sys/config/keys.h"

enum { PAGE_MAX = 1 << 20 };

static int
test_setup(void **state)
{
    static struct buf page;
    buf_init(&page, PAGE_MAX);
    manual_write(&page);
    assert_false(page.overflowed);
    *state = &page;
    return 0;
}

static int
test_teardown(void **state)
{
    buf_fini(*state);
    return 0;
}

static void
test_every_key_and_section_is_there(void **state)
{
    struct slice page = buf_slice(*state);
    char wanted[128];
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        snprintf(wanted, sizeof wanted, "\n.TP\n.B %s\n", CONFIG_KEYS[i].name);
        assert_non_null(memmem(page.p, page.n, wanted, strlen(wanted)));
    }
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        snprintf(wanted, sizeof wanted, "\n.SS %s = ", CONFIG_SECTIONS[i].path);
        assert_non_null(memmem(page.p, page.n, wanted, strlen(wanted)));
    }
}

static void
test_lines_are_text_or_requests_that_we_know(void **state)
{
    static const char *const KNOWN[] = {".TH ", ".SH ", ".SS ", ".TP", ".B ", ".I ", ".BR ",
                                        ".br",  ".PP",  ".RS",  ".RE", ".nf", ".fi"};
    struct slice rest = buf_slice(*state);
    while (rest.n > 0) {
        struct slice line = slice_cut_at(&rest, '\n');
        bool known = line.n == 0 || (line.p[0] != '.' && line.p[0] != '\'');
        for (size_t i = 0; !known && i < sizeof KNOWN / sizeof KNOWN[0]; i++)
            known = slice_starts(line, slice_str(KNOWN[i]));
        assert_true(known);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_and_section_is_there),
        cmocka_unit_test(test_lines_are_text_or_requests_that_we_know),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
