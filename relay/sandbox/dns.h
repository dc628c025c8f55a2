/*
 * The sandbox's DNS server: UDP and TCP (RFC 7766) around dns_packet.h.
 */
#ifndef STAGEPOST_SANDBOX_DNS_H
#define STAGEPOST_SANDBOX_DNS_H

#include "relay/sandbox/sandbox.h"
#include "relay/sys/base/err.h"
#include "relay/sys/net/loop.h"

struct sandbox_dns;

/* Takes the descriptors over, also on failure. The keys are borrowed. */
struct sandbox_dns *sandbox_dns_open(struct loop *l, int udp_fd, int tcp_fd,
                                     const struct sandbox_dkim *dkim, size_t dkim_count,
                                     struct err *err);
void sandbox_dns_close(struct sandbox_dns *d); /* NULL is fine */

#endif
