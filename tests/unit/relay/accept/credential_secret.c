#include "relay/accept/credential_secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <crypt.h>

/* The hashes are of what is shown, and no two are alike. */
static void
secrets(void **state)
{
    struct credential_secret a, b;
    (void)state;
    credential_secret_make(&a, NULL);
    credential_secret_make(&b, a.scram);
    assert_int_equal(strlen(a.password), 26);
    assert_int_equal(strlen(a.key), 3 + 64);
    assert_int_equal(strlen(a.key_sha256), 64);
    assert_int_equal(strncmp(a.password_hash, "$y$", 3), 0);
    assert_string_not_equal(a.password, b.password);
    assert_string_not_equal(a.key, b.key);
    struct scram_key of_a, of_b;
    assert_true(scram_key_parse(slice_str(a.scram), &of_a));
    assert_true(scram_key_parse(slice_str(b.scram), &of_b));
    assert_true(scram_key_goes_with(&of_a, &of_b)); /* both may be live */
    assert_memory_not_equal(of_a.stored, of_b.stored, sizeof of_a.stored);
    struct crypt_data *data = calloc(1, sizeof *data);
    assert_string_equal(crypt_r(a.password, a.password_hash, data), a.password_hash);
    free(data);
    credential_secret_wipe(&a);
    for (size_t i = 0; i < sizeof a; i++)
        assert_int_equal(((const char *)&a)[i], 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(secrets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
