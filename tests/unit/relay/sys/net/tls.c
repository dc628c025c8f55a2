#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/sys/net/tls_internal.h"

static void
contexts_load_what_they_are_given(void **state)
{
    (void)state;
    struct identity id;
    struct err err;
    identity_make(&id);
    struct tls_context *server = tls_server_new(id.cert, id.key, &err);
    struct tls_context *client = tls_client_verifying_new(id.cert, &err);
    struct tls_context *any = tls_client_opportunistic_new(&err);
    assert_true(server != NULL && client != NULL && any != NULL);
    tls_context_free(server);
    tls_context_free(client);
    tls_context_free(any);
    tls_context_free(NULL);
    identity_remove(&id);
}

static void
what_cannot_be_loaded_is_named(void **state)
{
    (void)state;
    struct identity id, other;
    struct err err;
    identity_make(&id);
    identity_make(&other);
    assert_null(tls_server_new("/proc/none/cert.pem", id.key, &err));
    assert_int_equal(err.code, ERR_TLS);
    assert_non_null(strstr(err.text, "/proc/none/cert.pem"));
    assert_null(tls_server_new(id.cert, "/proc/none/key.pem", &err));
    assert_non_null(strstr(err.text, "/proc/none/key.pem"));
    assert_null(tls_server_new(id.cert, id.cert, &err)); /* no key in it */
    assert_int_equal(err.code, ERR_TLS);
    assert_null(tls_server_new(id.cert, other.key, &err)); /* of another certificate */
    assert_non_null(strstr(err.text, "key values mismatch"));
    assert_null(tls_client_verifying_new("/proc/none/ca.pem", &err));
    assert_int_equal(err.code, ERR_TLS);
    identity_remove(&id);
    identity_remove(&other);
}

static char *
text_of(const char *path)
{
    enum { TEXT_MAX = 16384 };
    char *text = calloc(1, TEXT_MAX);
    FILE *f = fopen(path, "r");
    assert_true(text != NULL && f != NULL && fread(text, 1, TEXT_MAX - 1, f) > 0);
    fclose(f);
    return text;
}

static void
a_server_is_made_of_text_too(void **state)
{
    (void)state;
    struct identity id, other;
    struct err err;
    identity_make(&id);
    identity_make(&other);
    char *cert = text_of(id.cert), *key = text_of(id.key), *wrong = text_of(other.key);
    struct tls_context *server = tls_server_from_text(cert, key, &err);
    assert_non_null(server);
    tls_context_free(server);
    assert_null(tls_server_from_text(cert, wrong, &err));
    assert_non_null(strstr(err.text, "key values mismatch"));
    assert_null(tls_server_from_text("", key, &err));
    assert_non_null(strstr(err.text, "certificate"));
    assert_null(tls_server_from_text(cert, "", &err));
    assert_non_null(strstr(err.text, "private key"));
    free(cert);
    free(key);
    free(wrong);
    identity_remove(&id);
    identity_remove(&other);
}

/* Asking for the passphrase would block the process on its terminal. */
static void
an_encrypted_key_is_refused(void **state)
{
    (void)state;
    struct identity id;
    struct err err;
    identity_make(&id);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f = fopen(id.key, "w");
    assert_true(key != NULL && f != NULL);
    char secret[] = "secret";
    assert_int_equal(PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), secret, 6, NULL, NULL),
                     1);
    fclose(f);
    EVP_PKEY_free(key);
    assert_null(tls_server_new(id.cert, id.key, &err));
    assert_int_equal(err.code, ERR_TLS);
    identity_remove(&id);
}

/* STL-08. */
static void
servers_have_forward_secrecy(void **state)
{
    (void)state;
    struct identity id;
    struct err err;
    identity_make(&id);
    struct tls_context *server = tls_server_new(id.cert, id.key, &err);
    assert_non_null(server);
    STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(server->ssl);
    assert_true(sk_SSL_CIPHER_num(all) > 5);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);
        int exchange = SSL_CIPHER_get_kx_nid(c), bits;
        assert_true(exchange == NID_kx_ecdhe || exchange == NID_kx_any);
        assert_true(SSL_CIPHER_get_auth_nid(c) != NID_auth_null);
        assert_true(SSL_CIPHER_get_bits(c, &bits) >= 128);
        assert_true(SSL_CIPHER_is_aead(c));
        assert_null(strstr(SSL_CIPHER_get_name(c), "CCM")); /* CCM-8: tags of 64 bits */
    }
    assert_true(SSL_CTX_get_min_proto_version(server->ssl) >= TLS1_2_VERSION);
    tls_context_free(server);
    identity_remove(&id);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_load_what_they_are_given),
        cmocka_unit_test(what_cannot_be_loaded_is_named),
        cmocka_unit_test(a_server_is_made_of_text_too),
        cmocka_unit_test(an_encrypted_key_is_refused),
        cmocka_unit_test(servers_have_forward_secrecy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
