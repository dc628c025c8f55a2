/* Shared by server.c, connection.c and response.c; nobody else includes it. */
#ifndef STAGEPOST_API_HTTP_SERVER_INTERNAL_H
#define STAGEPOST_API_HTTP_SERVER_INTERNAL_H

#include "api/http/chunked.h"
#include "api/http/server.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/sm.h"
#include "relay/sys/net/listener.h"

enum { LISTENERS_MAX = 9 }; /* addresses, and the control socket */

struct http_listener {
    struct http_server *server;
    struct listener *listener;
    struct net_address bound;
    bool control;            /* http_server_listen_control() */
    struct tls_context *tls; /* NULL: without */
};

struct http_server {
    struct loop *loop;
    struct http_server_config cfg;
    struct http_listener listeners[LISTENERS_MAX];
    unsigned listener_count;
    struct list idle;   /* connections in CONN_HANDSHAKE and CONN_IDLE, longest first */
    struct list active; /* all others */
    unsigned connections;
    unsigned requests; /* begun and not answered, with or without a connection */
    size_t body_bytes; /* in the bodies of all requests */
    bool draining;
};

/* The states of a connection; rows in connection.c. */
enum conn_state {
    CONN_HANDSHAKE,
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_WORK,
    CONN_FLUSH,
    CONN_LINGER,
    CONN_CLOSING,
    CONN_STATES,
};

struct http_connection {
    struct list_node node;
    struct http_server *server;
    const struct http_listener *from;
    struct stream *stream;
    struct stream_user user;
    struct sm sm;
    struct timer timer;
    struct deferred pump;
    struct tls_op tls;
    size_t scanned;            /* head_cut() */
    uint64_t body_left;        /* BODY_LENGTH */
    uint64_t progress_bytes;   /* of the body, since the timer was started */
    uint64_t body_deadline_ms; /* for the whole of it */
    struct chunked chunked;
    struct http_request *request; /* CONN_HEAD to CONN_WORK */
    uint64_t linger_until_ms;
    bool ended; /* the client has sent its last byte */
};

void connection_new(struct http_server *s, const struct http_listener *from, struct stream *stream);
/* Only an idle one, or at the end of the server. */
void connection_close(struct http_connection *c);
/* The server drains: what the client still owes must come soon. */
void connection_hurry(struct http_connection *c);
/* Whether another request can follow the one that is being answered. */
bool connection_has_more(const struct http_connection *c);
/* The request of this connection was answered; `keep`: another may follow. */
void connection_answered(struct http_connection *c, bool keep);

/* Finds the route and fills route and path_arg; else the status to refuse with
 * (404, 405 with allow_text). 0: found. */
unsigned server_find_route(struct http_server *s, struct http_request *r);

struct http_request *request_new(struct http_connection *c);
void request_free(struct http_request *r);

#endif
