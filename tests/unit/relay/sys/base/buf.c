#include "relay/sys/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
never_passes_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_add_str(&b, "12345"));
    assert_false(buf_add_str(&b, "678901"));
    assert_true(b.overflowed);
    assert_int_equal(buf_slice(&b).n, 5);
    assert_true(buf_add_str(&b, "67890"));
    assert_int_equal(buf_room(&b), 0);
    assert_false(buf_add_char(&b, 'x'));
    assert_true(slice_eq(buf_slice(&b), SLICE("1234567890")));
    buf_clear(&b);
    assert_false(b.overflowed);
    assert_null(buf_reserve(&b, 11));
    buf_fini(&b);
}

/* Appends and consumes at random beside a plain array. */
static void
keeps_bytes_in_order(void **state)
{
    (void)state;
    struct buf b;
    char model[5000];
    size_t from = 0, to = 0;
    buf_init(&b, 1000);
    srandom(7);
    while (to < 4000) {
        char piece[100];
        size_t n = (size_t)random() % sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)random();
        if (buf_add(&b, slice_from(piece, n))) {
            memcpy(model + to, piece, n);
            to += n;
        }
        size_t gone = (size_t)random() % (buf_slice(&b).n + 1);
        buf_consume(&b, gone);
        from += gone;
        assert_int_equal(buf_slice(&b).n, to - from);
        assert_true(slice_eq(buf_slice(&b), slice_from(model + from, to - from)));
    }
    buf_fini(&b);
}

static void
formats_to_the_last_byte(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 6);
    assert_true(buf_addf(&b, "%d-%s", 42, "abc"));
    assert_true(slice_eq(buf_slice(&b), SLICE("42-abc")));
    assert_false(buf_addf(&b, "%c", 'x'));
    assert_true(b.overflowed);
    buf_truncate(&b, 2);
    assert_true(slice_eq(buf_slice(&b), SLICE("42")));
    buf_fini(&b);
}

/* Whatever is there already: nothing, little, or what has grown before. */
static void
formats_what_is_longer_than_its_memory(void **state)
{
    (void)state;
    static const size_t before[] = {0, 1, 100, 255, 256, 300, 1000};
    char text[700];
    memset(text, 'y', sizeof text);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        for (size_t n = 0; n < sizeof text; n++) {
            struct buf b;
            buf_init(&b, before[i] + 600);
            for (size_t k = 0; k < before[i]; k++)
                buf_add_char(&b, 'x');
            buf_consume(&b, before[i] / 2);
            assert_int_equal(buf_addf(&b, "%.*s", (int)n, text), n <= 600 + before[i] / 2);
            size_t added = n <= 600 + before[i] / 2 ? n : 0, kept = before[i] - before[i] / 2;
            assert_int_equal(buf_slice(&b).n, kept + added);
            assert_true(slice_eq(slice_skip(buf_slice(&b), kept), slice_from(text, added)));
            assert_int_equal(b.overflowed, added != n);
            buf_fini(&b);
        }
}

static void
adds_numbers(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 24);
    assert_true(buf_add_u64(&b, 0));
    assert_true(buf_add_u64(&b, UINT64_MAX));
    assert_true(slice_eq(buf_slice(&b), SLICE("018446744073709551615")));
    assert_false(buf_add_u64(&b, 1000));
    assert_true(buf_add_u64(&b, 907));
    assert_true(slice_eq(buf_slice(&b), SLICE("018446744073709551615907")));
    buf_fini(&b);
}

static void
shrinks_only_when_empty(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    char *at = buf_reserve(&b, 100000);
    assert_non_null(at);
    memset(at, 'x', 100000);
    buf_commit(&b, 100000);
    buf_shrink(&b, 4096);
    assert_int_equal(buf_slice(&b).n, 100000);
    buf_consume(&b, 100000);
    buf_shrink(&b, 4096);
    assert_int_equal(b.cap, 0);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_passes_its_maximum),
        cmocka_unit_test(keeps_bytes_in_order),
        cmocka_unit_test(formats_to_the_last_byte),
        cmocka_unit_test(formats_what_is_longer_than_its_memory),
        cmocka_unit_test(adds_numbers),
        cmocka_unit_test(shrinks_only_when_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
