/*
 * Judges what was found about a domain, and writes it for a person or as JSON.
 * Pure: no I/O. Texts of strangers come out as printable ASCII.
 */
#ifndef STAGEPOST_CLI_CHECK_REPORT_H
#define STAGEPOST_CLI_CHECK_REPORT_H

#include "dkim/dmarc.h"
#include "dkim/published.h"
#include "dkim/spf.h"
#include "relay/cli/check_names.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"

enum { CHECK_MX_SHOWN = 8, CHECK_SPF_SHOWN = 4, CHECK_REPORT_MAX = 256 << 10 };

/* What was published and found. All texts are the owner's. */
struct domain_facts {
    const char *domain; /* ASCII, lower case */

    enum dns_status mx_status, a_status, aaaa_status;
    bool null_mx; /* RFC 7505 */
    unsigned mx_count;
    char mx[CHECK_MX_SHOWN][ADDRESS_DOMAIN_MAX + 1]; /* the first ones, in DNS's order */
    enum names_answer mx_found[CHECK_MX_SHOWN];      /* whether they have an address */

    enum dns_status txt_status;
    unsigned spf_count;
    char spf[SPF_RECORD_MAX + 1];        /* the first record; "" when it is longer */
    char spf_more[CHECK_SPF_SHOWN][512]; /* the others, cut */
    char spf_like[128];                  /* a text that would be one, and is none; cut */
    bool dmarc_like;                     /* a DMARC record among them, where nobody looks for one */

    struct spf_verdict trial; /* of an address that nobody has */
    unsigned ip_count;
    struct {
        char text[64];
        struct spf_verdict verdict;
    } ips[CHECK_DOMAIN_IPS_MAX];

    const struct dmarc_walk *walk; /* finished */
    unsigned dmarc_count;
    struct {
        char name[ADDRESS_DOMAIN_MAX + sizeof "_dmarc."];
        char text[512];           /* cut */
        const char *fault;        /* dmarc_record_fault() */
    } dmarc[DMARC_QUESTIONS_MAX]; /* records that claim to be one, in order of the walk */

    /* TXT records of transport security; "" when there is none of that kind. */
    enum dns_status mta_sts_status, tls_rpt_status;
    unsigned mta_sts_count, tls_rpt_count;
    char mta_sts[512], tls_rpt[512]; /* the first ones, cut */

    /* Known from a configuration file only; `gateway` says whether there is one. */
    bool gateway;
    const char *hostname; /* said in EHLO */
    unsigned key_count;   /* that we sign the domain's mail with */
    struct key_fact {
        const char *selector, *record; /* TXT value to publish */
        enum published state;
        const char *fault; /* published_fault(), when it is PUBLISHED_BROKEN */
        bool testing;      /* t=y */
    } keys[KEYS_PER_DOMAIN_MAX];
    const struct names_check *names[CHECK_DOMAIN_IPS_MAX]; /* of ips, finished */
    /* SPF of the name said in EHLO, for mail without a sender (RFC 7208 2.4). */
    bool helo_asked; /* false: it is the domain itself, or no domain name */
    struct spf_verdict helo_spf[CHECK_DOMAIN_IPS_MAX];
};

/* Worse is greater. */
enum finding_level { FINDING_GOOD, FINDING_NOTE, FINDING_TROUBLE, FINDING_MEND };

/* Appends the report to `out` (CHECK_REPORT_MAX is enough); the worst level in it. */
enum finding_level check_report_text(const struct domain_facts *f, struct buf *out);
/* As one JSON object and a line feed: domain, verdict ("good", "mend", "trouble"),
 * findings, spf, dmarc, dkim and addresses (with a gateway), publish. */
enum finding_level check_report_json(const struct domain_facts *f, struct buf *out);

#endif
