/* relay/wire/qp: quoted-printable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/qp.h"

static void
test_encode(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"plain\r\n", "plain\r\n"},
        {"a=b", "a=3Db"},
        {"\xc3\xbc", "=C3=BC"},
        {"end \r\nend\t\r\nmid dle", "end=20\r\nend=09\r\nmid dle"},
        {"last ", "last=20"},
        {"a\rb\nc", "a=0Db=0Ac"},
        {"\r\n\r\n", "\r\n\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 100);
        assert_true(qp_encode(slice_str(cases[i][0]), &out));
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i][1])));
        buf_fini(&out);
    }
}

/* No line is too long, and without soft breaks the text is there again. */
static void
test_long_lines(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n++) {
        struct buf in, out;
        buf_init(&in, 1000);
        buf_init(&out, 4000);
        for (size_t i = 0; i < n; i++)
            assert_true(buf_add_char(&in, i % 7 == 3 ? '=' : 'x'));
        assert_true(qp_encode(buf_slice(&in), &out));
        struct slice rest = buf_slice(&out);
        size_t octets = 0;
        while (rest.n > 0) {
            size_t at = slice_find_slice(rest, SLICE("\r\n"));
            struct slice line = slice_cut(&rest, at);
            assert_true(line.n <= QP_LINE_MAX);
            if (rest.n > 0)
                assert_true(line.n > 0 && line.p[line.n - 1] == '=');
            rest = slice_skip(rest, 2);
            for (size_t i = 0; i < line.n; octets++)
                i += line.p[i] == '=' ? 3 : 1;
            octets -= line.n > 0 && line.p[line.n - 1] == '=';
        }
        assert_int_equal(octets, n);
        buf_fini(&in);
        buf_fini(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
