#include "relay/accept/policy/party.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
domains_and_addresses(void **state)
{
    static const char *const list[] = {"example.org", "one@single.example"};
    static const char *const all[] = {"*"};
    static const struct {
        struct slice address, domain;
        bool listed;
    } rows[] = {
        {SLICE("a@example.org"), SLICE("example.org"), true},
        {SLICE("a@sub.example.org"), SLICE("sub.example.org"), false},
        {SLICE("ONE@single.example"), SLICE("single.example"), true},
        {SLICE("one@single.example.org"), SLICE("single.example.org"), false},
        {SLICE("two@single.example"), SLICE("single.example"), false},
        {SLICE("a@*"), SLICE("*"), false},
        {SLICE("example.org"), SLICE(""), false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(party_is_listed(list, 2, rows[i].address, rows[i].domain), rows[i].listed);
        assert_int_equal(party_is_listed(all, 1, rows[i].address, rows[i].domain),
                         rows[i].domain.n > 0);
        assert_false(party_is_listed(NULL, 0, rows[i].address, rows[i].domain));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(domains_and_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
