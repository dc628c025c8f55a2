/*
 * For tests of the SMTP server: a client in a thread of its own, with blocking
 * sockets and OpenSSL, that plays a dialog; and a server with a door, credentials
 * and a queue status that the test decides. Include it after <cmocka.h>.
 */
#ifndef STAGEPOST_TESTS_SMTP_DIALOG_H
#define STAGEPOST_TESTS_SMTP_DIALOG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "queue/queue.h"
#include "relay/accept/smtp/server.h"
#include "relay/accept/submit.h"
#include "relay/sys/base/slice.h"

struct step {
    enum step_kind {
        STEP_END,
        STEP_SEND,       /* bytes as they are */
        STEP_SEND_BYTES, /* the same, one write for each byte */
        STEP_EXPECT,     /* one whole reply, its last line begins so */
        STEP_EXPECT_ANY, /* one whole reply, one of its lines is this */
        STEP_EXPECT_NOT, /* one whole reply, none of its lines begins so */
        STEP_GONE,       /* the server closes; nothing more was said */
        STEP_TLS,        /* handshake */
        STEP_KEYS,       /* new keys of TLS 1.3, asking for ours, `number` times */
        STEP_FIN,        /* end of what the client sends (without TLS: shutdown) */
        STEP_CUT,        /* FIN without close_notify */
        STEP_RESET,      /* the connection is reset */
        STEP_PAUSE,      /* 50 ms: only to let something happen that must not */
        STEP_DRAIN,      /* the server begins to drain */
        STEP_REVOKE,     /* the credential is removed */
        STEP_STATUS,     /* of the queue, number */
        STEP_MEMORY,     /* number 1: messages take all the memory they may; 2: all but 100 KB;
                            0: no longer */
        STEP_DRIBBLE,    /* bytes and a pause, again until `also` comes, at most `number` times; any
                            250    may come before */
        STEP_REPEAT,     /* the next `number` times: bytes, expecting `also` if it has text */
    } kind;
    struct slice bytes;
    struct slice also;
    unsigned number;
};

#define RAW(text)                                                                                  \
    {                                                                                              \
        .kind = STEP_SEND, .bytes = SLICE(text)                                                    \
    }
#define SLOW(text)                                                                                 \
    {                                                                                              \
        .kind = STEP_SEND_BYTES, .bytes = SLICE(text)                                              \
    }
#define C(text)                                                                                    \
    {                                                                                              \
        .kind = STEP_SEND, .bytes = SLICE(text "\r\n")                                             \
    }
#define S(text)                                                                                    \
    {                                                                                              \
        .kind = STEP_EXPECT, .bytes = SLICE(text)                                                  \
    }
#define S_HAS(text)                                                                                \
    {                                                                                              \
        .kind = STEP_EXPECT_ANY, .bytes = SLICE(text)                                              \
    }
#define S_HAS_NOT(text)                                                                            \
    {                                                                                              \
        .kind = STEP_EXPECT_NOT, .bytes = SLICE(text)                                              \
    }
#define REPEAT(n, text, reply)                                                                     \
    {                                                                                              \
        .kind = STEP_REPEAT, .number = (n), .bytes = SLICE(text), .also = SLICE(reply)             \
    }
#define DRIBBLE(n, text, reply)                                                                    \
    {                                                                                              \
        .kind = STEP_DRIBBLE, .number = (n), .bytes = SLICE(text), .also = SLICE(reply)            \
    }
#define GONE                                                                                       \
    {                                                                                              \
        .kind = STEP_GONE                                                                          \
    }
#define TLS                                                                                        \
    {                                                                                              \
        .kind = STEP_TLS                                                                           \
    }
#define STATUS(s)                                                                                  \
    {                                                                                              \
        .kind = STEP_STATUS, .number = (s)                                                         \
    }
#define MEMORY(full)                                                                               \
    {                                                                                              \
        .kind = STEP_MEMORY, .number = (full)                                                      \
    }
#define DO(what)                                                                                   \
    {                                                                                              \
        .kind = STEP_##what                                                                        \
    }
#define END                                                                                        \
    {                                                                                              \
        .kind = STEP_END                                                                           \
    }

/* From the banner to an authenticated session of dev/dev. */
#define LOGGED_IN                                                                                  \
    S("220 gw.example ESMTP"), C("EHLO c.example"), S("250 LIMITS RCPTMAX="), C("STARTTLS"),       \
        S("220 2.0.0 "), TLS, C("EHLO c.example"), S("250 AUTH PLAIN LOGIN"),                      \
        C("AUTH PLAIN AGRldgBkZXY="), S("235 2.7.0 ")
#define MAIL_RCPT                                                                                  \
    C("MAIL FROM:<a@example.org>"), S("250 2.1.0 "), C("RCPT TO:<r@d.example>"), S("250 2.1.5 ")

/* What came to the door, in copies that live until the next dialog. */
struct door_visit {
    char reverse_path[300], reverse_domain[300], envid[200];
    char recipients[8][300], domains[8][300], orcpt[8][600];
    unsigned notify[8], recipient_count, ret;
    bool smtputf8;
    char client_name[300], client_address[64], protocol[32];
    char message[8192];
    size_t message_bytes;
    const char *user;
};

struct dialog {
    /* in; zero is the usual */
    bool implicit_tls;
    bool offers_scram;
    enum submit_result door_result;
    const char *door_text;
    unsigned door_delay_ms;
    enum queue_status status;
    uint64_t message_bytes_max; /* 0: MESSAGE_BYTES_MAX */
    const struct step *steps;
    const struct step *second; /* another client at the same time; NULL: none */
    /* out */
    unsigned visits;
    struct door_visit visit; /* the last one */
    uint64_t longest_turn_us;
};

/* Plays a dialog to its end, drains the server and frees everything; fails the
 * test with step and texts when something else came. */
void dialog_play(struct dialog *d);
/* The same for steps alone; returns how many messages came to the door. */
unsigned dialog_steps(const struct step *steps);

#endif
