#include "relay/sys/proc/child.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
owners_round_trip_as_hex(void **state)
{
    (void)state;
    uint8_t owner[QUEUE_OWNER_BYTES], back[QUEUE_OWNER_BYTES];
    char hex[OWNER_HEX_BYTES + 1];
    for (size_t i = 0; i < sizeof owner; i++)
        owner[i] = (uint8_t)(i * 17 + 3);
    owner_to_hex(owner, hex);
    assert_int_equal(strlen(hex), OWNER_HEX_BYTES);
    assert_true(owner_from_hex(slice_str(hex), back));
    assert_memory_equal(owner, back, sizeof owner);
    assert_false(owner_from_hex(slice_from(hex, OWNER_HEX_BYTES - 1), back));
    hex[5] = 'G';
    assert_false(owner_from_hex(slice_str(hex), back));
    hex[5] = '\0';
    assert_false(owner_from_hex(slice_from(hex, OWNER_HEX_BYTES), back));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_round_trip_as_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
