#include "relay/sandbox/dns_packet.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/dns_wire.h"

enum {
    TYPE_A = 1,
    TYPE_SOA = 6,
    TYPE_MX = 15,
    TYPE_TXT = 16,
    TYPE_OPT = 41,
    RCODE_REFUSED = 5,
    RCODE_BADVERS = 16, /* RFC 6891 6.1.3: its upper bits stand in the OPT record */
    FLAG_RA = 0x0080,
    TTL_S = 60,
    UDP_PAYLOAD_PLAIN = 512, /* RFC 1035 4.2.1 */
    TXT_STRING_MAX = 255,
    QUESTION_POINTER = 0xc000 | DNS_HEADER_BYTES,
};

struct query {
    uint16_t id, flags;
    struct slice question; /* as it came, to be repeated */
    struct dns_name name;
    uint16_t type, class;
    bool edns;
    uint16_t payload;
    unsigned rcode; /* not 0: nothing but this to say */
    bool truncated;
};

/* ---- reading a query ---- */

/* OPT, RFC 6891 6.1.2: root, type, payload size, extended rcode, version, flags. */
static bool
opt_read(struct slice packet, size_t at, struct query *q)
{
    struct dns_name owner;
    uint16_t type, payload, bytes;
    uint32_t extended;
    if (!dns_name_read(packet, &at, &owner))
        return false;
    struct slice rest = slice_skip(packet, at);
    if (!dns_cut_u16(&rest, &type) || !dns_cut_u16(&rest, &payload) ||
        !dns_cut_u32(&rest, &extended) || !dns_cut_u16(&rest, &bytes) || rest.n < bytes)
        return false;
    if (type != TYPE_OPT)
        return true; /* TSIG and the like: not looked at */
    if (owner.bytes != 1)
        return false;
    q->edns = true;
    q->payload = payload;
    if ((extended >> 16 & 0xff) != 0)
        q->rcode = RCODE_BADVERS;
    return true;
}

/* One question, its name without compression: there is nothing before it. */
static bool
question_read(struct slice packet, struct query *q, size_t *at)
{
    if (!dns_name_read(packet, at, &q->name) || *at - DNS_HEADER_BYTES != q->name.bytes)
        return false;
    struct slice rest = slice_skip(packet, *at);
    if (!dns_cut_u16(&rest, &q->type) || !dns_cut_u16(&rest, &q->class))
        return false;
    *at += 4;
    q->question = slice_from(packet.p + DNS_HEADER_BYTES, *at - DNS_HEADER_BYTES);
    return true;
}

static void
query_judge(struct slice packet, const uint16_t counts[4], struct query *q)
{
    size_t at = DNS_HEADER_BYTES;
    if ((q->flags & DNS_FLAG_OPCODE) != 0) {
        q->rcode = DNS_RCODE_NOTIMP;
    } else if (counts[0] != 1 || counts[1] != 0 || counts[2] != 0 ||
               !question_read(packet, q, &at)) {
        q->rcode = DNS_RCODE_FORMERR;
    } else if (counts[3] > 0 && !opt_read(packet, at, q)) {
        q->rcode = DNS_RCODE_FORMERR;
    } else if (q->rcode == DNS_RCODE_NOERROR && q->class != DNS_CLASS_IN) {
        q->rcode = RCODE_REFUSED;
    }
}

static bool
query_read(struct slice packet, struct query *q)
{
    uint16_t counts[4];
    struct slice in = packet;
    *q = (struct query){.payload = UDP_PAYLOAD_PLAIN};
    if (!dns_cut_u16(&in, &q->id) || !dns_cut_u16(&in, &q->flags))
        return false;
    for (int i = 0; i < 4; i++)
        if (!dns_cut_u16(&in, &counts[i]))
            return false;
    if ((q->flags & DNS_FLAG_QR) != 0)
        return false;
    query_judge(packet, counts, q);
    return true;
}

/* ---- writing ---- */

static void
add_u16(struct buf *b, unsigned v)
{
    char bytes[2] = {(char)(v >> 8 & 0xff), (char)(v & 0xff)};
    buf_add(b, slice_from(bytes, 2));
}

