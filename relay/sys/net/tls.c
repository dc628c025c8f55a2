#include "relay/sys/net/tls.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/tls_internal.h"

/* Binds session tickets to this program's role (SSL_CTX_set_session_id_context(3)). */
static const unsigned char SESSION_CONTEXT[] = "stagepost";

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
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);  /* tickets need none */
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

void
tls_context_free(struct tls_context *ctx)
{
    if (ctx == NULL)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx);
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

struct tls_context *
tls_server_new(const char *cert_path, const char *key_path, struct err *err)
{
    struct tls_context *ctx = context_new(TLS_server_method(), err);
    if (ctx == NULL)
        return NULL;
    ctx->server = true;
    SSL_CTX_set_session_id_context(ctx->ssl, SESSION_CONTEXT, sizeof SESSION_CONTEXT - 1);
    if (load_identity(ctx->ssl, cert_path, key_path, err) != 0) {
        tls_context_free(ctx);
        return NULL;
    }
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
