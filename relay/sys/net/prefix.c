#include "relay/sys/net/prefix.h"

#include <stdio.h>
#include <string.h>

enum { BITS_IPV4 = 32, BITS_IPV6 = 128, MAPPED_BITS = 96 };

/* ::ffff:0:0/96 */
static bool
is_mapped(const uint8_t ip[16])
{
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip, MAPPED, sizeof MAPPED) == 0;
}

/* Whether all bits from `bits` on are 0. */
static bool
ends_at(const uint8_t *ip, unsigned bits, unsigned all)
{
    for (unsigned i = bits; i < all; i++)
        if ((ip[i / 8] & (0x80u >> (i % 8))) != 0)
            return false;
    return true;
}

static bool
same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    if (memcmp(a, b, bytes) != 0)
        return false;
    return rest == 0 || ((a[bytes] ^ b[bytes]) & (0xffu << (8 - rest)) & 0xffu) == 0;
}

/* 1*3DIGIT without a leading zero */
static bool
parse_bits(struct slice text, unsigned most, unsigned *out)
{
    uint64_t v;
    if (text.n > 3 || (text.n > 1 && text.p[0] == '0') || !slice_to_u64(text, &v) || v > most)
        return false;
    *out = (unsigned)v;
    return true;
}

bool
net_prefix_parse(struct slice text, struct net_prefix *out)
{
    struct net_address a;
    size_t slash = slice_find(text, '/');
    if (!net_address_from_ip(slice_from(text.p, slash), 0, &a))
        return false;
    unsigned all = a.kind == NET_IPV4 ? BITS_IPV4 : BITS_IPV6, bits = all;
    if (slash < text.n && !parse_bits(slice_skip(text, slash + 1), all, &bits))
        return false;
    if (!ends_at(a.ip, bits, all))
        return false;
    struct net_prefix p = {.ipv6 = a.kind == NET_IPV6, .bits = (uint8_t)bits};
    memcpy(p.ip, a.ip, sizeof p.ip);
    if (p.ipv6 && bits >= MAPPED_BITS && is_mapped(p.ip)) {
        p = (struct net_prefix){.bits = (uint8_t)(bits - MAPPED_BITS)};
        memcpy(p.ip, a.ip + MAPPED_BITS / 8, BITS_IPV4 / 8);
    }
    *out = p;
    return true;
}

void
net_prefix_format(const struct net_prefix *p, char out[NET_PREFIX_TEXT])
{
    struct net_address a = {.kind = p->ipv6 ? NET_IPV6 : NET_IPV4};
    char ip[64];
    memcpy(a.ip, p->ip, sizeof a.ip);
    net_address_format_ip(&a, ip);
    snprintf(out, NET_PREFIX_TEXT, "%.46s/%u", ip, p->bits);
}

bool
net_prefix_contains(const struct net_prefix *p, const struct net_address *a)
{
    const uint8_t *ip = a->ip;
    bool ipv6 = a->kind == NET_IPV6;
    if (a->kind == NET_UNIX)
        return false;
    if (ipv6 && is_mapped(ip)) {
        ip += MAPPED_BITS / 8;
        ipv6 = false;
    }
    return ipv6 == p->ipv6 && same_bits(p->ip, ip, p->bits);
}

bool
net_prefixes_contain(const struct net_prefix *p, unsigned count, const struct net_address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (net_prefix_contains(&p[i], a))
            return true;
    return false;
}
