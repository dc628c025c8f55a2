/*
 * One SMTP session, for the files of this folder: what is known of the
 * connection, of the transaction and of the message, and the few ways to answer.
 * Each verb has a file of its own and gives exactly one reply, or begins
 * something that gives it later.
 */
#ifndef STAGEPOST_ACCEPT_SMTP_SESSION_H
#define STAGEPOST_ACCEPT_SMTP_SESSION_H

#include "queue/queue.h"
#include "relay/accept/credential_registry.h"
#include "relay/accept/smtp/server.h"
#include "relay/accept/submit.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/sm.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/stream.h"
#include "relay/wire/command.h"
#include "relay/wire/dot.h"

struct smtp_listener {
    struct smtp_server *server;
    struct listener *listener;
    bool implicit_tls;
};

struct smtp_server {
    struct smtp_server_parts parts;
    struct smtp_listener listeners[SMTP_LISTENERS_MAX];
    unsigned listener_count;
    struct list sessions; /* struct smtp_session.node */
    unsigned session_count;
    uint64_t next_number;
    size_t transaction_bytes; /* held by envelopes, and messages that are not complete */
    bool draining;
    struct timer grace;
};

enum session_state {
    SESSION_HANDSHAKE,
    SESSION_COMMAND,
    SESSION_AUTH_LINE,
    SESSION_AUTH_CHECK,
    SESSION_DATA,
    SESSION_CHUNK,
    SESSION_SUBMIT,
    SESSION_LATE,
    SESSION_OVER,
    SESSION_STATES,
};

/* From MAIL to the answer to the message; begins and ends empty. */
struct smtp_transaction {
    bool open; /* MAIL was accepted */
    struct arena arena;
    struct envelope envelope;
    struct slice reverse_domain;
    struct submit_recipient *recipients;
    unsigned recipient_count, recipient_cap;
    bool recipient_refused;
};

struct smtp_auth {
    const char *mechanism;
    enum auth_step {
        AUTH_PLAIN,
        AUTH_LOGIN_USER,
        AUTH_LOGIN_PASSWORD,
        AUTH_SCRAM_FIRST,
        AUTH_SCRAM_FINAL,
        AUTH_SCRAM_END, /* the client has our proof too, and says so */
    } step;
    struct buf user; /* LOGIN: between its two answers; SCRAM: before its end */
    struct credential_scram scram;
    struct credential_check_op check;
    bool checking;
    struct credential_proof proof; /* of the session's credential */
};

struct smtp_message {
    struct dot_decoder decoder;
    struct buf text;
    size_t counted_bytes; /* of text and transaction, in the server's transaction_bytes */
    bool no_room;
    struct blob *blob;
    struct submit_op submit;
    bool submitting;
};

/* What BDAT announced and is not here yet. */
struct smtp_chunk {
    bool begun; /* the transaction's message comes in chunks: no DATA, no RCPT */
    uint64_t octets, left;
    bool last;
    const struct reply_text *refusal; /* said when all its octets came; NULL: none so far */
};

/* A client that sends text has SMTP_DATA_TIMEOUT_MS for SMTP_DATA_PROGRESS_BYTES. */
struct smtp_progress {
    uint64_t bytes; /* since the deadline was set */
    uint64_t deadline_ms;
};

struct smtp_session {
    struct smtp_server *server;
    struct list_node node;
    struct stream *stream; /* NULL once closed */
    struct stream_user user;
    struct sm sm;
    struct timer timer;
    struct deferred reap;
    /* connection */
    uint64_t number; /* in logs */
    char client_ip[64];
    bool ended;   /* the peer has sent its last byte */
    bool banner;  /* was sent */
    bool greeted; /* EHLO or HELO */
    bool esmtp;
    bool reply_owed; /* a command is being answered */
    char client_name[ADDRESS_DOMAIN_MAX + 1];
    const struct config_credential *credential; /* NULL: not authenticated */
    struct config_generation *memory;           /* the credential's */
    unsigned errors, junk, auth_failures;
    size_t discarded_bytes; /* of an overlong line; 0: not in one */
    bool discarding_bdat;   /* it begins with BDAT */
    struct buf late;        /* the reply of SESSION_LATE */
    struct tls_op tls;
    struct smtp_auth auth;
    struct smtp_transaction transaction;
    struct smtp_message message;
    struct smtp_chunk chunk;
    struct smtp_progress progress;
};