static void
add_u32(struct buf *b, uint32_t v)
{
    add_u16(b, v >> 16);
    add_u16(b, v & 0xffff);
}

static void
add_record_head(struct buf *b, unsigned type, size_t rdata_bytes)
{
    add_u16(b, QUESTION_POINTER);
    add_u16(b, type);
    add_u16(b, DNS_CLASS_IN);
    add_u32(b, TTL_S);
    add_u16(b, (unsigned)rdata_bytes);
}

static void
add_a(struct buf *b)
{
    add_record_head(b, TYPE_A, 4);
    buf_add(b, slice_from("\x7f\0\0\1", 4));
}

static void
add_mx(struct buf *b, bool null_mx)
{
    struct slice host = null_mx ? slice_from("\0", 1) : slice_from("\2mx", 3);
    add_record_head(b, TYPE_MX, 2 + host.n + (null_mx ? 0 : 2));
    add_u16(b, null_mx ? 0 : 10);
    buf_add(b, host);
    if (!null_mx)
        add_u16(b, QUESTION_POINTER);
}

static void
add_txt(struct buf *b, struct slice text)
{
    size_t strings = (text.n + TXT_STRING_MAX - 1) / TXT_STRING_MAX;
    add_record_head(b, TYPE_TXT, text.n + strings);
    while (text.n > 0) {
        struct slice part = slice_cut(&text, TXT_STRING_MAX);
        buf_add_char(b, (char)part.n);
        buf_add(b, part);
    }
}

/* RFC 2308: what makes a negative answer cacheable. */
static void
add_soa(struct buf *b)
{
    buf_add_char(b, 0);
    add_u16(b, TYPE_SOA);
    add_u16(b, DNS_CLASS_IN);
    add_u32(b, TTL_S);
    add_u16(b, 2 + 5 * 4);
    buf_add(b, slice_from("\0\0", 2)); /* server and mailbox: the root */
    for (int i = 0; i < 5; i++)        /* serial, refresh, retry, expire, minimum */
        add_u32(b, TTL_S);
}

static void
add_opt(struct buf *b, unsigned rcode)
{
    buf_add_char(b, 0);
    add_u16(b, TYPE_OPT);
    add_u16(b, SANDBOX_UDP_PAYLOAD_MAX);
    add_u32(b, (uint32_t)(rcode >> 4) << 24);
    add_u16(b, 0);
}

/* ---- what the zone says ---- */

static struct slice
label_cut(struct slice *wire)
{
    size_t n = (uint8_t)wire->p[0];
    *wire = slice_skip(*wire, 1);
    return slice_cut(wire, n);
}

static bool
is_below(struct slice wire, struct slice zone)
{
    while (wire.n > zone.n)
        label_cut(&wire);
    return slice_eq(wire, zone);
}

static bool
has_underscore_label(struct slice wire)
{
    while (wire.n > 1)
        if (slice_starts(label_cut(&wire), SLICE("_")))
            return true;
    return false;
}

static struct slice
dkim_text(struct slice wire, const struct sandbox_dkim *dkim, size_t count)
{
    struct slice selector = label_cut(&wire);
    if (wire.n <= 1 || !slice_eq(label_cut(&wire), SLICE("_domainkey")) || wire.n <= 1)
        return SLICE_NONE;
    for (size_t i = 0; i < count; i++)
        if (slice_eq(selector, slice_str(dkim[i].selector)))
            return slice_str(dkim[i].txt);
    return SLICE_NONE;
}

static struct slice
txt_of(struct slice wire, const struct sandbox_dkim *dkim, size_t count)
{
    struct slice rest = wire;
    if (slice_eq(label_cut(&rest), SLICE("_dmarc")))
        return SLICE("v=DMARC1; p=none");
    if (!has_underscore_label(wire))
        return SLICE("v=spf1 ip4:127.0.0.1 -all");
    return dkim_text(wire, dkim, count);
}

static bool
has_mx(struct slice wire)
{
    struct slice rest = wire;
    return !slice_eq(label_cut(&rest), SLICE("mx")) && wire.n + 3 <= DNS_NAME_BYTES_MAX &&
           !has_underscore_label(wire);
}

