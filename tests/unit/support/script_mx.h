/*
 * A scripted SMTP server on loopback, on the loop of the test: each connection
 * plays a list of steps, however wrong they are. The first connection plays the
 * first script, and so on; the last script is played by all that follow.
 */
#ifndef STAGEPOST_TESTS_SCRIPT_MX_H
#define STAGEPOST_TESTS_SCRIPT_MX_H

#include <stdbool.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/tls.h"

struct mx_step {
    enum mx_do {
        MX_END,     /* nothing more: stays silent until the client goes */
        MX_SAY,     /* these bytes, as they are */
        MX_HEAR,    /* one line, which must begin with this (any case) */
        MX_TEXT,    /* everything up to the final dot; kept in script_mx.text */
        MX_TLS,     /* handshake */
        MX_HANG_UP, /* orderly close */
        MX_RESET,   /* close at once */
        MX_FLOOD,   /* these bytes again and again, 1 MB altogether */
        MX_DEAF,    /* reads nothing any more */
    } what;
    const char *text;
};

enum { SCRIPT_MX_SCRIPTS = 8 };

struct script_mx {
    struct loop *loop;
    struct listener *listener;
    struct net_address address;
    struct tls_context *tls; /* for MX_TLS; the test's */
    const struct mx_step *scripts[SCRIPT_MX_SCRIPTS];
    unsigned script_count;
    struct list sessions;
    unsigned connections, live;
    struct buf heard; /* all lines, each with '\n' instead of CRLF */
    struct buf text;  /* of all MX_TEXT, as on the wire, with the dot's line */
    unsigned texts;
    char fault[256]; /* a client that did not keep to the script; "" is good */
};

void script_mx_open(struct script_mx *mx, struct loop *l);
void script_mx_add(struct script_mx *mx, const struct mx_step *steps);
void script_mx_close(struct script_mx *mx);
/* Resets the connections that are open now. */
void script_mx_reset(struct script_mx *mx);
bool script_mx_heard(const struct script_mx *mx, const char *line);

#endif
