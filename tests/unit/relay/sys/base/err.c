#include "relay/sys/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

static void
context_stands_in_front(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set(&e, ERR_FULL, "OOM %d", 7), -1);
    assert_int_equal(err_context(&e, "enqueue: write %s", "body"), -1);
    assert_string_equal(e.text, "enqueue: write body: OOM 7");
    assert_int_equal(e.code, ERR_FULL);
    errno = ENOENT;
    err_set_errno(&e, ERR_IO, "open");
    assert_string_equal(e.text, "open: No such file or directory");
    err_clear(&e);
    assert_int_equal(e.code, ERR_NONE);
    assert_string_equal(e.text, "");
}

static void
long_texts_are_cut(void **state)
{
    (void)state;
    struct err e;
    char big[1000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_set(&e, ERR_BAD, "%s", big);
    err_context(&e, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    for (int c = ERR_NONE; c <= ERR_MEMORY; c++)
        assert_true(strlen(err_code_name((enum err_code)c)) > 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_stands_in_front),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
