/*
 * The sandbox's DNS answers, as a pure function from a query packet to a
 * response packet (RFC 1035, EDNS of RFC 6891). It answers as if it were the
 * root zone holding every name; no DNSSEC.
 *
 *   MX     <domain>                  10 mx.<domain>; names that begin with "mx." have none
 *   A      any name                  127.0.0.1
 *   TXT    <domain>                  "v=spf1 ip4:127.0.0.1 -all"
 *   TXT    <selector>._domainkey.*   the key, in strings of 255 octets
 *   TXT    _dmarc.*                  "v=DMARC1; p=none"
 *   other types and names            NODATA
 *
 * Names to rehearse failures with: nxdomain.example and servfail.example and
 * everything below them; MX of null-mx.example is the null MX (RFC 7505).
 * Other names with a label that begins with "_" have no records.
 */
#ifndef STAGEPOST_SANDBOX_DNS_PACKET_H
#define STAGEPOST_SANDBOX_DNS_PACKET_H

#include "relay/sandbox/sandbox.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

enum dns_transport { DNS_OVER_UDP, DNS_OVER_TCP };

/* Largest response; what `out` must have room for. */
enum { DNS_RESPONSE_MAX = 65535 };

/* Appends the response to `query`. Over UDP it is at most what the query's EDNS
 * allows (512 without, SANDBOX_UDP_PAYLOAD_MAX at most), else cut to its
 * question with TC. false, and nothing appended: not a query, say nothing. */
bool dns_respond(struct slice query, enum dns_transport transport, const struct sandbox_dkim *dkim,
                 size_t dkim_count, struct buf *out);

#endif
