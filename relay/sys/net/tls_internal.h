/*
 * For relay/sys/net/ only: the inside of a TLS context.
 */
#ifndef STAGEPOST_NET_TLS_INTERNAL_H
#define STAGEPOST_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "relay/sys/net/tls.h"

/* OpenSSL counts `ssl`, so a stream needs no reference to the rest. */
struct tls_context {
    SSL_CTX *ssl;
    bool server;
    bool verifies;
};

/* Of a server's SSL: the names of stream_offer_protocols(), or NULL. */
void tls_offer_protocols(SSL *ssl, const char *names);

/* "what: reason" of the oldest error in OpenSSL's queue, which is emptied. */
int tls_err(struct err *e, const char *what);

#endif
