/*
 * DNS messages on the wire (RFC 1035 4): names with compression, integers, and
 * the answer to one question. Pure: no I/O, every byte is hostile.
 */
#ifndef STAGEPOST_NET_DNS_WIRE_H
#define STAGEPOST_NET_DNS_WIRE_H

#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"

enum {
    DNS_NAME_BYTES_MAX = 255,
    DNS_HEADER_BYTES = 12,
    DNS_CLASS_IN = 1,
    DNS_RCODE_NOERROR = 0,
    DNS_RCODE_FORMERR = 1,
    DNS_RCODE_SERVFAIL = 2,
    DNS_RCODE_NXDOMAIN = 3,
    DNS_RCODE_NOTIMP = 4,
    DNS_FLAG_QR = 0x8000,
    DNS_FLAG_OPCODE = 0x7800,
    DNS_FLAG_AA = 0x0400,
    DNS_FLAG_TC = 0x0200,
    DNS_FLAG_RD = 0x0100,
    DNS_FLAG_RCODE = 0x000f,
};

/* A name without compression, lower case, with its root label. */
struct dns_name {
    uint8_t wire[DNS_NAME_BYTES_MAX];
    size_t bytes;
};

bool dns_cut_u16(struct slice *in, uint16_t *out);
bool dns_cut_u32(struct slice *in, uint32_t *out);

/* Reads the name at packet.p[*at] and moves *at behind it. Compression pointers
 * lead strictly backward, which bounds the work; false on anything malformed. */
bool dns_name_read(struct slice packet, size_t *at, struct dns_name *out);

/* A host name as text, without the trailing dot ("" for the root): letters,
 * digits, hyphens and underscores only, which DNS does not demand but logs, TLS
 * and SMTP do. false (and "") for any other name. */
bool dns_name_to_host(const struct dns_name *name, char host[ADDRESS_DOMAIN_MAX + 1]);

/* What a response says to a question of one type. */
struct dns_answer {
    unsigned rcode;
    bool truncated;
    unsigned count; /* records of the type asked for, at most DNS_RECORDS_MAX */
    uint32_t ttl_s; /* the least in the answer section; of the SOA without an answer */
};

/* Reads a response. Each record of `type` in the answer section is appended to
 * `rdata` as u16 length and RDATA, names inside MX and PTR without compression
 * (RFC 3597 4: other types known here have none). PARSE_OK or PARSE_BAD. */
enum parse dns_answer_read(struct slice packet, uint16_t type, struct buf *rdata,
                           struct dns_answer *out);

#endif
