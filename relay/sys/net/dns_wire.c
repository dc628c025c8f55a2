#include "relay/sys/net/dns_wire.h"

#include <string.h>

enum { TYPE_SOA = 6, TYPE_PTR = 12, TYPE_MX = 15, RECORD_FIXED_BYTES = 10, POINTER_BITS = 0xc0 };

static uint16_t
u16_at(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint16_t)(b[0] << 8 | b[1]);
}

bool
dns_cut_u16(struct slice *in, uint16_t *out)
{
    if (in->n < 2)
        return false;
    *out = u16_at(in->p);
    *in = slice_skip(*in, 2);
    return true;
}

bool
dns_cut_u32(struct slice *in, uint32_t *out)
{
    if (in->n < 4)
        return false;
    *out = (uint32_t)u16_at(in->p) << 16 | u16_at(in->p + 2);
    *in = slice_skip(*in, 4);
    return true;
}

static bool
name_add_label(struct dns_name *out, const char *label, size_t n)
{
    if (out->bytes + 1 + n > DNS_NAME_BYTES_MAX)
        return false;
    out->wire[out->bytes++] = (uint8_t)n;
    for (size_t i = 0; i < n; i++)
        out->wire[out->bytes++] = (uint8_t)ascii_lower(label[i]);
    return true;
}

/* RFC 1035 4.1.4: a name is labels that end in a zero octet or in a pointer to
 * an earlier place. `segment` is where the present run of labels began; a
 * pointer must lead to before it, so that the runs can only go backward. */
bool
dns_name_read(struct slice packet, size_t *at, struct dns_name *out)
{
    size_t pos = *at, segment = *at, behind = 0;
    out->bytes = 0;
    for (;;) {
        if (pos >= packet.n)
            return false;
        uint8_t len = (uint8_t)packet.p[pos];
        if ((len & POINTER_BITS) == POINTER_BITS) {
            if (packet.n - pos < 2)
                return false;
            size_t target = u16_at(packet.p + pos) & 0x3fffu;
            if (behind == 0)
                behind = pos + 2;
            if (target >= segment)
                return false;
            pos = segment = target;
            continue;
        }
        if ((len & POINTER_BITS) != 0 || packet.n - pos - 1 < len)
            return false;
        if (!name_add_label(out, packet.p + pos + 1, len))
            return false;
        pos += 1u + len;
        if (len == 0)
            break;
    }
    *at = behind != 0 ? behind : pos;
    return true;
}

static bool
is_host_char(char c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_';
}

bool
dns_name_to_host(const struct dns_name *name, char host[ADDRESS_DOMAIN_MAX + 1])
{
    size_t n = 0;
    for (size_t at = 0; at < name->bytes && name->wire[at] != 0;) {
        size_t len = name->wire[at++];
        if (n + len + 1 > ADDRESS_DOMAIN_MAX + 1)
            goto fail_bad;
        for (size_t i = 0; i < len; i++) {
            char c = (char)name->wire[at++];
            if (!is_host_char(c))
                goto fail_bad;
            host[n++] = c;
        }
        host[n++] = '.';
    }
    host[n > 0 ? n - 1 : 0] = '\0';
    return true;
fail_bad:
    host[0] = '\0';
    return false;
}

struct record {
    uint16_t type, class;
    uint32_t ttl_s;
    size_t rdata_at, rdata_bytes;
};

static bool
record_read(struct slice packet, size_t *at, struct record *out)
{
    struct dns_name owner;
    uint16_t bytes;
    if (!dns_name_read(packet, at, &owner))
        return false;
    struct slice fixed = slice_skip(packet, *at);
    if (!dns_cut_u16(&fixed, &out->type) || !dns_cut_u16(&fixed, &out->class) ||
        !dns_cut_u32(&fixed, &out->ttl_s) || !dns_cut_u16(&fixed, &bytes))
        return false;
    *at += RECORD_FIXED_BYTES;
    if (packet.n - *at < bytes)
        return false;
    out->rdata_at = *at;
    out->rdata_bytes = bytes;
    *at += bytes;
    return true;
}

