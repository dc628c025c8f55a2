#include "relay/event/provider.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void
knows_the_large_ones(void **state)
{
    static const struct {
        const char *mx;
        enum provider provider;
    } ROWS[] = {{"gmail-smtp-in.l.google.com", PROVIDER_GOOGLE},
                {"ASPMX.L.GOOGLE.COM", PROVIDER_GOOGLE},
                {"example-com.mail.protection.outlook.com", PROVIDER_MICROSOFT},
                {"hotmail-com.olc.protection.outlook.com", PROVIDER_MICROSOFT},
                {"mta5.am0.yahoodns.net", PROVIDER_YAHOO},
                {"mx01.mail.icloud.com", PROVIDER_APPLE},
                {"mx.customer.example", PROVIDER_OTHER},
                {"notgoogle.com", PROVIDER_OTHER},
                {"google.com", PROVIDER_OTHER}, /* no MX is called so */
                {"google.com.attacker.example", PROVIDER_OTHER},
                {"", PROVIDER_OTHER}};
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        assert_int_equal(provider_of_mx(slice_str(ROWS[i].mx)), ROWS[i].provider);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(knows_the_large_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