/* Appends the answer section; returns its records (0 or 1). */
static unsigned
add_answer(struct buf *b, const struct query *q, const struct sandbox_dkim *dkim, size_t count)
{
    static const char null_mx_zone[] = "\7null-mx\7example";
    struct slice wire = slice_from(q->name.wire, q->name.bytes);
    if (wire.n <= 1)
        return 0;
    if (q->type == TYPE_A && !has_underscore_label(wire)) {
        add_a(b);
        return 1;
    }
    if (q->type == TYPE_MX && has_mx(wire)) {
        add_mx(b, slice_eq(wire, slice_from(null_mx_zone, sizeof(null_mx_zone))));
        return 1;
    }
    struct slice text = q->type == TYPE_TXT ? txt_of(wire, dkim, count) : SLICE_NONE;
    if (text.n == 0 || text.n > SANDBOX_DKIM_TXT_MAX)
        return 0;
    add_txt(b, text);
    return 1;
}

static unsigned
rcode_of(const struct query *q)
{
    static const char nxdomain_zone[] = "\10nxdomain\7example";
    static const char servfail_zone[] = "\10servfail\7example";
    struct slice wire = slice_from(q->name.wire, q->name.bytes);
    if (q->rcode != DNS_RCODE_NOERROR)
        return q->rcode;
    if (is_below(wire, slice_from(nxdomain_zone, sizeof(nxdomain_zone))))
        return DNS_RCODE_NXDOMAIN;
    if (is_below(wire, slice_from(servfail_zone, sizeof(servfail_zone))))
        return DNS_RCODE_SERVFAIL;
    return DNS_RCODE_NOERROR;
}

/* ---- the response ---- */

static void
patch_u16(struct buf *b, size_t at, unsigned v)
{
    char *p = b->mem + b->head + at;
    p[0] = (char)(v >> 8 & 0xff);
    p[1] = (char)(v & 0xff);
}

static void
add_header(struct buf *b, const struct query *q, unsigned rcode)
{
    unsigned flags = DNS_FLAG_QR | DNS_FLAG_AA | FLAG_RA | (q->flags & DNS_FLAG_OPCODE) |
                     (q->flags & DNS_FLAG_RD) | (q->truncated ? DNS_FLAG_TC : 0) |
                     (rcode & DNS_FLAG_RCODE);
    add_u16(b, q->id);
    add_u16(b, flags);
    add_u16(b, q->question.n > 0);
    add_u32(b, 0);
    add_u16(b, q->edns);
    buf_add(b, q->question);
}

static void
add_sections(struct buf *b, const struct query *q, size_t start, unsigned rcode,
             const struct sandbox_dkim *dkim, size_t count)
{
    unsigned answers = rcode == DNS_RCODE_NOERROR ? add_answer(b, q, dkim, count) : 0;
    bool negative = answers == 0 && (rcode == DNS_RCODE_NOERROR || rcode == DNS_RCODE_NXDOMAIN);
    if (negative)
        add_soa(b);
    if (q->edns)
        add_opt(b, rcode);
    patch_u16(b, start + 6, answers);
    patch_u16(b, start + 8, negative);
}

static size_t
payload_limit(const struct query *q, enum dns_transport transport)
{
    if (transport == DNS_OVER_TCP)
        return DNS_RESPONSE_MAX;
    if (q->payload < UDP_PAYLOAD_PLAIN)
        return UDP_PAYLOAD_PLAIN;
    return q->payload < SANDBOX_UDP_PAYLOAD_MAX ? q->payload : SANDBOX_UDP_PAYLOAD_MAX;
}

bool
dns_respond(struct slice query, enum dns_transport transport, const struct sandbox_dkim *dkim,
            size_t dkim_count, struct buf *out)
{
    struct query q;
    size_t start = out->len;
    if (!query_read(query, &q))
        return false;
    unsigned rcode = rcode_of(&q);
    add_header(out, &q, rcode);
    add_sections(out, &q, start, rcode, dkim, dkim_count);
    if (out->len - start > payload_limit(&q, transport)) {
        buf_truncate(out, start);
        q.truncated = true;
        add_header(out, &q, rcode);
        if (q.edns)
            add_opt(out, rcode);
    }
    BUG_ON(out->overflowed);
    return true;
}
