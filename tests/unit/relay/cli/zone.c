/* Domains as people type them; records as a zone file wants them. */
#include "relay/cli/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

static void
domains_are_read(void **state)
{
    (void)state;
    char out[ADDRESS_CANONICAL_MAX];
    static const char *const good[][2] = {
        {"example.org", "example.org"},
        {"EXAMPLE.org.", "example.org"},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(zone_read_domain(good[i][0], out));
        assert_string_equal(out, good[i][1]);
    }
    static const char *const bad[] = {
        "", ".", "localhost", "a..b", "a b.org", "[192.0.2.1]", "a_b.org", "-a.org", "a.org.."};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(zone_read_domain(bad[i], out));
}

static void
assert_line(const char *value, const char *wanted)
{
    struct buf out;
    buf_init(&out, 4096);
    zone_add_txt(&out, "s._domainkey.example.org", value);
    buf_add_char(&out, '\0');
    assert_string_equal(buf_slice(&out).p, wanted);
    buf_fini(&out);
}

static void
records_are_written(void **state)
{
    (void)state;
    char value[600], wanted[700];
    assert_line("p=a\"b\\c", "  s._domainkey.example.org. TXT \"p=a\\\"b\\\\c\"\n");
    memset(value, 'x', 511);
    value[511] = '\0';
    snprintf(wanted, sizeof wanted, "  s._domainkey.example.org. TXT \"%.255s\" \"%.255s\" \"x\"\n",
             value, value);
    assert_line(value, wanted);
    value[255] = '\0';
    snprintf(wanted, sizeof wanted, "  s._domainkey.example.org. TXT \"%s\"\n", value);
    assert_line(value, wanted);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_are_read),
        cmocka_unit_test(records_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