static bool
add_prefixed(struct buf *b, struct slice first, struct slice second)
{
    size_t n = first.n + second.n;
    char prefix[2] = {(char)(n >> 8), (char)(n & 0xff)};
    return buf_add(b, slice_from(prefix, 2)) && buf_add(b, first) && buf_add(b, second);
}

static bool
rdata_add(struct slice packet, const struct record *r, struct buf *out)
{
    struct slice raw = slice_from(packet.p + r->rdata_at, r->rdata_bytes);
    if (r->type != TYPE_MX && r->type != TYPE_PTR)
        return add_prefixed(out, raw, SLICE_NONE);
    struct dns_name host;
    size_t before = r->type == TYPE_MX ? 2 : 0, at = r->rdata_at + before;
    size_t end = r->rdata_at + r->rdata_bytes;
    if (r->rdata_bytes <= before || !dns_name_read(slice_from(packet.p, end), &at, &host) ||
        at != end)
        return false;
    return add_prefixed(out, slice_from(raw.p, before), slice_from(host.wire, host.bytes));
}

/* RFC 2308 5: without an answer the SOA says how long that may be believed. A
 * broken authority section costs only that. */
static void
negative_ttl_read(struct slice packet, size_t at, unsigned records, struct dns_answer *out)
{
    struct record r;
    for (unsigned i = 0; i < records && record_read(packet, &at, &r); i++)
        if (r.type == TYPE_SOA)
            out->ttl_s = r.ttl_s;
}

static bool
questions_skip(struct slice packet, size_t *at, unsigned count)
{
    struct dns_name name;
    for (unsigned i = 0; i < count; i++) {
        if (!dns_name_read(packet, at, &name) || packet.n - *at < 4)
            return false;
        *at += 4;
    }
    return true;
}

static enum parse
records_read(struct slice packet, uint16_t type, const uint16_t counts[4], struct buf *rdata,
             struct dns_answer *out)
{
    size_t at = DNS_HEADER_BYTES;
    if (!questions_skip(packet, &at, counts[0]))
        return PARSE_BAD;
    uint32_t least = UINT32_MAX;
    for (unsigned i = 0; i < counts[1]; i++) {
        struct record r;
        if (!record_read(packet, &at, &r))
            return PARSE_BAD;
        if (r.ttl_s < least)
            least = r.ttl_s;
        if (r.type != type || r.class != DNS_CLASS_IN || out->count >= DNS_RECORDS_MAX)
            continue;
        if (!rdata_add(packet, &r, rdata))
            return PARSE_BAD;
        out->count++;
    }
    if (out->count > 0)
        out->ttl_s = least;
    else
        negative_ttl_read(packet, at, counts[2], out);
    return PARSE_OK;
}

enum parse
dns_answer_read(struct slice packet, uint16_t type, struct buf *rdata, struct dns_answer *out)
{
    size_t before = rdata->len;
    uint16_t id = 0, flags = 0, counts[4] = {0};
    struct slice in = packet;
    if (packet.n < DNS_HEADER_BYTES)
        return PARSE_BAD;
    dns_cut_u16(&in, &id);
    dns_cut_u16(&in, &flags);
    for (int i = 0; i < 4; i++)
        dns_cut_u16(&in, &counts[i]);
    struct dns_answer answer = {.rcode = flags & DNS_FLAG_RCODE,
                                .truncated = (flags & DNS_FLAG_TC) != 0};
    if ((flags & DNS_FLAG_QR) == 0 ||
        records_read(packet, type, counts, rdata, &answer) != PARSE_OK) {
        buf_truncate(rdata, before);
        return PARSE_BAD;
    }
    *out = answer;
    return PARSE_OK;
}
