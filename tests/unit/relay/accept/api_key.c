#include "relay/accept/api_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What sha256sum prints for "dev" and for nothing. */
static const char DEV[] = "ef260e9aa3c673af240d17a2660480361a8e081d1ffeca2a5ed0e3219fc18567";
static const char NOTHING[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void
digests(void **state)
{
    char hex[API_KEY_DIGEST_HEX];
    (void)state;
    api_key_digest(SLICE_NONE, hex);
    assert_true(api_key_is(NOTHING, hex));
    api_key_digest(SLICE("dev"), hex);
    assert_memory_equal(hex, DEV, API_KEY_DIGEST_HEX);
    assert_true(api_key_is(DEV, hex));
    assert_false(api_key_is(NOTHING, hex));
    assert_false(api_key_is("", hex));
    assert_false(api_key_is(NULL, hex));
    assert_false(api_key_is("ef260e9a", hex));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(digests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