/* session.c */
void session_open(struct smtp_server *server, struct stream *stream, bool implicit_tls);
/* As far as input and state allow. */
void session_run(struct smtp_session *s);
void session_say(struct smtp_session *s, unsigned code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Says a refusal that counts as an error of the client: from SMTP_ERRORS_SOFT on
 * it comes late, at SMTP_ERRORS_HARD the session ends. In SESSION_COMMAND only. */
void session_refuse(struct smtp_session *s, unsigned code, const char *enhanced, const char *text);
void session_refuse_with(struct smtp_session *s, const struct reply_text *r);
/* Says a last reply and closes. */
void session_close(struct smtp_session *s, unsigned code, const char *enhanced, const char *text);
/* Closes without a word; what was said before still goes out. */
void session_drop(struct smtp_session *s, const char *why);
/* Breaks the connection: even what was said may not arrive. */
void session_abort(struct smtp_session *s, const char *why);
/* The server stops: see smtp_server_drain(). */
void session_drain(struct smtp_session *s, bool grace_is_over);
/* Begins TLS; a session after it knows nothing of the time before (RFC 3207 4.2). */
void session_start_tls(struct smtp_session *s);
/* Sets or forgets (NULL) who is authenticated. */
void session_set_credential(struct smtp_session *s, const struct config_credential *cr);
/* Counts a command that leads nowhere. */
void session_count_junk(struct smtp_session *s);
/* Also forgets what there is of its message. */
void session_reset_transaction(struct smtp_session *s);
void session_restart_timer(struct smtp_session *s);
/* An operation of a session that is over has ended. */
void session_operation_ended(struct smtp_session *s);

/* The verbs. `arg` is gone when they return. */
void verb_ehlo(struct smtp_session *s, struct slice arg);
void verb_helo(struct smtp_session *s, struct slice arg);
void verb_starttls(struct smtp_session *s, struct slice arg);
void verb_auth(struct smtp_session *s, struct slice arg);
void verb_mail(struct smtp_session *s, struct slice arg);
void verb_rcpt(struct smtp_session *s, struct slice arg);
void verb_data(struct smtp_session *s, struct slice arg);
void verb_rset(struct smtp_session *s, struct slice arg);
void verb_noop(struct smtp_session *s, struct slice arg);
void verb_vrfy(struct smtp_session *s, struct slice arg);
void verb_expn(struct smtp_session *s, struct slice arg);
void verb_help(struct smtp_session *s, struct slice arg);
void verb_quit(struct smtp_session *s, struct slice arg);
void verb_bdat(struct smtp_session *s, struct slice arg);
void verb_http(struct smtp_session *s, struct slice arg);
void verb_unknown(struct smtp_session *s, struct slice arg);

/* auth.c: a line in SESSION_AUTH_LINE, without CRLF. */
void auth_line(struct smtp_session *s, struct slice line);
void auth_forget(struct smtp_session *s);

/* message.c: the message of a transaction, whichever command it comes with. */
void message_begin(struct smtp_session *s);
void message_forget(struct smtp_session *s);
/* After the envelope grew: its memory is one with that of texts. */
void message_count_memory(struct smtp_session *s);
/* After text was added: counts its memory, and stops storing when all messages
 * together take what they may. */
void message_note_memory(struct smtp_session *s);
/* What the text alone decides so far; NULL: nothing is wrong with it. */
const struct reply_text *message_judge(const struct smtp_message *m);
/* To the door; the session answers and goes on when it comes back. */
void message_submit(struct smtp_session *s);
/* Forgets message and transaction, for a reason that the log shall have. */
void message_refuse(struct smtp_session *s, const struct reply_text *why);
/* Whether messages may take so much more memory; with 0, whether any. */
bool message_memory_holds(const struct smtp_server *server, uint64_t more_bytes);
/* Text begins to come, or so many bytes of it came. */
void message_begin_progress(struct smtp_session *s);
void message_note_progress(struct smtp_session *s, uint64_t bytes);

/* data.c, bdat.c: take message text from the stream's input. */
void data_input(struct smtp_session *s);
void bdat_input(struct smtp_session *s);

#endif
