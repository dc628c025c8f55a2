/* When DNS is believed to be dead, and until when. */
#include "relay/accept/policy/silence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"

static void
silence_begins_once_and_ends(void **state)
{
    (void)state;
    struct silence s = {0};
    assert_false(silence_lasts(&s, 1));
    assert_true(silence_note_late(&s, 1000, 3000));
    assert_true(silence_lasts(&s, 3000 + PREFLIGHT_SILENCE_MS - 1));
    assert_false(silence_lasts(&s, 3000 + PREFLIGHT_SILENCE_MS));
    assert_false(silence_note_late(&s, 3000, 4000)); /* no news, but it lasts longer */
    assert_true(silence_lasts(&s, 4000 + PREFLIGHT_SILENCE_MS - 1));
    assert_true(silence_note_answer(&s, 5000));
    assert_false(silence_note_answer(&s, 5001));
    assert_false(silence_lasts(&s, 5001));
}

static void
an_answer_meanwhile_is_no_silence(void **state)
{
    (void)state;
    struct silence s = {0};
    assert_false(silence_note_answer(&s, 2000));
    assert_false(silence_note_late(&s, 1000, 3000));
    assert_false(silence_note_late(&s, 2000, 4000));
    assert_false(silence_lasts(&s, 4000));
    assert_true(silence_note_late(&s, 2001, 4001));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_begins_once_and_ends),
        cmocka_unit_test(an_answer_meanwhile_is_no_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
