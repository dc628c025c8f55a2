/* Loading, checking, choosing and making DKIM keys. */
#include "dkim/keys.h"

#include "tests/unit/support/dkim_support.h"

#include <openssl/pem.h>
#include <sys/stat.h>

static struct dkim_dir dir;

static int
set_up(void **state)
{
    (void)state;
    dkim_dir_init(&dir);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    dkim_dir_fini(&dir);
    return 0;
}

/* Writes a key of any kind, encrypted when `pass` is given. */
static const char *
write_key(const char *name, EVP_PKEY *pkey, const char *pass)
{
    static char path[SUPPORT_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir.path, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PKCS8PrivateKey(f, pkey, pass != NULL ? EVP_aes_128_cbc() : NULL,
                                               pass, pass != NULL ? (int)strlen(pass) : 0, NULL,
                                               NULL),
                     1);
    fclose(f);
    EVP_PKEY_free(pkey);
    return path;
}

static void
refused(const char *domain, const char *selector, const char *path, const char *why)
{
    struct err err = {0};
    struct key_spec spec = {domain, selector, path, NULL};
    assert_null(keyset_load(&spec, 1, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    if (strstr(err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void
keys_that_libopendkim_must_not_see_are_refused(void **state)
{
    (void)state;
    char garbage[SUPPORT_PATH_MAX];
    snprintf(garbage, sizeof garbage, "%s/garbage", dir.path);
    write_file(garbage, "w",
               SLICE("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
    refused("*", "s", garbage, "no private key");
    write_file(garbage, "w", SLICE(""));
    refused("*", "s", garbage, "no private key");
    refused("*", "s", "/proc/none/key.pem", "No such file");
    refused("*", "s", write_key("encrypted", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "secret"),
            "encrypted");
    refused("*", "s", write_key("ec", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), NULL),
            "neither an RSA nor an Ed25519");
    refused("*", "s", write_key("x25519", EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), NULL),
            "neither an RSA nor an Ed25519");
    refused("*", "s", write_key("small", EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1016), NULL),
            "RSA key of 1016 bits");
}

static void
a_file_above_the_limit_is_refused(void **state)
{
    (void)state;
    char path[SUPPORT_PATH_MAX], text[KEY_FILE_BYTES_MAX];
    snprintf(path, sizeof path, "%s/large", dir.path);
    memset(text, '\n', sizeof text);
    write_file(path, "w", slice_from(text, sizeof text));
    refused("*", "s", path, "File too large");
}

static void
names_that_cannot_stand_in_dns_are_refused(void **state)
{
    (void)state;
    refused("exa mple.org", "s", dir.rsa, "is not a domain");
    refused("", "s", dir.rsa, "is not a domain");
    refused("example.org.", "s", dir.rsa, "is not a domain");
    refused("*.example.org", "s", dir.rsa, "is not a domain");
    refused("example.org", "s;x", dir.rsa, "is not a selector");
    refused("example.org", "", dir.rsa, "is not a selector");
    assert_true(key_name_ok(SLICE("a.b-c._d.e1")));
    assert_false(key_name_ok(SLICE("a..b")));
    assert_false(key_name_ok(SLICE(".a")));
    assert_false(key_name_ok(SLICE("-a.b")));
    assert_false(key_name_ok(SLICE("a-.b")));
    assert_false(key_name_ok(SLICE("a\r\n.b")));
    assert_false(key_name_ok(SLICE("\xc3\xa4.b")));
}

static void
label_and_name_lengths_are_limited(void **state)
{
    (void)state;
    char name[ADDRESS_DOMAIN_MAX + 1];
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 64 == 63 ? '.' : 'a';
    assert_true(key_name_ok(slice_from(name, ADDRESS_DOMAIN_MAX)));
    assert_false(key_name_ok(slice_from(name, ADDRESS_DOMAIN_MAX + 1)));
    name[63] = 'a';
    assert_false(key_name_ok(slice_from(name, 64)));
}

static void
other_forms_of_pem_are_read(void **state)
{
    (void)state;
    char path[SUPPORT_PATH_MAX];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/traditional", dir.path);
    write_file(path, "w", SLICE("# a comment before the key\n"));
    FILE *f = fopen(path, "a");
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    BIO *bio = BIO_new_fp(f, BIO_NOCLOSE);
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    BIO_free(bio);
    fclose(f);
    EVP_PKEY_free(pkey);
    struct key_spec spec = {"example.org", "s", path, NULL};
    struct keyset *ks = keyset_load(&spec, 1, &err);
    assert_non_null(ks);
    keyset_free(ks);
}

static void
the_domain_goes_before_the_wildcard(void **state)
{
    (void)state;
    struct err err = {0};
    struct signing_key *keys[KEYS_PER_DOMAIN_MAX];
    const struct key_spec specs[] = {
        {"*", "any", dir.rsa, NULL},
        {"Example.org", "one", dir.rsa, NULL},
        {"example.ORG", "two", dir.ed25519, NULL},
    };
    struct keyset *ks = keyset_load(specs, 3, &err);
    assert_non_null(ks);
    assert_int_equal(keyset_match(ks, SLICE("eXample.org"), keys), 2);
    assert_string_equal(keys[0]->selector, "one");
    assert_int_equal(keys[0]->kind, KEY_RSA);
    assert_string_equal(keys[1]->selector, "two");
    assert_int_equal(keys[1]->kind, KEY_ED25519);
    assert_int_equal(keyset_match(ks, SLICE("sub.example.org"), keys), 1);
    assert_string_equal(keys[0]->selector, "any");
    keyset_free(ks);
    ks = keyset_load(specs + 1, 2, &err);
    assert_int_equal(keyset_match(ks, SLICE("sub.example.org"), keys), 0);
    assert_int_equal(keyset_match(ks, SLICE("example.org"), keys), 2);
    keyset_free(ks);
}

static void
keys_of_a_domain_are_limited_and_distinct(void **state)
{
    (void)state;
    struct err err = {0};
    struct key_spec specs[] = {{"a.org", "1", dir.rsa, NULL},
                               {"a.org", "2", dir.rsa, NULL},
                               {"a.org", "3", dir.rsa, NULL},
                               {"a.org", "4", dir.rsa, NULL},
                               {"a.org", "5", dir.rsa, NULL}};
    assert_null(keyset_load(specs, KEYS_PER_DOMAIN_MAX + 1, &err));
    assert_non_null(strstr(err.text, "more than"));
    specs[1].selector = "1";
    assert_null(keyset_load(specs, 2, &err));
    assert_non_null(strstr(err.text, "has a key already"));
    specs[1].domain = "b.org";
    struct keyset *ks = keyset_load(specs, 2, &err);
    assert_non_null(ks);
    keyset_free(ks);
    ks = keyset_load(specs, 0, &err);
    assert_non_null(ks);
    assert_int_equal(keyset_any_domain(ks).n, 0);
    keyset_free(ks);
}

static void
new_keys_are_private_and_never_overwrite(void **state)
{
    (void)state;
    struct stat st;
    struct err err = {0};
    assert_int_equal(stat(dir.rsa, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(dir.ed25519, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(key_create(KEY_RSA, dir.rsa, &err), -1);
    assert_non_null(strstr(err.text, "File exists"));
    assert_int_equal(key_create(KEY_RSA, "/proc/none/key.pem", &err), -1);
    struct signing_key *keys[KEYS_PER_DOMAIN_MAX];
    struct keyset *ks = keyset_load(dir.specs, 2, &err);
    assert_non_null(ks);
    assert_int_equal(keyset_match(ks, SLICE("a.org"), keys), 2);
    assert_int_equal(EVP_PKEY_get_bits(keys[0]->pkey), 2048);
    keyset_free(ks);
}

static void
records_hold_the_public_keys(void **state)
{
    (void)state;
    struct buf b;
    struct err err = {0};
    buf_init(&b, SUPPORT_RECORD_MAX);
    assert_int_equal(key_dns_record(dir.rsa, &b, &err), 0);
    /* a SubjectPublicKeyInfo with rsaEncryption and 2048 bits begins like this */
    assert_true(slice_starts(buf_slice(&b), SLICE("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEF")));
    buf_clear(&b);
    assert_int_equal(key_dns_record(dir.ed25519, &b, &err), 0);
    assert_true(slice_starts(buf_slice(&b), SLICE("v=DKIM1; k=ed25519; p=")));
    assert_int_equal(buf_slice(&b).n, sizeof "v=DKIM1; k=ed25519; p=" - 1 + 44);
    assert_int_equal(key_dns_record("/proc/none/key.pem", &b, &err), -1);
    buf_fini(&b);
    buf_init(&b, 100);
    buf_add_str(&b, "kept");
    assert_int_equal(key_dns_record(dir.rsa, &b, &err), -1);
    assert_true(slice_eq(buf_slice(&b), SLICE("kept")));
    buf_fini(&b);
}

static void
an_ed25519_key_is_renewed_in_time(void **state)
{
    (void)state;
    struct err err = {0};
    struct signing_key *keys[KEYS_PER_DOMAIN_MAX];
    struct keyset *ks = keyset_load(dir.specs, 2, &err);
    assert_int_equal(keyset_match(ks, SLICE("a.org"), keys), 2);
    EVP_PKEY *first = keys[1]->pkey;
    assert_int_equal(EVP_PKEY_up_ref(first), 1); /* so that its address is not used again */
    assert_int_equal(signing_key_use(keys[1]), 0);
    assert_ptr_equal(keys[1]->pkey, first);
    keys[1]->uses = 1000 * 1000 - 1;
    assert_int_equal(signing_key_use(keys[1]), 0);
    assert_ptr_not_equal(keys[1]->pkey, first);
    assert_int_equal(EVP_PKEY_eq(keys[1]->pkey, first), 1);
    assert_int_equal(keys[1]->uses, 0);
    EVP_PKEY_free(first);
    keyset_free(ks);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_libopendkim_must_not_see_are_refused),
        cmocka_unit_test(a_file_above_the_limit_is_refused),
        cmocka_unit_test(names_that_cannot_stand_in_dns_are_refused),
        cmocka_unit_test(label_and_name_lengths_are_limited),
        cmocka_unit_test(other_forms_of_pem_are_read),
        cmocka_unit_test(the_domain_goes_before_the_wildcard),
        cmocka_unit_test(keys_of_a_domain_are_limited_and_distinct),
        cmocka_unit_test(new_keys_are_private_and_never_overwrite),
        cmocka_unit_test(records_hold_the_public_keys),
        cmocka_unit_test(an_ed25519_key_is_renewed_in_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
