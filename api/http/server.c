#include "api/http/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/http/server_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

struct http_server *
http_server_new(struct loop *l, const struct http_server_config *cfg)
{
    struct http_server *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->loop = l;
    s->cfg = *cfg;
    list_init(&s->idle);
    list_init(&s->active);
    return s;
}

/* At the limit the connection that has been idle longest makes room; when all
 * are at work the new one is turned away. */
static bool
make_room(struct http_server *s)
{
    if (s->connections < HTTP_CONNECTIONS_MAX)
        return true;
    struct list_node *n = list_first(&s->idle);
    if (n == NULL)
        return false;
    connection_close(container_of(n, struct http_connection, node));
    return true;
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct http_listener *from = owner;
    if (make_room(from->server)) {
        connection_new(from->server, from, stream);
        return;
    }
    LOG0(LOG_WARN, "http.connections-full");
    stream_send(stream, SLICE("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                              "Content-Length: 0\r\nConnection: close\r\n\r\n"));
    stream_close(stream);
}

static int
listen_on(struct http_server *s, int fd, struct http_listener as, const struct net_proxies *proxies,
          struct err *err)
{
    if (s->listener_count == LISTENERS_MAX) {
        close(fd);
        return err_set(err, ERR_FULL, "http: more than %d listeners", LISTENERS_MAX);
    }
    struct http_listener *l = &s->listeners[s->listener_count];
    *l = as;
    l->server = s;
    if (net_bound_address(fd, &l->bound, err) != 0) {
        close(fd);
        return err_context(err, "http");
    }
    l->listener = listener_open(s->loop, fd, HTTP_INPUT_MAX, on_accept, l, err);
    if (l->listener == NULL)
        return err_context(err, "http");
    listener_trust_proxies(l->listener, proxies);
    s->listener_count++;
    return 0;
}

int
http_server_listen(struct http_server *s, int fd, const struct net_proxies *proxies,
                   struct err *err)
{
    return listen_on(s, fd, (struct http_listener){.tls = NULL}, proxies, err);
}

int
http_server_listen_tls(struct http_server *s, int fd, const struct net_proxies *proxies,
                       struct tls_context *tls, struct err *err)
{
    BUG_ON(tls == NULL);
    return listen_on(s, fd, (struct http_listener){.tls = tls}, proxies, err);
}

int
http_server_listen_control(struct http_server *s, int fd, struct err *err)
{
    return listen_on(s, fd, (struct http_listener){.control = true}, NULL, err);
}

static void
close_all(struct list *l)
{
    for (struct list_node *n; (n = list_first(l)) != NULL;)
        connection_close(container_of(n, struct http_connection, node));
}

void
http_server_drain(struct http_server *s)
{
    s->draining = true;
    for (unsigned i = 0; i < s->listener_count; i++) {
        listener_close(s->listeners[i].listener);
        s->listeners[i].listener = NULL;
    }
    close_all(&s->idle);
    LIST_EACH(&s->active, n)
    connection_hurry(container_of(n, struct http_connection, node));
}

bool
http_server_busy(const struct http_server *s)
{
    if (s->requests > 0)
        return true;
    LIST_EACH(&s->active, n)
    {
        if (container_of(n, struct http_connection, node)->sm.state == CONN_FLUSH)
            return true;
    }
    return false;
}

size_t
http_server_unsent_bytes(const struct http_server *s)
{
    size_t sum = 0;
    LIST_EACH(&s->active, n)
    sum += stream_unsent_bytes(container_of(n, struct http_connection, node)->stream);
    return sum;
}

void
http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    http_server_drain(s);
    close_all(&s->active);
    BUG_ON(s->requests > 0);
    free(s);
}

/* ---- routes ------------------------------------------------------------- */

static bool
path_matches(const char *pattern, struct slice path, struct slice *arg)
{
    struct slice p = slice_str(pattern);
    size_t star = slice_find(p, '*');
    *arg = SLICE_NONE;
    if (star == p.n)
        return slice_eq(p, path);
    struct slice tail = slice_skip(p, star + 1);
    if (path.n <= star + tail.n || !slice_starts(path, slice_from(p.p, star)))
        return false;
    *arg = slice_from(path.p + star, path.n - star - tail.n);
    return slice_eq(slice_skip(path, star + arg->n), tail) && slice_find(*arg, '/') == arg->n;
}

static bool
method_matches(const char *method, struct slice asked)
{
    struct slice m = slice_str(method);
    return slice_eq(m, asked) || (slice_eq(m, SLICE("GET")) && slice_eq(asked, SLICE("HEAD")));
}

static void
allow_add(struct http_request *r, const char *method)
{
    size_t n = slice_str(r->allow_text).n;
    const char *also = slice_eq(slice_str(method), SLICE("GET")) ? ", HEAD" : "";
    snprintf(r->allow_text + n, sizeof r->allow_text - n, "%s%s%s", n > 0 ? ", " : "", method,
             also);
}

unsigned
server_find_route(struct http_server *s, struct http_request *r)
{
    for (unsigned i = 0; i < s->cfg.route_count; i++) {
        const struct http_route *route = &s->cfg.routes[i];
        struct slice arg;
        if (!path_matches(route->path, r->head.path, &arg))
            continue;
        if (method_matches(route->method, r->head.method)) {
            r->route = route;
            r->path_arg = arg;
            return 0;
        }
        allow_add(r, route->method);
    }
    return r->allow_text[0] != '\0' ? 405 : 404;
}

/* ---- requests ----------------------------------------------------------- */

struct http_request *
request_new(struct http_connection *c)
{
    struct http_server *s = c->server;
    uint32_t uid;
    struct http_request *r = calloc(1, sizeof *r);
    BUG_ON(r == NULL);
    arena_init(&r->arena, HTTP_REQUEST_ARENA_MAX);
    buf_init(&r->body, 0);
    id_format(id_new(0), r->id);
    r->peer = *stream_peer(c->stream);
    r->peer_is_loopback = net_address_is_loopback(&r->peer);
    r->admin = c->from->control;
    r->peer_uid = stream_peer_user(c->stream, &uid) ? (int64_t)uid : -1;
    r->app = s->cfg.app;
    r->server = s;
    r->connection = c;
    r->memory = s->cfg.config != NULL ? config_hold(s->cfg.config->memory) : NULL;
    r->started_us = clock_mono_us();
    s->requests++;
    return r;
}

void
request_free(struct http_request *r)
{
    r->server->requests--;
    r->server->body_bytes -= r->body_counted;
    config_let_go(&r->memory);
    buf_fini(&r->body);
    arena_fini(&r->arena);
    free(r);
}
