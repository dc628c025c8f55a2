/*
 * Whether the DKIM key that a domain publishes is the one that we hold: key records
 * (RFC 6376 3.6.1, RFC 8463 4) read from DNS answers and compared with ours. Pure.
 */
#ifndef STAGEPOST_DKIM_PUBLISHED_H
#define STAGEPOST_DKIM_PUBLISHED_H

#include <stdbool.h>

#include "relay/sys/base/slice.h"
#include "relay/sys/net/resolver.h"

/* What stands at SELECTOR._domainkey.DOMAIN. */
enum published {
    PUBLISHED_OURS,
    PUBLISHED_MISSING, /* no TXT record */
    PUBLISHED_OTHER,   /* a key record, of another key */
    PUBLISHED_REVOKED, /* p= is empty */
    PUBLISHED_BROKEN,  /* nothing that a verifier takes for our key: malformed, not for mail,
                          without SHA-256, several records */
    PUBLISHED_UNKNOWN, /* DNS gave no answer */
};

const char *published_name(enum published p); /* "ours", "missing", ... */

/* `ours`: the value to publish, as key_dns_record() makes it. `rdata`: `count` TXT
 * records as they came. An RSA key is ours in either of its two forms (RFC 6376
 * 3.6.1 has SubjectPublicKeyInfo, its erratum 3017 RSAPublicKey). */
enum published published_judge(struct slice ours, enum dns_status status, const struct slice *rdata,
                               unsigned count);

/* What is wrong with records that are PUBLISHED_BROKEN, as a sentence; constant. */
const char *published_fault(const struct slice *rdata, unsigned count);
/* Whether the only record says t=y: the domain is trying DKIM out (RFC 6376 3.6.1). */
bool published_is_testing(const struct slice *rdata, unsigned count);

#endif
