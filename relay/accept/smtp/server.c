#include "relay/accept/smtp/server.h"

#include <stdlib.h>

#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/metrics.h"

static void
drain_sessions(struct smtp_server *server, bool grace_is_over)
{
    LIST_EACH(&server->sessions, node)
    session_drain(container_of(node, struct smtp_session, node), grace_is_over);
}

static void
on_grace_over(struct timer *t)
{
    drain_sessions(container_of(t, struct smtp_server, grace), true);
}

struct smtp_server *
smtp_server_new(const struct smtp_server_parts *parts)
{
    struct smtp_server *server = calloc(1, sizeof *server);
    BUG_ON(server == NULL);
    server->parts = *parts;
    list_init(&server->sessions);
    timer_init(&server->grace, parts->loop, on_grace_over);
    return server;
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct smtp_listener *ln = owner;
    metrics_add(METRIC_SMTP_SESSIONS, 1);
    session_open(ln->server, stream, ln->implicit_tls);
}

int
smtp_server_listen(struct smtp_server *server, int fd, bool implicit_tls,
                   const struct net_proxies *proxies, struct err *err)
{
    if (server->listener_count == SMTP_LISTENERS_MAX)
        return err_set(err, ERR_FULL, "smtp: more than %d listeners", (int)SMTP_LISTENERS_MAX);
    if (implicit_tls && server->parts.tls == NULL)
        return err_set(err, ERR_CONFIG, "smtp: a TLS listener needs a certificate");
    struct smtp_listener *ln = &server->listeners[server->listener_count];
    *ln = (struct smtp_listener){.server = server, .implicit_tls = implicit_tls};
    ln->listener = listener_open(server->parts.loop, fd, SMTP_INPUT_MAX, on_accept, ln, err);
    if (ln->listener == NULL)
        return err_context(err, "smtp");
    listener_trust_proxies(ln->listener, proxies);
    server->listener_count++;
    return 0;
}

static void
close_listeners(struct smtp_server *server)
{
    for (unsigned i = 0; i < server->listener_count; i++)
        listener_close(server->listeners[i].listener);
    server->listener_count = 0;
}

void
smtp_server_drain(struct smtp_server *server)
{
    if (server->draining)
        return;
    server->draining = true;
    close_listeners(server);
    drain_sessions(server, false);
    if (smtp_server_busy(server))
        timer_start(&server->grace, clock_scaled_ms(SMTP_DRAIN_GRACE_MS));
}

bool
smtp_server_busy(const struct smtp_server *server)
{
    return server->session_count > 0;
}

void
smtp_server_free(struct smtp_server *server)
{
    if (server == NULL)
        return;
    BUG_ON(smtp_server_busy(server));
    close_listeners(server);
    timer_cancel(&server->grace);
    free(server);
}
