#include "relay/sys/proc/sockets.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/sys/net/listener.h"

enum { ANY_PORT_TRIES = 20, CONTROL_UMASK = 0117 /* 0660 */ };

/* One socket per worker on one address; the first probes, the rest share. */
static int
bind_listener(struct sockets *s, unsigned i, const struct net_address *at, struct err *err)
{
    s->at[i] = *at;
    for (unsigned w = 0; w < s->workers; w++) {
        s->listen[w][i] = net_listen(&s->at[i], true, w == 0, err);
        if (s->listen[w][i] < 0 || net_bound_address(s->listen[w][i], &s->at[i], err) != 0)
            return -1;
    }
    return 0;
}

/* For the sandbox: one socket on loopback. */
static int
bind_loopback(int *fd, uint16_t port, struct net_address *bound, struct err *err)
{
    net_address_from_ip(SLICE("127.0.0.1"), port, bound);
    *fd = net_listen(bound, true, true, err);
    return *fd < 0 ? -1 : net_bound_address(*fd, bound, err);
}

static int
bind_udp(const struct net_address *at, struct err *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(at->port)};
    memcpy(&in.sin_addr, at->ip, 4);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "UDP socket");
    if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0)
        return fd;
    err_set_errno(err, ERR_IO, "UDP port %u", at->port);
    close(fd);
    return -1;
}

/* DNS wants one port number for TCP and UDP: with "any port" the number that
 * TCP got may be taken for UDP, then another is tried. */
static int
bind_dns(struct sockets *s, uint16_t port, struct err *err)
{
    for (int i = 0; i < (port == 0 ? ANY_PORT_TRIES : 1); i++) {
        if (bind_loopback(&s->dns_tcp, port, &s->dns_at, err) != 0)
            return -1;
        s->dns_udp = bind_udp(&s->dns_at, err);
        if (s->dns_udp >= 0)
            return 0;
        close(s->dns_tcp);
        s->dns_tcp = -1;
    }
    return -1;
}

static int
bind_unix(int *fd, const char *path, struct err *err)
{
    struct net_address at = {.kind = NET_UNIX};
    snprintf(at.path, sizeof at.path, "%.*s", (int)sizeof at.path - 1, path);
    unlink(at.path); /* of an earlier start: we hold its lock */
    *fd = net_listen(&at, false, false, err);
    return *fd < 0 ? -1 : 0;
}

static int
bind_signer(struct sockets *s, unsigned i, const struct statedir *dir, struct err *err)
{
    snprintf(s->signer_paths[i], sizeof s->signer_paths[i], "%s/signer-%u.sock", dir->run, i);
    return bind_unix(&s->signer[i], s->signer_paths[i], err);
}

static int
bind_checker(struct sockets *s, const struct statedir *dir, struct err *err)
{
    snprintf(s->checker_path, sizeof s->checker_path, "%s/checker.sock", dir->run);
    return bind_unix(&s->checker, s->checker_path, err);
}

bool
sockets_operators_path(struct slice state_dir, struct net_address *out)
{
    *out = (struct net_address){.kind = NET_UNIX};
    int n = snprintf(out->path, sizeof out->path, "%.*s/run/control.sock", SLICE_FMT(state_dir));
    return n > 0 && n < (int)sizeof out->path;
}

/* For the owner and the group of the directory. The mask does it and not a
 * chmod(): there is no moment at which others could connect. The process has
 * one thread yet. */
static int
bind_operators(struct sockets *s, const struct statedir *dir, struct err *err)
{
    struct net_address at;
    if (!sockets_operators_path(slice_str(dir->path), &at))
        return err_set(err, ERR_CONFIG, "%s: too long for the path of a socket", dir->path);
    unlink(at.path); /* of an earlier start: we hold its lock */
    mode_t before = umask(CONTROL_UMASK);
    s->operators = net_listen(&at, false, false, err);
    umask(before);
    return s->operators < 0 ? -1 : 0;
}

void
sockets_init(struct sockets *s)
{
    *s = (struct sockets){.checker = -1, .operators = -1, .dns_udp = -1, .dns_tcp = -1, .mx = -1};
    for (unsigned w = 0; w < WORKERS_MAX; w++)
        for (unsigned i = 0; i < CONFIG_LISTENERS_MAX; i++)
            s->listen[w][i] = -1;
    for (unsigned i = 0; i < SIGNERS_MAX_HERE; i++)
        s->signer[i] = -1;
}

int
sockets_bind(struct sockets *s, const struct socket_wishes *w, const struct statedir *dir,
             struct err *err)
{
    sockets_init(s);
    s->workers = w->workers;
    s->signers = w->signers;
    s->listeners = w->listener_count;
    for (unsigned i = 0; i < w->listener_count; i++)
        if (bind_listener(s, i, &w->listeners[i], err) != 0)
            return -1;
    if (w->sandbox &&
        (bind_dns(s, w->dns_port, err) != 0 || bind_loopback(&s->mx, 0, &s->mx_at, err) != 0))
        return -1;
    for (unsigned i = 0; i < w->signers; i++)
        if (bind_signer(s, i, dir, err) != 0)
            return -1;
    if (bind_checker(s, dir, err) != 0)
        return -1;
    return bind_operators(s, dir, err);
}

static void
close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void
sockets_close(struct sockets *s)
{
    for (unsigned w = 0; w < WORKERS_MAX; w++)
        close_all(s->listen[w], CONFIG_LISTENERS_MAX);
    close_all(s->signer, SIGNERS_MAX_HERE);
    close_all(&s->checker, 1);
    close_all(&s->operators, 1);
    close_all(&s->dns_udp, 1);
    close_all(&s->dns_tcp, 1);
    close_all(&s->mx, 1);
    sockets_init(s);
}
