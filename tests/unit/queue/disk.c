#include "queue/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
the_reserve_is_a_part_with_a_limit(void **state)
{
    (void)state;
    assert_int_equal(disk_reserve_bytes(0), 0);
    assert_int_equal(disk_reserve_bytes(160 << 20), 10 << 20);
    assert_int_equal(disk_reserve_bytes(4096ull << 20), 256 << 20);
    assert_int_equal(disk_reserve_bytes(1ull << 50), 256 << 20);
}

/* What cannot be asked does not stop mail. */
static void
without_an_answer_there_is_room(void **state)
{
    (void)state;
    assert_false(disk_is_low(NULL));
    assert_false(disk_is_low("/proc/none/such"));
    assert_false(disk_is_low("/proc")); /* a file system without blocks */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reserve_is_a_part_with_a_limit),
        cmocka_unit_test(without_an_answer_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
