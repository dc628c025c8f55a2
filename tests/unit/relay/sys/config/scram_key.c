#include "relay/sys/config/scram_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

/* RFC 7677 3: of "pencil". */
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define KEY "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER

static void
a_key_is_read_and_written(void **state)
{
    struct scram_key key;
    char text[SCRAM_KEY_TEXT_MAX];
    (void)state;
    assert_true(scram_key_parse(SLICE(KEY), &key));
    assert_int_equal(key.iterations, 4096);
    assert_int_equal(key.salt_bytes, 16);
    assert_int_equal(key.salt[0], 0x5b);
    scram_key_format(&key, text);
    assert_string_equal(text, KEY);
    memset(key.salt, 0xff, sizeof key.salt); /* the longest there can be */
    key.salt_bytes = SCRAM_SALT_MAX;
    key.iterations = SCRAM_ITERATIONS_MAX;
    scram_key_format(&key, text);
    assert_true(scram_key_parse(slice_str(text), &key));
}

static void
anything_else_is_no_key(void **state)
{
    static const char *const BAD[] = {
        "",
        "pencil",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-1$4096:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$4095:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$1000001:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$99999999999999999999999:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$-4096:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:c2FsdA==$" STORED ":" SERVER, /* four octets */
        "SCRAM-SHA-256$4096:" SALT "$" SALT ":" SERVER,
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SALT,
        "SCRAM-SHA-256$4096:" SALT "$" STORED,
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER ":x",
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER "\n",
    };
    struct scram_key key = {.iterations = 1};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_false(scram_key_parse(slice_str(BAD[i]), &key));
        assert_int_equal(key.iterations, 1);
    }
}

static void
keys_go_together_by_salt_and_count(void **state)
{
    struct scram_key a, b;
    (void)state;
    assert_true(scram_key_parse(SLICE(KEY), &a));
    b = a;
    b.stored[0] ^= 1;
    assert_true(scram_key_goes_with(&a, &b));
    b.iterations++;
    assert_false(scram_key_goes_with(&a, &b));
    b = a;
    b.salt[15] ^= 1;
    assert_false(scram_key_goes_with(&a, &b));
    b = a;
    b.salt_bytes--;
    assert_false(scram_key_goes_with(&a, &b));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_read_and_written),
        cmocka_unit_test(anything_else_is_no_key),
        cmocka_unit_test(keys_go_together_by_salt_and_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
