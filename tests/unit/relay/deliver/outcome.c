#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/deliver/outcome.h"
#include "relay/sys/base/bug.h"

/* The promises that the table must keep, whatever else it says. */
static void
test_invariants(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PHASE_COUNT; p++) {
        assert_true(strlen(outcome_phase_name((enum phase)p)) > 0);
        for (unsigned s = 0; s < SEEN_COUNT; s++) {
            const struct outcome_rule *r = outcome_rule((enum phase)p, (enum seen)s);
            /* Delivered is said by the final reply alone. */
            assert_int_equal(r->outcome == OUTCOME_DELIVERED, p == PHASE_FINAL && s == SEEN_OK);
            /* Uncertain only behind the dot; and then nothing is sent again now. */
            if (r->outcome == OUTCOME_UNCERTAIN) {
                assert_int_equal(p, PHASE_FINAL);
                assert_int_equal(r->scope, SCOPE_MESSAGE);
            }
            /* Permanent is what a reply says or what we know, never a broken line. */
            if (r->outcome == OUTCOME_PERM)
                assert_true(s == SEEN_PERM || s == SEEN_UNFIT);
            /* RTY-04: before MAIL no host's 5xx ends a recipient. */
            if (p >= PHASE_CONNECT && p <= PHASE_TLS)
                assert_int_equal(r->outcome, OUTCOME_TEMP);
        }
    }
}

static void
test_after_the_dot_nothing_heard_is_uncertain(void **state)
{
    static const enum seen silent[] = {SEEN_LOST, SEEN_TIMEOUT, SEEN_BROKEN};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        assert_int_equal(outcome_rule(PHASE_FINAL, silent[i])->outcome, OUTCOME_UNCERTAIN);
        assert_int_equal(outcome_rule(PHASE_DOT, silent[i])->outcome, OUTCOME_TEMP);
        assert_int_equal(outcome_rule(PHASE_BODY, silent[i])->outcome, OUTCOME_TEMP);
    }
}

static struct reply
reply_of(unsigned code, unsigned class_, unsigned subject, unsigned detail)
{
    return (struct reply){.code = code, .enhanced = {class_, subject, detail}};
}

/* MXR-15: the first digit decides. */
static void
test_sorting(void **state)
{
    static const struct {
        enum phase phase;
        unsigned code;
        enum seen seen;
    } cases[] = {
        {PHASE_MAIL, 250, SEEN_OK},       {PHASE_RCPT, 251, SEEN_OK},
        {PHASE_RCPT, 252, SEEN_OK},       {PHASE_MAIL, 354, SEEN_BROKEN},
        {PHASE_DATA, 354, SEEN_OK},       {PHASE_DATA, 250, SEEN_BROKEN},
        {PHASE_DATA, 355, SEEN_BROKEN},   {PHASE_FINAL, 354, SEEN_BROKEN},
        {PHASE_FINAL, 250, SEEN_OK},      {PHASE_RCPT, 421, SEEN_CLOSING},
        {PHASE_FINAL, 421, SEEN_CLOSING}, {PHASE_RCPT, 450, SEEN_TEMP},
        {PHASE_RCPT, 550, SEEN_PERM},     {PHASE_BODY, 250, SEEN_BROKEN},
        {PHASE_GREETING, 220, SEEN_OK},   {PHASE_GREETING, 554, SEEN_PERM},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply r = reply_of(cases[i].code, 0, 0, 0);
        assert_int_equal(outcome_sort_reply(cases[i].phase, &r), cases[i].seen);
    }
}

static void
test_too_many(void **state)
{
    static const struct {
        unsigned code, class_, subject, detail;
        bool is;
    } cases[] = {
        {452, 0, 0, 0, true},  {452, 4, 5, 3, true}, {452, 4, 2, 2, false}, {452, 4, 3, 1, false},
        {552, 0, 0, 0, false}, {552, 5, 5, 3, true}, {450, 4, 5, 3, false}, {550, 5, 5, 3, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply r =
            reply_of(cases[i].code, cases[i].class_, cases[i].subject, cases[i].detail);
        assert_int_equal(outcome_is_too_many(&r), cases[i].is);
    }
}

/* MXR-02, -03: whatever was said is one line of bounded, whole characters. */
static void
test_findings_are_bounded(void **state)
{
    static char text[4 * VERDICT_TEXT_MAX];
    struct finding f;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[0] = 'x'; /* now every sequence begins at an odd place */
    text[1] = '\n';
    memmove(text + 2, text + 1, sizeof text - 2);
    struct reply r = {.code = 550, .enhanced = {5, 1, 1}, .text = slice_from(text, sizeof text)};
    finding_from_reply(&f, PHASE_RCPT, SEEN_PERM, &r);
    assert_true(f.text_bytes <= VERDICT_TEXT_MAX && f.text_bytes > VERDICT_TEXT_MAX - 4);
    assert_int_equal(f.text[1], ' ');
    assert_int_equal(f.code, 550);
    finding_from_us(&f, PHASE_CONNECT, SEEN_TIMEOUT, "%02000d", 7);
    assert_true(f.text_bytes < VERDICT_TEXT_MAX);
    assert_int_equal(f.code, 0);
    assert_int_equal(f.enhanced.class_, 4);
}

static void
test_verdicts(void **state)
{
    struct arena arena;
    struct finding f;
    struct verdict v;
    struct reply r = {.code = 250, .enhanced = {2, 0, 0}, .text = SLICE("fine")};
    (void)state;
    arena_init(&arena, 4096);
    finding_from_reply(&f, PHASE_FINAL, SEEN_OK, &r);
    outcome_verdict(&f, SLICE("mx.test"), &arena, &v);
    assert_int_equal(v.outcome, OUTCOME_DELIVERED);
    assert_int_equal(v.code, 250);
    assert_true(slice_eq(v.text, SLICE("fine")) && slice_eq(v.mx, SLICE("mx.test")));
    assert_true(slice_eq(v.phase, SLICE("end of data")));
    assert_true(v.at_unix_ms > 0);
    arena_fini(&arena);
    /* Without memory the verdict still holds. */
    arena_init(&arena, 1);
    outcome_verdict(&f, SLICE("mx.test"), &arena, &v);
    assert_int_equal(v.outcome, OUTCOME_DELIVERED);
    assert_int_equal(v.text.n, 0);
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariants),
        cmocka_unit_test(test_after_the_dot_nothing_heard_is_uncertain),
        cmocka_unit_test(test_sorting),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_findings_are_bounded),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
