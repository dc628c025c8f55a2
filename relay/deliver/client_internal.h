/*
 * Shared by client.c (states, input, the one way out), client_open.c (from the
 * greeting to READY) and client_send.c (transactions).
 */
#ifndef STAGEPOST_DELIVER_CLIENT_INTERNAL_H
#define STAGEPOST_DELIVER_CLIENT_INTERNAL_H

#include "relay/deliver/client.h"
#include "relay/sys/base/sm.h"
#include "relay/wire/dot.h"
#include "relay/wire/ehlo.h"

/* Facts of the transaction under way. */
struct client_mail {
    struct client_send_op *op; /* NULL: none */
    bool pipelined;            /* everything up to DATA was sent at once */
    bool mail_ok;
    unsigned replies;  /* seen in this transaction */
    unsigned accepted; /* recipients */
    unsigned at;       /* the recipient whose RCPT is sent next or answered next */
    struct slice pieces[2];
    int piece, piece_count;
    struct dot_encoder dots;
    uint64_t text_bytes, sent_bytes;
};

/* Facts of the connection. */
struct client {
    struct client_env *env;
    struct list_node node;    /* in env->clients */
    struct client_user *user; /* NULL: freed, or saying QUIT */
    struct sm sm;
    struct timer timer;    /* of the state */
    struct timer ask;      /* CLIENT_DOT: whether the dot may go */
    struct deferred later; /* callbacks of the user come from here only */
    struct connect_op connect;
    bool connect_pending;
    uint64_t stage_since_us; /* stage_of(sm.state), for metrics */
    struct tls_op tls;
    struct stream *stream; /* NULL: not connected yet, or closed */
    struct stream_user stream_user;
    char mx[ADDRESS_DOMAIN_MAX + 1];
    struct net_address address;
    bool try_tls, is_tls;
    struct ehlo ehlo;
    unsigned owed; /* replies that the peer owes us */
    unsigned messages;
    struct buf text; /* of the reply being judged */
    struct buf out;  /* commands and text on their way to the stream */
    struct finding failure;
    struct client_mail mail;
    struct client_send_op *finished; /* its done is due */
    bool ready_due;
};

void client_move(struct client *c, enum client_state to);
/* The one way out: ends the transaction, closes, reports. */
void client_drop(struct client *c, const struct finding *f);
void client_drop_broken(struct client *c, const char *what);
enum phase client_phase(const struct client *c);
/* Appends a command line to c->out; the reply is owed from now on. */
void client_command(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void client_flush(struct client *c);
/* READY, and the user hears of it. */
void client_become_ready(struct client *c);
void client_schedule(struct client *c);
/* False (and the client is dropped): something stands in the input though no
 * reply is owed. */
bool client_in_step(struct client *c);

/* client_open.c */
void client_judge_greeting(struct client *c, const struct reply *r);
void client_judge_ehlo(struct client *c, const struct reply *r);
void client_judge_helo(struct client *c, const struct reply *r);
void client_judge_starttls(struct client *c, const struct reply *r);

/* client_send.c */
void client_judge_mail(struct client *c, const struct reply *r);
void client_judge_rcpt(struct client *c, const struct reply *r);
void client_judge_data(struct client *c, const struct reply *r);
void client_judge_final(struct client *c, const struct reply *r);
void client_judge_rset(struct client *c, const struct reply *r);
/* Input while the text is being sent: a reply that nothing asked for. */
void client_judge_early(struct client *c);
void client_pump_text(struct client *c);
void client_try_dot(struct client *c);
/* The connection failed: what that means for the recipients. */
void client_mail_fail(struct client *c, const struct finding *f);

#endif
