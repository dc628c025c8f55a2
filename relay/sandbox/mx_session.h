/*
 * For the MX's own files: one SMTP connection. mx.c accepts and counts,
 * mx_session.c moves bytes and states, mx_verbs.c judges commands.
 */
#ifndef STAGEPOST_SANDBOX_MX_SESSION_H
#define STAGEPOST_SANDBOX_MX_SESSION_H

#include "relay/sandbox/mx.h"
#include "relay/sandbox/mx_magic.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/sm.h"
#include "relay/sys/net/stream.h"
#include "relay/wire/command.h"
#include "relay/wire/dot.h"

struct sandbox_mx {
    struct loop *loop;
    struct listener *listener;
    struct store *store;
    struct tls_context *tls;
    struct greylist *greylist;
    struct list sessions;
    unsigned session_count;
    size_t unsaved_bytes; /* of messages that sessions are receiving or saving */
};

enum mx_state { MX_COMMAND, MX_DATA, MX_SAVING, MX_DELAYING, MX_SECURING, MX_STATE_COUNT };

/* What a step of the session left to do. */
enum mx_step {
    MX_AGAIN, /* the next command may be looked at */
    MX_WAIT,  /* more input, or a callback, goes on */
    MX_END,   /* output is sent, then the connection closed */
    MX_DROP,  /* closed at once */
};

struct mx_transaction {
    bool open; /* MAIL was accepted */
    bool smtputf8, slow, drop_after_dot;
    struct slice from; /* in the arena, as the recipients */
    struct slice to[SMTP_RECIPIENTS_MAX];
    size_t to_count;
};

struct mx_put; /* a message at the store; outlives its session if need be */

struct mx_session {
    struct sandbox_mx *mx;
    struct list_node node;
    struct stream *stream;
    struct stream_user user;
    struct sm sm;
    struct timer timer; /* patience with the client, or the delay of slow@ */
    struct tls_op securing;
    enum mx_state after_delay;
    bool greeted; /* EHLO or HELO */
    unsigned errors;
    struct buf out; /* the reply being made */
    struct arena arena;
    struct mx_transaction tx;
    struct dot_decoder dot;
    struct buf body;
    size_t counted_bytes; /* our part of mx->unsaved_bytes */
    bool no_room;
    struct mx_put *put; /* NULL: nothing at the store */
};

/* Takes the stream. */
void mx_session_open(struct sandbox_mx *mx, struct stream *stream);
void mx_session_end(struct mx_session *s);

/* One command line without its CRLF. */
enum mx_step mx_command(struct mx_session *s, struct slice line);

/* Sends what stands in s->out, after the delay that slow@ asks for, and goes on
 * in `next`. */
enum mx_step mx_say(struct mx_session *s, enum mx_state next);
/* One reply, then the next command. */
enum mx_step mx_reply(struct mx_session *s, unsigned code, const char *enhanced, const char *text);
enum mx_step mx_refuse(struct mx_session *s, const struct reply_text *r); /* counts an error */
void mx_transaction_reset(struct mx_session *s);

#endif
