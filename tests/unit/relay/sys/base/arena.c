#include "relay/sys/base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
refuses_above_its_budget(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1000);
    assert_non_null(arena_alloc(&a, 900));
    assert_null(arena_alloc(&a, 200));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 50));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 900));
    arena_fini(&a);
}

static void
gives_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    for (size_t n = 0; n < 300; n++) {
        unsigned char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % sizeof(max_align_t) % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_non_null(arena_alloc(&a, 100000)); /* larger than a block */
    arena_fini(&a);
}

static void
copies_end_in_nul(void **state)
{
    (void)state;
    struct arena a;
    struct slice out;
    arena_init(&a, 64);
    assert_true(arena_copy(&a, SLICE("abc"), &out));
    assert_string_equal(out.p, "abc");
    assert_int_equal(out.n, 3);
    assert_true(arena_copy(&a, SLICE_NONE, &out));
    assert_int_equal(out.n, 0);
    char big[100] = "";
    assert_false(arena_copy(&a, slice_from(big, sizeof big), &out));
    arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_above_its_budget),
        cmocka_unit_test(gives_zeroed_aligned_memory),
        cmocka_unit_test(copies_end_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
