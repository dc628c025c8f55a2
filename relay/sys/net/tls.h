/*
 * TLS contexts: one per role, made at start and at reload (making one costs
 * 0.3 ms to 84 ms), shared by all streams of that role. TLS 1.2 or newer, no
 * renegotiation, a missing close_notify is an error; servers resume no sessions
 * and have forward secrecy and authenticated encryption with every cipher.
 */
#ifndef STAGEPOST_NET_TLS_H
#define STAGEPOST_NET_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/err.h"

struct tls_context; /* counted by its streams; free drops the caller's reference */

/* Server side, from PEM files (certificate chain, private key). */
struct tls_context *tls_server_new(const char *cert_path, const char *key_path, struct err *err);
/* The same from what such files hold. */
struct tls_context *tls_server_from_text(const char *cert_pem, const char *key_pem,
                                         struct err *err);
/* Client side, opportunistic (RFC 7435): any certificate is accepted; whether it
 * would have verified against the system's roots is not looked at. */
struct tls_context *tls_client_opportunistic_new(struct err *err);
/* Client side, verifying against the CA file given (tests, bench). */
struct tls_context *tls_client_verifying_new(const char *ca_path, struct err *err);
/* What both are changes places: streams that use `ctx` keep what they have, new
 * ones get what `other` was. Of one role. */
void tls_context_swap(struct tls_context *ctx, struct tls_context *other);
/* When a server's certificate ends, in seconds since 1970. */
int64_t tls_context_expiry_unix_s(const struct tls_context *ctx);
/* Whether a server's certificate is for this host name (RFC 9525). */
bool tls_context_names(const struct tls_context *ctx, const char *host);
void tls_context_free(struct tls_context *ctx);

#endif
