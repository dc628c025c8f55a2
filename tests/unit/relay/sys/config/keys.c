/* The table of keys, and config.example, which is printed from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"

enum { EXAMPLE_MAX = 1 << 20 };

static void
test_the_tracked_example_is_the_printed_one(void **state)
{
    static char tracked[EXAMPLE_MAX];
    struct buf printed;
    (void)state;
    FILE *in = fopen("config.example", "r");
    assert_non_null(in);
    size_t n = fread(tracked, 1, sizeof tracked - 1, in);
    fclose(in);
    buf_init(&printed, EXAMPLE_MAX);
    config_write_example(&printed);
    assert_int_equal(buf_slice(&printed).n, n);
    assert_memory_equal(buf_slice(&printed).p, tracked, n);
    buf_fini(&printed);
}

/* Every default in the example, taken out of its comment, is a good value too. */
static void
uncomment(struct buf *out)
{
    struct buf example;
    buf_init(&example, EXAMPLE_MAX);
    config_write_example(&example);
    struct slice rest = buf_slice(&example);
    while (rest.n > 0) {
        struct slice line = slice_cut_at(&rest, '\n');
        struct slice text = slice_trim(line);
        bool is_default =
            slice_starts(text, SLICE("#")) && !slice_starts(text, SLICE("# ")) && text.n > 1;
        buf_add(out, is_default ? slice_skip(text, 1) : line);
        buf_add_char(out, '\n');
    }
    buf_fini(&example);
}

static void
test_the_example_parses_with_and_without_its_defaults(void **state)
{
    struct buf text;
    (void)state;
    for (int with = 0; with < 2; with++) {
        buf_init(&text, EXAMPLE_MAX);
        if (with)
            uncomment(&text);
        else
            config_write_example(&text);
        struct config_file *f =
            config_file_parse("config.example", buf_slice(&text), CONFIG_LOOK_AT_TEXT);
        if (config_file_errors(f) > 0)
            config_file_print(f, stdout);
        assert_int_equal(config_file_errors(f), 0);
        assert_int_equal(config_file_warnings(f), 0);
        assert_string_equal(config_file_draft(f)->config.redis, "embedded");
        config_file_free(f);
        buf_fini(&text);
    }
}

static void
test_rows_are_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &CONFIG_KEYS[i];
        assert_ptr_equal(config_key_find(k->section, slice_str(k->name)), k);
        assert_true(strlen(k->help) > 4 && k->help[strlen(k->help) - 1] == '.');
        assert_true(k->least <= k->most);
        assert_true((k->choices != NULL) == (k->type == VALUE_CHOICE));
        bool bound_once = strcmp(k->section, "listeners") == 0 || strcmp(k->name, "state") == 0;
        assert_false(bound_once && (k->flags & KEY_RELOADABLE) != 0);
    }
}

static void
test_sections_are_found_below_their_parent_only(void **state)
{
    (void)state;
    assert_non_null(config_section_find("", SLICE("domains")));
    assert_non_null(config_section_find("domains", SLICE("dkim")));
    assert_null(config_section_find("", SLICE("dkim")));
    assert_null(config_section_find("", SLICE("domains.dkim")));
    assert_null(config_section_find("tls", SLICE("dkim")));
}

static void
test_ranges_in_words(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 256);
    config_key_range(config_key_find("listeners", SLICE("kind")), &out);
    assert_true(slice_eq(buf_slice(&out), SLICE("smtp, smtps, http or https")));
    buf_clear(&out);
    config_key_range(config_key_find("retry", SLICE("max")), &out);
    assert_true(slice_eq(buf_slice(&out), SLICE("1s to 1d")));
    buf_clear(&out);
    config_key_range(config_key_find("tls", SLICE("cert")), &out);
    assert_int_equal(buf_slice(&out).n, 0);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tracked_example_is_the_printed_one),
        cmocka_unit_test(test_the_example_parses_with_and_without_its_defaults),
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_sections_are_found_below_their_parent_only),
        cmocka_unit_test(test_ranges_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
