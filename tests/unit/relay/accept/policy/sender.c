#include "relay/accept/policy/sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *own[] = {"example.org", "xn--bcher-kva.example", "one@single.example"};
static const char *all[] = {"*"};
static const struct config_credential OWNER = {.user = "o", .senders = own, .sender_count = 3};
static const struct config_credential ANY = {.user = "a", .senders = all, .sender_count = 1};
static const struct config_credential NONE = {.user = "n"};

static void
envelope(void **state)
{
    (void)state;
    static const struct {
        struct slice path, domain;
        bool owner, any, none;
    } rows[] = {
        {SLICE("a@example.org"), SLICE("example.org"), true, true, false},
        {SLICE("a@xn--bcher-kva.example"), SLICE("xn--bcher-kva.example"), true, true, false},
        {SLICE("a@sub.example.org"), SLICE("sub.example.org"), false, true, false},
        {SLICE("a@org"), SLICE("org"), false, true, false},
        {SLICE("a@notexample.org"), SLICE("notexample.org"), false, true, false},
        {SLICE("a@*"), SLICE("*"), false, true, false},
        {SLICE("one@single.example"), SLICE("single.example"), true, true, false},
        {SLICE("ONE@single.example"), SLICE("single.example"), true, true, false},
        {SLICE("two@single.example"), SLICE("single.example"), false, true, false},
        {SLICE("one@example.org@single.example"), SLICE("single.example"), false, true, false},
        {SLICE("\"one@single.example\"@b.example"), SLICE("b.example"), false, true, false},
        {SLICE(""), SLICE(""), true, true, true}, /* <> */
        {SLICE("a@example.org"), SLICE(""), false, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(policy_sender_envelope(&OWNER, rows[i].path, rows[i].domain),
                         rows[i].owner);
        assert_int_equal(policy_sender_envelope(&ANY, rows[i].path, rows[i].domain), rows[i].any);
        assert_int_equal(policy_sender_envelope(&NONE, rows[i].path, rows[i].domain), rows[i].none);
    }
}

static void
header_names_the_first_that_is_not_owned(void **state)
{
    (void)state;
    static const struct slice domains[] = {SLICE("example.org"), SLICE("single.example"),
                                           SLICE("c.example")};
    static const struct slice addresses[] = {SLICE("a@example.org"), SLICE("one@single.example"),
                                             SLICE("c@c.example")};
    static const struct slice empty[] = {SLICE("")};
    struct slice culprit = SLICE_NONE;
    assert_true(policy_sender_header(&OWNER, addresses, domains, 2, &culprit));
    assert_false(policy_sender_header(&NONE, addresses, domains, 2, &culprit));
    assert_true(slice_eq(culprit, SLICE("a@example.org")));
    assert_false(policy_sender_header(&OWNER, addresses, domains, 3, &culprit));
    assert_true(slice_eq(culprit, SLICE("c@c.example")));
    assert_true(policy_sender_header(&ANY, addresses, domains, 3, &culprit));
    assert_false(policy_sender_header(&ANY, empty, empty, 1, &culprit));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelope),
        cmocka_unit_test(header_names_the_first_that_is_not_owned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
