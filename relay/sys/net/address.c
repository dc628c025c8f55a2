/*
 * Addresses to connect to and to listen on, and the development mode's rule
 * that this process never leaves the machine.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/net/address_internal.h"
#include "relay/sys/net/stream.h"

enum { PORT_TEXT_MAX = 5 };

/* A fact of the whole process, set once before it connects anywhere: no code
 * path can be handed a wrong copy of it. */
static bool only_loopback;

bool
net_address_from_ip(struct slice text, uint16_t port, struct net_address *out)
{
    char ip[INET6_ADDRSTRLEN];
    if (!slice_to_cstr(text, ip, sizeof ip))
        return false;
    struct net_address a = {.port = port};
    if (inet_pton(AF_INET, ip, a.ip) == 1)
        a.kind = NET_IPV4;
    else if (inet_pton(AF_INET6, ip, a.ip) == 1)
        a.kind = NET_IPV6;
    else
        return false;
    *out = a;
    return true;
}

static bool
parse_unix(struct slice path, struct net_address *out)
{
    struct net_address a = {.kind = NET_UNIX};
    if (path.n == 0 || path.p[0] != '/' || !slice_to_cstr(path, a.path, sizeof a.path))
        return false;
    *out = a;
    return true;
}

static bool
parse_port(struct slice text, uint16_t *port)
{
    uint64_t v;
    if (text.n > PORT_TEXT_MAX || !slice_to_u64(text, &v) || v > UINT16_MAX)
        return false;
    *port = (uint16_t)v;
    return true;
}

bool
net_address_parse(struct slice text, struct net_address *out)
{
    uint16_t port;
    struct slice ip;
    if (slice_starts(text, SLICE("unix:")))
        return parse_unix(slice_skip(text, 5), out);
    if (slice_starts(text, SLICE("["))) {
        struct slice rest = slice_skip(text, 1);
        ip = slice_cut_at(&rest, ']');
        return slice_find(ip, ':') < ip.n && slice_starts(rest, SLICE(":")) &&
               parse_port(slice_skip(rest, 1), &port) && net_address_from_ip(ip, port, out);
    }
    ip = slice_cut_at(&text, ':');
    return parse_port(text, &port) && net_address_from_ip(ip, port, out);
}

void
net_address_format_ip(const struct net_address *a, char out[64])
{
    out[0] = '\0';
    if (a->kind == NET_UNIX)
        snprintf(out, 64, "unix");
    else
        inet_ntop(a->kind == NET_IPV4 ? AF_INET : AF_INET6, a->ip, out, 64);
}

void
net_address_format(const struct net_address *a, char out[160])
{
    char ip[64];
    net_address_format_ip(a, ip);
    if (a->kind == NET_UNIX)
        snprintf(out, 160, "unix:%s", a->path);
    else
        snprintf(out, 160, a->kind == NET_IPV4 ? "%s:%u" : "[%s]:%u", ip, (unsigned)a->port);
}

bool
net_address_is_loopback(const struct net_address *a)
{
    static const uint8_t LOOPBACK6[16] = {[15] = 1};
    static const uint8_t MAPPED[12] = {
        [10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96, RFC 4291 2.5.5.2 */
    if (a->kind == NET_UNIX)
        return true;
    if (a->kind == NET_IPV4)
        return a->ip[0] == 127;
    return memcmp(a->ip, LOOPBACK6, sizeof LOOPBACK6) == 0 ||
           (memcmp(a->ip, MAPPED, sizeof MAPPED) == 0 && a->ip[12] == 127);
}

void
net_only_loopback(void)
{
    only_loopback = true;
}

bool
net_may_connect(const struct net_address *to)
{
    return !only_loopback || net_address_is_loopback(to);
}

socklen_t
net_address_to_sockaddr(const struct net_address *a, union net_sockaddr *out)
{
    memset(out, 0, sizeof *out);
    switch (a->kind) {
    case NET_IPV4:
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons(a->port);
        memcpy(&out->in.sin_addr, a->ip, sizeof out->in.sin_addr);
        return sizeof out->in;
    case NET_IPV6:
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(a->port);
        memcpy(&out->in6.sin6_addr, a->ip, sizeof out->in6.sin6_addr);
        return sizeof out->in6;
    case NET_UNIX:
        break;
    }
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, a->path, sizeof out->un.sun_path);
    return sizeof out->un;
}

bool
net_address_from_sockaddr(const union net_sockaddr *sa, socklen_t n, struct net_address *out)
{
    *out = (struct net_address){.kind = NET_UNIX};
    if (sa->any.sa_family == AF_INET) {
        out->kind = NET_IPV4;
        out->port = ntohs(sa->in.sin_port);
        memcpy(out->ip, &sa->in.sin_addr, sizeof sa->in.sin_addr);
    } else if (sa->any.sa_family == AF_INET6) {
        out->kind = NET_IPV6;
        out->port = ntohs(sa->in6.sin6_port);
        memcpy(out->ip, &sa->in6.sin6_addr, sizeof sa->in6.sin6_addr);
    } else if (sa->any.sa_family == AF_UNIX) {
        size_t at = offsetof(struct sockaddr_un, sun_path);
        if (n > at && n <= sizeof sa->un) /* an unnamed socket has no path at all */
            memcpy(out->path, sa->un.sun_path,
                   n - at < sizeof out->path ? n - at : sizeof out->path - 1);
    } else {
        return false;
    }
    return true;
}
