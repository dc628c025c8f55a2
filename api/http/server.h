/*
 * HTTP/1.1 over a stream: connections, keep-alive, limits, and a table of
 * routes. It owns connections and requests; a handler borrows a request and
 * answers it with http_respond(), at once or later, exactly once.
 *
 * One request at a time on a connection; what the client sends ahead waits in
 * the stream's input, so a flooding client costs that buffer and no more. A
 * client whose connection breaks while its request is worked on is gone: on_gone
 * comes, and the handler still answers, into nothing, when it has cancelled what
 * it had under way. One that closes may have closed its side only and wait for the
 * answer: what it sent whole is answered, then the connection is closed.
 */
#ifndef STAGEPOST_API_HTTP_SERVER_H
#define STAGEPOST_API_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "api/http/parser.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/id.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"

struct http_server;
struct http_connection;
struct net_proxies;
struct tls_context;

struct http_request {
    struct head head;
    struct slice path_arg;      /* what stood for the "*" of the route's path; else empty */
    struct buf body;            /* whole, decoded; the handler may take it (blob_take_buf) */
    struct arena arena;         /* HTTP_REQUEST_ARENA_MAX, lives as long as the request */
    char id[ID_TEXT_BYTES + 1]; /* stands in X-Request-Id, in problems and in the log */
    bool peer_is_loopback;
    struct net_address peer;
    /* An operator asks: no key is needed and nothing is another tenant's. Set for
     * what comes by the control socket, else by the route's admit. */
    bool admin;
    int64_t peer_uid; /* who that is on this machine; -1: not known */
    const struct http_route *route;
    void *app;
    /* The handler's. on_gone may be NULL; the handler answers in any case. */
    void (*on_gone)(struct http_request *r);
    void *state;
    /* The server's. */
    struct config_generation *memory; /* of credentials and strings that the handler keeps */
    struct http_server *server;
    struct http_connection *connection; /* NULL: the client is gone */
    char allow_text[64];
    size_t body_counted; /* bytes counted in the server's budget */
    uint64_t started_us;
};

struct http_route {
    const char *method; /* "GET" answers HEAD too */
    /* Exact, or with one "*" that stands for one segment (no '/', not empty). */
    const char *path;
    size_t body_max; /* in bytes; 0: a body is refused with 413 */
    /* Before the body is read; may answer (401, 415) and return false. NULL: no
     * check. */
    bool (*admit)(struct http_request *r);
    void (*handle)(struct http_request *r);
};

struct http_server_config {
    const struct http_route *routes;
    unsigned route_count;
    void *app;            /* http_request.app */
    const char *hostname; /* a name that Host may have besides loopback; NULL: none */
    /* Its generation is held for each request; NULL: none. */
    const struct config *config;
    /* Answers what the server itself refuses: status, a stable code in snake
     * case and a sentence. It must answer before it returns. */
    void (*refuse)(struct http_request *r, unsigned status, const char *code, const char *detail);
};

struct http_server *http_server_new(struct loop *l, const struct http_server_config *cfg);
/* Takes the listening descriptor over. proxies: as for listener_trust_proxies(). */
int http_server_listen(struct http_server *s, int fd, const struct net_proxies *proxies,
                       struct err *err);
/* The same with TLS from the first byte; `tls` must outlive the server. Any
 * Host is answered there: a browser that was lured here by another name does not
 * get past our certificate. */
int http_server_listen_tls(struct http_server *s, int fd, const struct net_proxies *proxies,
                           struct tls_context *tls, struct err *err);
/* The same for the control socket, a unix socket that only operators can open:
 * its requests are `admin`, and their Host is not looked at. */
int http_server_listen_control(struct http_server *s, int fd, struct err *err);
/* Accepts no more, closes idle connections; requests under way are answered
 * with "Connection: close". */
void http_server_drain(struct http_server *s);
/* Whether a request is being read, worked on or answered. */
bool http_server_busy(const struct http_server *s);
/* What clients have not read yet of their answers, in our memory. */
size_t http_server_unsent_bytes(const struct http_server *s);
/* Closes what is left. No handler may be at work. NULL is fine. */
void http_server_free(struct http_server *s);

struct http_reply {
    unsigned status;
    const char *content_type; /* NULL: no body */
    struct head_field extra[4];
    unsigned extra_count;
    struct slice body;
};
/* Copies. Ends the request: r is dead afterwards. Content-Length, Date,
 * X-Request-Id and Connection are added here; HEAD gets no body. */
void http_respond(struct http_request *r, const struct http_reply *reply);
const char *http_status_text(unsigned status); /* "Not Found"; "" when unknown */

#endif
