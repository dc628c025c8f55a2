/*
 * From a route to an open SMTP session: the addresses in order, the next
 * address when one cannot be connected to, the next host when one does not want
 * us (4xx or 5xx before MAIL), the same address without TLS when its STARTTLS
 * is broken. Addresses known to be down are passed over.
 *
 * A host that does not answer the connect within DIAL_STAGGER_MS is tried at its
 * next address as well, two at a time: who answers first is spoken to, the other
 * is given up (RFC 8305). So a family that is a black hole costs a moment, and
 * nothing bounces for it. Hosts are not raced: MX preference is kept.
 */
#ifndef STAGEPOST_DELIVER_DIAL_H
#define STAGEPOST_DELIVER_DIAL_H

#include "relay/deliver/client.h"
#include "relay/deliver/hosts.h"
#include "relay/deliver/route.h"

struct dial_op {
    void (*done)(struct dial_op *op);
    /* Out. */
    struct client *client;           /* CLIENT_READY, the caller's; NULL: none */
    struct finding failure;          /* the last one, when there is no client */
    char mx[ADDRESS_DOMAIN_MAX + 1]; /* who failed; "" when nobody was tried */
    struct dial_state *state;
};

/* start cannot fail; done comes once, on a later turn. The route is only read
 * during the call. Hosts of equal preference are tried in random order
 * (RFC 5321 5.1). */
void dial_start(struct dial_op *op, struct client_env *env, struct hosts *hosts,
                const struct route *route);
/* done comes soon, without a client. */
void dial_cancel(struct dial_op *op);

#endif
