#include "relay/sys/net/proxy.h"

#include <string.h>

#include "relay/sys/base/limits.h"

enum { IPV4_BYTES = 4, IPV6_BYTES = 16, V1_LINE_MAX = 107, V1_START_BYTES = 6 };

/*
 * Version 1, at most 107 octets with CRLF:
 *   "PROXY TCP4 " source " " destination " " port " " port CRLF
 *   "PROXY TCP6 " ...
 *   "PROXY UNKNOWN" anything CRLF
 */
static const struct slice V1_START = {"PROXY ", V1_START_BYTES};

/*
 * Version 2: 12 octets of signature, version and command, family and transport,
 * two octets of length, and so many octets: addresses, ports, and more that is
 * skipped.
 */
enum {
    V2_SIGNATURE_BYTES = 12,
    V2_COMMAND_AT = 12,
    V2_FAMILY_AT = 13,
    V2_LENGTH_AT = 14,
    V2_HEAD_BYTES = 16,
    V2_LOCAL = 0x20,
    V2_PROXY = 0x21,
    V2_UNSPEC = 0x00,
    V2_TCP4 = 0x11,
    V2_TCP6 = 0x21,
    V2_UNIX = 0x31,
};
static const struct slice V2_SIGNATURE = {"\r\n\r\n\0\r\nQUIT\n", V2_SIGNATURE_BYTES};

/* ::ffff:192.0.2.1 is 192.0.2.1, so that a client has one name everywhere. */
static void
unmap(struct net_address *a)
{
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    if (a->kind != NET_IPV6 || memcmp(a->ip, MAPPED, sizeof MAPPED) != 0)
        return;
    struct net_address v4 = {.kind = NET_IPV4, .port = a->port};
    memcpy(v4.ip, a->ip + sizeof MAPPED, IPV4_BYTES);
    *a = v4;
}

/* ---- version 1 -------------------------------------------------------------- */

static bool
v1_port(struct slice text, uint16_t *out)
{
    uint64_t v;
    if (text.n > 5 || (text.n > 1 && text.p[0] == '0') || !slice_to_u64(text, &v) || v > UINT16_MAX)
        return false;
    *out = (uint16_t)v;
    return true;
}

static bool
v1_addresses(struct slice rest, bool ipv6, struct net_address *client)
{
    struct net_address to;
    uint16_t ignored;
    struct slice source = slice_cut_at(&rest, ' '), destination = slice_cut_at(&rest, ' ');
    struct slice port = slice_cut_at(&rest, ' ');
    if (!net_address_from_ip(source, 0, client) || !net_address_from_ip(destination, 0, &to) ||
        (client->kind == NET_IPV6) != ipv6 || (to.kind == NET_IPV6) != ipv6)
        return false;
    return v1_port(port, &client->port) && v1_port(rest, &ignored);
}

static enum parse
parse_v1(struct slice in, struct proxy_header *out)
{
    struct slice line = slice_from(in.p, in.n < V1_LINE_MAX ? in.n : V1_LINE_MAX);
    size_t end = slice_find_slice(line, SLICE("\r\n"));
    if (end == line.n)
        return in.n < V1_LINE_MAX ? PARSE_MORE : PARSE_BAD;
    struct proxy_header h = {.bytes = end + 2};
    struct slice rest = slice_skip(slice_from(line.p, end), V1_START.n);
    struct slice family = slice_cut_at(&rest, ' ');
    bool ipv6 = slice_eq(family, SLICE("TCP6"));
    if (ipv6 || slice_eq(family, SLICE("TCP4"))) {
        h.proxied = v1_addresses(rest, ipv6, &h.client);
        if (!h.proxied)
            return PARSE_BAD;
        unmap(&h.client);
    } else if (!slice_eq(family, SLICE("UNKNOWN"))) {
        return PARSE_BAD;
    }
    *out = h;
    return PARSE_OK;
}

/* ---- version 2 -------------------------------------------------------------- */

static unsigned
u16_at(struct slice in, size_t at)
{
    return (unsigned)(unsigned char)in.p[at] << 8 | (unsigned char)in.p[at + 1];
}

/* Addresses stand first: source, destination, source port, destination port. */
static bool
v2_client(struct slice addresses, bool ipv6, struct net_address *client)
{
    size_t n = ipv6 ? IPV6_BYTES : IPV4_BYTES;
    if (addresses.n < 2 * n + 4)
        return false;
    *client = (struct net_address){.kind = ipv6 ? NET_IPV6 : NET_IPV4,
                                   .port = (uint16_t)u16_at(addresses, 2 * n)};
    memcpy(client->ip, addresses.p, n);
    unmap(client);
    return true;
}

static bool
v2_take(unsigned command, unsigned family, struct slice addresses, struct proxy_header *h)
{
    if (command == V2_LOCAL)
        return true; /* whatever the rest says */
    if (command != V2_PROXY)
        return false;
    if (family == V2_UNSPEC || family == V2_UNIX)
        return true; /* nobody whose address we could use */
    h->proxied = true;
    return (family == V2_TCP4 || family == V2_TCP6) &&
           v2_client(addresses, family == V2_TCP6, &h->client);
}

static enum parse
parse_v2(struct slice in, struct proxy_header *out)
{
    if (in.n < V2_HEAD_BYTES)
        return PARSE_MORE;
    struct proxy_header h = {.bytes = V2_HEAD_BYTES + u16_at(in, V2_LENGTH_AT)};
    if (h.bytes > PROXY_HEADER_MAX)
        return PARSE_BAD;
    if (in.n < h.bytes)
        return PARSE_MORE;
    struct slice addresses = slice_skip(slice_from(in.p, h.bytes), V2_HEAD_BYTES);
    if (!v2_take((unsigned char)in.p[V2_COMMAND_AT], (unsigned char)in.p[V2_FAMILY_AT], addresses,
                 &h))
        return PARSE_BAD;
    *out = h;
    return PARSE_OK;
}

static bool
may_start(struct slice in, struct slice start)
{
    return slice_starts(in.n < start.n ? start : in, in.n < start.n ? in : start);
}

enum parse
proxy_header_parse(struct slice in, struct proxy_header *out)
{
    if (may_start(in, V2_SIGNATURE))
        return in.n < V2_SIGNATURE.n ? PARSE_MORE : parse_v2(in, out);
    if (may_start(in, V1_START))
        return in.n < V1_START.n ? PARSE_MORE : parse_v1(in, out);
    return PARSE_BAD;
}
