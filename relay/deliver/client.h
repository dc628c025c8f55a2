/*
 * The SMTP client: one connection to one address, from connecting to QUIT, and
 * the transactions on it (RFC 5321 3.3, 4.2, 4.5.3.2; RFC 2920 pipelining).
 * Its states are a checked table (client.c); README.md shows the picture.
 *
 * Strict accounting: as many replies as commands, and nothing in the input
 * whenever no reply is owed. A peer out of step is dropped and nothing counts
 * as delivered. The final dot is sent only when the owner allows it.
 *
 * Never: credentials to an MX, 8-bit or UTF-8 to a peer that did not offer it.
 */
#ifndef STAGEPOST_DELIVER_CLIENT_H
#define STAGEPOST_DELIVER_CLIENT_H

#include <stdbool.h>

#include "relay/deliver/outcome.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/base/list.h"
#include "relay/sys/net/stream.h"
#include "relay/wire/envelope.h"

struct client;
struct tls_context;

enum client_state {
    CLIENT_CONNECTING,
    CLIENT_GREETING,
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_STARTTLS,
    CLIENT_HANDSHAKE,
    CLIENT_EHLO_TLS,
    CLIENT_READY,
    CLIENT_MAIL,
    CLIENT_RCPT,
    CLIENT_DATA,
    CLIENT_BODY,
    CLIENT_DOT,
    CLIENT_FINAL,
    CLIENT_RSET,
    CLIENT_QUIT,
    CLIENT_CLOSED,
    CLIENT_STATES,
};

/* For tests: told of every state entered. */
struct client_tracer {
    void (*on_state)(struct client_tracer *t, enum client_state s);
};

/* What all clients of a worker share, and the list of those that live. */
struct client_env {
    struct loop *loop;
    const char *hostname;         /* in EHLO */
    struct tls_context *tls;      /* NULL: never STARTTLS */
    struct client_tracer *tracer; /* may be NULL */
    /* private */
    struct list clients;
    unsigned connecting_dropped; /* freed while connecting, not yet gone */
    unsigned racing;             /* second connections of dials (dial.c) */
};

void client_env_init(struct client_env *env, struct loop *l, const char *hostname,
                     struct tls_context *tls);
/* Whether freed clients still wait for the loop. */
bool client_env_busy(const struct client_env *env);
/* Aborts what still says QUIT. Not while busy, not with clients in use. */
void client_env_fini(struct client_env *env);

struct client_user {
    /* A transaction may be started: once after opening, and again after each
     * transaction that left the connection usable. */
    void (*on_ready)(struct client_user *u);
    /* The connection is over; client_failure() says why. Comes once, after the
     * done of a transaction under way. Then only client_free(). */
    void (*on_closed)(struct client_user *u);
    /* The peer has answered the connect; from within the loop. May be NULL. Only
     * other clients may be freed here. */
    void (*on_connected)(struct client_user *u);
};

/* Begins to connect. mx: the host's name, for SNI and verdicts. */
struct client *client_open(struct client_env *env, const char *mx, const struct net_address *to,
                           bool try_tls, struct client_user *user);
void client_set_user(struct client *c, struct client_user *user);
/* At any time but during a transaction: no callback comes any more. */
void client_free(struct client *c);
/* In CLIENT_READY: says QUIT, and frees itself after the reply or 5 s. */
void client_quit(struct client *c);

enum client_state client_state(const struct client *c);
const char *client_mx(const struct client *c);
const struct net_address *client_address(const struct client *c);
const struct finding *client_failure(const struct client *c);
bool client_is_tls(const struct client *c);
unsigned client_messages(const struct client *c); /* transactions begun */
/* The most recipients for one transaction here. */
unsigned client_rcpt_max(const struct client *c);

enum client_rcpt_result {
    RCPT_OPEN,    /* nothing is settled: try another host; op->failure says why */
    RCPT_SETTLED, /* verdict holds */
    RCPT_AGAIN,   /* in a transaction of its own, now; verdict holds if there is none */
};

struct client_rcpt {
    struct slice address; /* in */
    struct rcpt_options options;
    /* out */
    enum client_rcpt_result result;
    struct verdict verdict; /* text in op->arena */
    bool accepted;          /* 2xx to RCPT */
};

/* One transaction: MAIL, RCPT ..., DATA, text, dot. */
struct client_send_op {
    /* Once. The connection is not yet ready for the next: on_ready or on_closed
     * follows. */
    void (*done)(struct client_send_op *op);
    /* The text is sent: may the dot follow? false: ask again after
     * client_permit_dot(). */
    bool (*may_send_dot)(struct client_send_op *op);
    /* In, borrowed until done. */
    const struct envelope *envelope;
    const struct content *content;
    struct client_rcpt *rcpts; /* 1..client_rcpt_max() */
    unsigned count;
    struct arena *arena; /* for the verdicts */
    /* Out. */
    struct finding failure; /* valid when some rcpt is RCPT_OPEN */
    bool peer_was_gone;     /* a connection used before was closed while idle: no failure */
    bool dot_sent;
    bool relayed_without_dsn; /* accepted by a peer that does not offer DSN */
};

/* In CLIENT_READY only. */
void client_send_start(struct client_send_op *op, struct client *c);
/* The owner's answer may have changed; does nothing in other states. */
void client_permit_dot(struct client *c);
/* The dot may never be sent (or its owner gives up): the connection is dropped;
 * done comes soon. No effect once the dot is sent. */
void client_withdraw(struct client *c, const char *why);

#endif
