#include "api/http/host.h"

#include <string.h>

enum { HTTP_DEFAULT_PORT = 80 };

/* RFC 3986 3.2: uri-host [ ":" port ]; an IPv6 literal keeps its brackets. */
static bool
split(struct slice text, struct slice *name, uint16_t *port)
{
    size_t end = 0;
    if (text.n > 0 && text.p[0] == '[') {
        end = slice_find(text, ']');
        if (end == text.n)
            return false;
        end++;
    } else {
        end = slice_find(text, ':');
    }
    *name = slice_cut(&text, end);
    *port = HTTP_DEFAULT_PORT;
    if (name->n == 0 || text.n == 0)
        return name->n > 0;
    uint64_t n;
    if (text.p[0] != ':' || !slice_to_u64(slice_skip(text, 1), &n) || n == 0 || n > UINT16_MAX)
        return false;
    *port = (uint16_t)n;
    return true;
}

static bool
is_bound_ip(struct slice name, const struct net_address *bound)
{
    if (name.p[0] == '[')
        name = slice_from(name.p + 1, name.n - 2);
    struct net_address named;
    if (!net_address_from_ip(name, bound->port, &named) || named.kind != bound->kind)
        return false;
    return memcmp(named.ip, bound->ip, named.kind == NET_IPV4 ? 4 : 16) == 0;
}

enum host_answer
host_check(struct slice host, const struct net_address *bound, const char *hostname)
{
    static const struct slice LOOPBACK[] = {{"localhost", 9}, {"127.0.0.1", 9}, {"[::1]", 5}};
    struct slice name;
    uint16_t port;
    if (!split(host, &name, &port))
        return HOST_MALFORMED;
    if (bound->kind != NET_UNIX && port != bound->port)
        return HOST_FOREIGN;
    for (size_t i = 0; i < sizeof LOOPBACK / sizeof LOOPBACK[0]; i++)
        if (slice_eq_nocase(name, LOOPBACK[i]))
            return HOST_OURS;
    if (hostname != NULL && slice_eq_nocase(name, slice_str(hostname)))
        return HOST_OURS;
    return is_bound_ip(name, bound) ? HOST_OURS : HOST_FOREIGN;
}
