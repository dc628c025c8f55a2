/*
 * DMARC after RFC 9989: records, the DNS tree walk, the policy that applies, and
 * alignment. Pure: the walk names the TXT record it needs next and is fed the
 * answer; who asks DNS, and how, is the caller's affair.
 *
 *   struct dmarc_walk w;
 *   if (dmarc_walk_start(&w, domain))
 *       while ((name = dmarc_walk_question(&w)) != NULL)
 *           dmarc_walk_answer(&w, status, rdata, count);
 */
#ifndef STAGEPOST_DKIM_DMARC_H
#define STAGEPOST_DKIM_DMARC_H

#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/resolver.h"

enum dmarc_policy { DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT };
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_NO, DMARC_PSD_YES };

/* A policy record, RFC 9989 4.7, with the defaults of tags that are not there. */
struct dmarc_record {
    enum dmarc_policy p, sp, np; /* sp falls back to p, np to sp */
    bool dkim_strict, spf_strict;
    bool testing; /* t=y: each policy counts as the next milder one */
    enum dmarc_psd psd;
    bool reports;     /* rua= names at least one URI */
    bool bad_policy;  /* p, sp or np has a value that is none of the three */
    bool without_p;   /* there is no p= */
    bool applies;     /* false: nothing is done by this record, see below */
    unsigned ignored; /* tags that have a bad value or are unknown, and what is no tag */
};

/* false: no DMARC record: it does not start with v=DMARC1 (4.7), or a tag stands twice
 * (RFC 6376 3.2), or it has more than DMARC_TAGS_MAX tags.
 *
 * Without p=, or with a p=, sp= or np= of another value, a record is p=none as a whole
 * when rua= names a URI, and otherwise does not apply (4.10.1). It is a record all the
 * same: it ends the search for a policy and counts for the organizational domain. */
bool dmarc_record_parse(struct slice text, struct dmarc_record *out);
/* Whether a text claims to be one: for telling "none" from "broken". */
bool dmarc_record_claimed(struct slice text);

/* Why a text that claims to be one is none, as a sentence; NULL when it is one. */
const char *dmarc_record_fault(struct slice text);

const char *dmarc_policy_name(enum dmarc_policy p); /* "none", "quarantine", "reject" */

/* One tree walk, RFC 9989 4.10, from one domain up. Private but for "out". */
struct dmarc_walk {
    char domain[ADDRESS_DOMAIN_MAX + 1];         /* out: where it started, lower case */
    char organizational[ADDRESS_DOMAIN_MAX + 1]; /* out, after the end: 4.10.2 */
    bool temp_error;                             /* out: a question had no answer */
    unsigned questions;                          /* out: at most DMARC_QUESTIONS_MAX */
    unsigned broken;                             /* out: at its own name: claimed, are none */
    unsigned own_records;                        /* out: at its own name: records */

    bool found_any, found_own, found_psd;
    struct dmarc_record own, top, psd; /* at the domain; at the fewest labels; psd=y */
    const char *top_at, *psd_at;       /* suffixes of `domain` */
    const char *target;                /* a suffix of `domain`; NULL: the walk is over */
    char question[ADDRESS_DOMAIN_MAX + sizeof "_dmarc."];
};

/* false: no domain name, or one too long for "_dmarc." before it; it has no
 * question then and the domain is its own organizational domain. */
bool dmarc_walk_start(struct dmarc_walk *w, struct slice domain);
/* The name whose TXT records are needed; NULL when the walk is over. */
const char *dmarc_walk_question(const struct dmarc_walk *w);
/* `rdata`: `count` TXT records as they came. DNS_TEMP ends the walk. */
void dmarc_walk_answer(struct dmarc_walk *w, enum dns_status status, const struct slice *rdata,
                       unsigned count);

/* The record that applies to mail from the domain of a finished walk, RFC 9989
 * 4.10.1: its own, else the organizational domain's, else the public suffix's. */
struct dmarc_found {
    const struct dmarc_record *record; /* in the walk; NULL: DMARC does not apply */
    const char *at;                    /* whose record it is: `domain` or a suffix of it */
    enum dmarc_policy policy;          /* for this domain, with t= applied */
    bool unusable;                     /* there is a record `at`, but it does not apply */
};
/* exists: DNS does not say NXDOMAIN for the domain (3.2.13); otherwise np= applies. */
struct dmarc_found dmarc_walk_result(const struct dmarc_walk *w, bool exists);

/* Alignment of an authenticated domain with the author's, RFC 9989 4.4, by whole
 * labels. Strict: the same name. Relaxed: the same organizational domain. Both
 * walks are finished; the walks tell the organizational domains. */
bool dmarc_aligned(const struct dmarc_walk *author, const struct dmarc_walk *authenticated,
                   bool strict);

#endif
