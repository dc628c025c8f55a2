#include "relay/sys/net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/tls_internal.h"

int
tls_err(struct err *e, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = ERR_reason_error_string(code);
    ERR_clear_error();
    return err_set(e, ERR_TLS, "%s: %s", what, reason != NULL ? reason : "unknown TLS error");
}

/* A key with a passphrase is refused instead of asking on the terminal. */
static int
no_passphrase(char *out, int cap, int writing, void *ctx)
{
    (void)out, (void)cap, (void)writing, (void)ctx;
    return -1;
}

static struct tls_context *
context_new(const SSL_METHOD *method, struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(method);
    if (ssl == NULL) {
        tls_err(err, "new TLS context");
        return NULL;
    }
    struct tls_context *ctx = calloc(1, sizeof *ctx);
    BUG_ON(ctx == NULL);
    ctx->ssl = ssl;
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION); /* RFC 8996, RFC 9325 3.1.1 */
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF); /* RFC 8446 6.1: truncation */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);          /* half the memory of an idle one */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    return ctx;
}

void
tls_context_swap(struct tls_context *ctx, struct tls_context *other)
{
    const struct tls_context was = *ctx;
    BUG_ON(ctx->server != other->server || ctx->verifies != other->verifies);
    *ctx = *other;
    *other = was;
}

int64_t
tls_context_expiry_unix_s(const struct tls_context *ctx)
{
    struct tm tm = {0};
    const X509 *cert = SSL_CTX_get0_certificate(ctx->ssl);
    if (cert == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

bool
tls_context_names(const struct tls_context *ctx, const char *host)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx->ssl);
    return cert != NULL && X509_check_host(cert, host, strlen(host),
                                           X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

void
tls_context_free(struct tls_context *ctx)
{
    if (ctx == NULL)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx);
}

void
tls_offer_protocols(SSL *ssl, const char *names)
{
    SSL_set_app_data(ssl, (void *)(uintptr_t)names);
}

static bool
is_offered(const char *names, struct slice name)
{
    struct slice rest = slice_str(names);
    while (rest.n > 0)
        if (slice_eq(slice_cut_at(&rest, ' '), name))
            return true;
    return false;
}

/* The client's list: each name behind its length (RFC 7301 3.1). */
static int
select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                const unsigned char *list, unsigned n, void *ctx)
{
    const char *names = SSL_get_app_data(ssl);
    (void)ctx;
    if (names == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    for (unsigned at = 0; at < n && list[at] < n - at; at += 1u + list[at])
        if (is_offered(names, slice_from(list + at + 1, list[at]))) {
            *out = list + at + 1;
            *out_n = list[at];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int
load_identity(SSL_CTX *ssl, const char *cert_path, const char *key_path, struct err *err)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, cert_path) != 1)
        return tls_err(err, cert_path);
    if (SSL_CTX_use_PrivateKey_file(ssl, key_path, SSL_FILETYPE_PEM) != 1)
        return tls_err(err, key_path);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return tls_err(err, key_path);
    return 0;
}

/* The certificate, then its chain, as SSL_CTX_use_certificate_chain_file(3). */
static int
use_chain(SSL_CTX *ssl, BIO *pem, struct err *err)
{
    X509 *x = PEM_read_bio_X509_AUX(pem, NULL, no_passphrase, NULL);
    int ok = x != NULL && SSL_CTX_use_certificate(ssl, x) == 1;
    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(pem, NULL, no_passphrase, NULL)) != NULL)
        ok = SSL_CTX_add0_chain_cert(ssl, x) == 1;
    if (!ok)
        return tls_err(err, "certificate");
    ERR_clear_error(); /* the end of the text is no error */
    return 0;
}

static int
use_key(SSL_CTX *ssl, BIO *pem, struct err *err)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL);
    int ok =
        key != NULL && SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;
    EVP_PKEY_free(key);
    return ok ? 0 : tls_err(err, "private key");
}

static struct tls_context *
server_new(struct err *err)
{
    struct tls_context *ctx = context_new(TLS_server_method(), err);
    if (ctx == NULL)
        return NULL;
    ctx->server = true;
    /* Forward secrecy and authenticated encryption for everybody (RFC 9325 4.1, 4.2); TLS 1.3 has
     * nothing else. CBC would only serve clients of before 2014, and is where Lucky 13 came from.
     * Our order, but ChaCha20 for a client that puts it first: it has no AES in hardware. */
    BUG_ON(SSL_CTX_set_cipher_list(ctx->ssl, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL") != 1);
    SSL_CTX_set_options(ctx->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* No session is resumed: nothing that one listener or process knows of a client
     * is believed by another, and no key opens what was recorded (RFC 9325 3.3). */
    SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx->ssl, 0);
    SSL_CTX_set_alpn_select_cb(ctx->ssl, select_protocol, NULL);
    return ctx;
}

struct tls_context *
tls_server_new(const char *cert_path, const char *key_path, struct err *err)
{
    struct tls_context *ctx = server_new(err);
    if (ctx == NULL || load_identity(ctx->ssl, cert_path, key_path, err) == 0)
        return ctx;
    tls_context_free(ctx);
    return NULL;
}

struct tls_context *
tls_server_from_text(const char *cert_pem, const char *key_pem, struct err *err)
{
    struct tls_context *ctx = server_new(err);
    BIO *cert = BIO_new_mem_buf(cert_pem, -1), *key = BIO_new_mem_buf(key_pem, -1);
    BUG_ON(cert == NULL || key == NULL);
    if (ctx != NULL && (use_chain(ctx->ssl, cert, err) != 0 || use_key(ctx->ssl, key, err) != 0)) {
        tls_context_free(ctx);
        ctx = NULL;
    }
    BIO_free(cert);
    BIO_free(key);
    return ctx;
}

struct tls_context *
tls_client_opportunistic_new(struct err *err)
{
    struct tls_context *ctx = context_new(TLS_client_method(), err);
    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_NONE, NULL);
    /* RFC 7435 3: some encryption is better than none, and a peer with a short
     * key would otherwise get the mail in clear. */
    SSL_CTX_set_security_level(ctx->ssl, 1);
    return ctx;
}

struct tls_context *
tls_client_verifying_new(const char *ca_path, struct err *err)
{
    struct tls_context *ctx = context_new(TLS_client_method(), err);
    if (ctx == NULL)
        return NULL;
    ctx->verifies = true;
    SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_file(ctx->ssl, ca_path) != 1) {
        tls_err(err, ca_path);
        tls_context_free(ctx);
        return NULL;
    }
    return ctx;
}
