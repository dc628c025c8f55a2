/* Columns: aligned by characters, safe for a terminal, bounded. */
#include "relay/cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"

static void
assert_written(struct table *t, const char *wanted)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    table_write(t, &out);
    buf_add_char(&out, '\0');
    assert_string_equal(buf_slice(&out).p, wanted);
    buf_fini(&out);
    table_fini(t);
}

static void
aligns_columns(void **state)
{
    (void)state;
    static const char *const HEADS[] = {"NAME", "N", "TEXT"};
    struct table t;
    table_init(&t, "lrl", HEADS);
    table_add(&t, SLICE("gr\xc3\xbc\xc3\x9f"));
    table_addf(&t, "%d", 7);
    table_add(&t, SLICE("a longer text"));
    table_add(&t, SLICE("x"));
    table_addf(&t, "%d", 1234);
    table_add(&t, SLICE(""));
    assert_int_equal(table_rows(&t), 2);
    assert_written(&t, "NAME     N  TEXT\n"
                       "gr\xc3\xbc\xc3\x9f     7  a longer text\n"
                       "x     1234\n");
}

static void
goes_on_without_heads(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, "lr", NULL);
    assert_int_equal(table_rows(&t), 0);
    assert_false(table_is_full(&t));
    table_add(&t, SLICE("a"));
    table_add(&t, SLICE("1"));
    assert_int_equal(table_rows(&t), 1);
    assert_written(&t, "a  1\n");
}

/* A remote server's text must not move the cursor or hide what stands there. */
static void
shows_no_control_characters(void **state)
{
    (void)state;
    static const char *const HEADS[] = {"A"};
    struct table t;
    table_init(&t, "l", HEADS);
    table_add(&t, SLICE("\x1b[2Jx\r\ny\x07\xc2\x9b\xe2\x80\xae\xff\tz"));
    assert_written(&t, "A\n?[2Jx??y???\?\?\?? z\n");
}

static void
is_bounded(void **state)
{
    (void)state;
    static const char *const HEADS[] = {"A", "B", "C"};
    char longer[CLI_CELL_MAX * 2];
    struct table t;
    struct buf out;
    memset(longer, 'x', sizeof longer);
    table_init(&t, "lll", HEADS);
    for (unsigned i = 0; i < CLI_TABLE_CELLS_MAX + 5; i++)
        table_add(&t, slice_from(longer, sizeof longer));
    assert_int_equal(t.cells, CLI_TABLE_CELLS_MAX / 3 * 3);
    assert_true(table_is_full(&t));
    buf_init(&out, 3 * CLI_TABLE_CELLS_MAX * CLI_CELL_MAX);
    table_write(&t, &out);
    assert_false(out.overflowed);
    buf_fini(&out);
    table_fini(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_columns),
        cmocka_unit_test(goes_on_without_heads),
        cmocka_unit_test(shows_no_control_characters),
        cmocka_unit_test(is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
