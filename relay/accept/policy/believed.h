/*
 * Would receivers believe mail from this domain? The judgement over what is
 * published: SPF for the addresses that we send from, DKIM keys, alignment, DMARC.
 * Pure; what was found is gathered by preflight.h.
 *
 * Mail is believed when DKIM passes with a key of the From domain, or SPF passes
 * for every address of ours and its domain is aligned (RFC 9989 4.4), which only a DMARC
 * record asks for. Only what is certain counts: an answer that DNS did not give can neither
 * condemn nor acquit.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_BELIEVED_H
#define STAGEPOST_ACCEPT_POLICY_BELIEVED_H

#include "dkim/dmarc.h"
#include "dkim/published.h"
#include "dkim/spf.h"
#include "relay/sys/base/limits.h"

struct believed_facts {
    const char *from;    /* domain of the first From mailbox, lower-case A-labels */
    const char *reverse; /* of the reverse-path; "": the null one, SPF is not asked then */
    bool null_mx;        /* of the reverse-path's domain, RFC 7505 */
    unsigned ip_count;   /* 0: our addresses are not known */
    struct believed_ip {
        char text[64];
        struct spf_verdict spf;
    } ips[EGRESS_MAX];
    unsigned key_count; /* that we sign with; 0: unsigned */
    struct believed_key {
        char selector[ADDRESS_DOMAIN_MAX + 1];
        enum published state;
    } keys[KEYS_PER_DOMAIN_MAX];
    /* Both walks are finished. */
    const struct dmarc_walk *author, *authenticated; /* of from, of reverse */
};

enum believed {
    BELIEVED_PASS,
    BELIEVED_WEAK,    /* passes, but something should be mended */
    BELIEVED_FAIL,    /* certainly not */
    BELIEVED_UNKNOWN, /* DNS did not say enough */
};
enum { BELIEVED_RESULTS = BELIEVED_UNKNOWN + 1 };

const char *believed_name(enum believed b); /* "pass", "weak", "fail", "unknown" */

struct believed_verdict {
    enum believed result;
    const char *enhanced;          /* FAIL: RFC 7372, RFC 7505 4.2; constant */
    char text[PREFLIGHT_TEXT_MAX]; /* why, and what to publish; "" with PASS */
};

void believed_judge(const struct believed_facts *f, struct believed_verdict *out);

#endif
