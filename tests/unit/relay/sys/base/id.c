#include "relay/sys/base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
ids_are_uuid7_and_name_their_partition(void **state)
{
    (void)state;
    for (unsigned p = 0; p < 256; p++) {
        struct msg_id id = id_new(p), back;
        char text[ID_TEXT_BYTES + 1];
        assert_int_equal(id_partition(id), p);
        id_format(id, text);
        assert_int_equal(strlen(text), ID_TEXT_BYTES);
        assert_int_equal(text[14], '7');
        assert_non_null(strchr("89ab", text[19]));
        assert_true(id_parse(slice_str(text), &back));
        assert_true(id_eq(id, back));
        assert_false(id_eq(id, id_new(p)));
    }
}

static void
parsing_is_strict(void **state)
{
    (void)state;
    struct msg_id id;
    assert_true(id_parse(SLICE("01890A5D-AC96-774B-BCCE-B302099A8057"), &id));
    assert_false(id_parse(SLICE("01890a5d-ac96-474b-bcce-b302099a8057"), &id)); /* version 4 */
    assert_false(id_parse(SLICE("01890a5d-ac96-774b-bcce-b302099a805"), &id));
    assert_false(id_parse(SLICE("01890a5d-ac96-774b-bcce-b302099a80570"), &id));
    assert_false(id_parse(SLICE("01890a5dxac96-774b-bcce-b302099a8057"), &id));
    assert_false(id_parse(SLICE("01890a5d-ac96-774b-bcce-b302099a805g"), &id));
    assert_false(id_parse(SLICE_NONE, &id));
}

static void
random_below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    unsigned seen[5] = {0};
    for (int i = 0; i < 1000; i++) {
        uint32_t v = random_below(5);
        assert_true(v < 5);
        seen[v]++;
    }
    for (int i = 0; i < 5; i++)
        assert_true(seen[i] > 0);
    assert_int_equal(random_below(1), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_uuid7_and_name_their_partition),
        cmocka_unit_test(parsing_is_strict),
        cmocka_unit_test(random_below_stays_below_and_reaches_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
