/*
 * The SMTP submission server of one worker (RFC 5321, RFC 6409): listeners and
 * the sessions on them. Everything that a session accepts goes through the door
 * (relay/accept/submit.h).
 */
#ifndef STAGEPOST_ACCEPT_SMTP_SERVER_H
#define STAGEPOST_ACCEPT_SMTP_SERVER_H

#include <stdbool.h>

#include "relay/sys/base/err.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct credentials;
struct net_proxies;
struct preflight;
struct queue;
struct smtp_server;
struct submit_door;
struct tls_context;

/* All borrowed; they must outlive the server. */
struct smtp_server_parts {
    struct loop *loop;
    const struct config *config;
    struct submit_door *door;
    struct credentials *credentials;
    struct preflight *preflight; /* told of each MAIL; NULL: none */
    struct queue *queue;         /* only its status is looked at */
    struct tls_context *tls;     /* server side; NULL: no TLS, hence no AUTH and no mail */
};

struct smtp_server *smtp_server_new(const struct smtp_server_parts *parts);
/* Serves the listening descriptor fd (taken over when it returns 0); at most
 * SMTP_LISTENERS_MAX of them. implicit_tls: RFC 8314 3.3. proxies: as for
 * listener_trust_proxies(). */
int smtp_server_listen(struct smtp_server *s, int fd, bool implicit_tls,
                       const struct net_proxies *proxies, struct err *err);
/* Takes no more connections. Sessions end with 421 4.3.2: idle ones now, those
 * that send a message when it is answered, or after SMTP_DRAIN_GRACE_MS when it
 * is not even complete by then. */
void smtp_server_drain(struct smtp_server *s);
/* Whether a session, or a message of one, is still there. */
bool smtp_server_busy(const struct smtp_server *s);
void smtp_server_free(struct smtp_server *s); /* NULL is fine; not while busy */

#endif
