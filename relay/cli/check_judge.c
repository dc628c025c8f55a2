#include "relay/cli/check_report_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"

static void __attribute__((format(printf, 4, 5)))
add(struct report *r, enum finding_level level, const char *topic, const char *fmt, ...)
{
    BUG_ON(r->count == FINDINGS_MAX);
    struct finding *f = &r->findings[r->count++];
    va_list args;
    va_start(args, fmt);
    f->level = level;
    f->topic = topic;
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
}

static void __attribute__((format(printf, 3, 4)))
publish(struct report *r, const char *prefix, const char *fmt, ...)
{
    BUG_ON(r->publish_count == PUBLISH_MAX);
    unsigned i = r->publish_count++;
    va_list args;
    va_start(args, fmt);
    snprintf(r->publish[i].name, sizeof r->publish[i].name, "%s%s", prefix, r->facts->domain);
    vsnprintf(r->publish[i].value, sizeof r->publish[i].value, fmt, args);
    va_end(args);
}

/* --- SPF --- */

#define LETS_ALL_PASS "the record lets any address pass: end it with -all"

static const char *
because(const struct spf_verdict *v)
{
    return v->text[0] != '\0' ? v->text : "no term of the record names it";
}

static void
judge_address(struct report *r, const char *ip, const struct spf_verdict *v)
{
    const char *name = spf_result_name(v->result);
    if (v->result == SPF_PASS)
        add(r, FINDING_GOOD, "SPF", "pass from %s (%u of %d lookups)", ip, v->lookups,
            SPF_LOOKUPS_MAX);
    else if (v->result == SPF_TEMPERROR)
        add(r, FINDING_TROUBLE, "SPF", "%s from %s: %s", name, ip, v->text);
    else if (v->result == SPF_NONE)
        add(r, FINDING_MEND, "SPF", "none from %s: there is no SPF record", ip);
    else
        add(r, FINDING_MEND, "SPF", "%s from %s: %s", name, ip, because(v));
    if (v->unsure)
        add(r, FINDING_NOTE, "SPF",
            "DNS did not say what the address is called, which the record asks for");
    if (v->by_local_part)
        add(r, FINDING_NOTE, "SPF",
            "asked about postmaster: the record has %%{l} or %%{s}, other senders may fare "
            "otherwise");
}

static void
judge_trial(struct report *r, const struct spf_verdict *v)
{
    if (v->result == SPF_PERMERROR)
        add(r, FINDING_MEND, "SPF", "the record cannot be evaluated: %s", v->text);
    else if (v->result == SPF_TEMPERROR)
        add(r, FINDING_TROUBLE, "SPF", "%s", v->text);
    else if (v->result == SPF_NONE)
        add(r, FINDING_MEND, "SPF",
            "there is no SPF record; say --from-ip to see the one to publish");
    else if (v->result == SPF_PASS)
        add(r, FINDING_MEND, "SPF", LETS_ALL_PASS);
    else
        add(r, FINDING_GOOD, "SPF", "the record is valid; say --from-ip to see who passes");
}

static bool
is_v6(const char *ip)
{
    return strchr(ip, ':') != NULL;
}

/* What holds for addresses that were not asked about. */
static void
judge_the_rest(struct report *r)
{
    const struct domain_facts *f = r->facts;
    const struct spf_verdict *v = &f->trial;
    bool said = false;
    for (unsigned i = 0; i < f->ip_count; i++)
        said |= f->ips[i].verdict.result == SPF_PERMERROR;
    if (v->result == SPF_PASS)
        add(r, FINDING_MEND, "SPF", LETS_ALL_PASS);
    else if (v->result == SPF_PERMERROR && !said)
        add(r, FINDING_MEND, "SPF", "the record is an error for all that it does not name: %s",
            v->text);
}

/* The addresses that do not pass, as terms. */
static void
add_terms(const struct domain_facts *f, struct buf *b)
{
    for (unsigned i = 0; i < f->ip_count; i++)
        if (f->ips[i].verdict.result != SPF_PASS)
            buf_addf(b, " %s:%s", is_v6(f->ips[i].text) ? "ip6" : "ip4", f->ips[i].text);
}

/* A record that cannot be evaluated is for its owner to mend: which of its terms
 * are wanted we cannot know. */
static void
propose_spf(struct report *r)
{
    const struct domain_facts *f = r->facts;
    bool lacking = false;
    for (unsigned i = 0; i < f->ip_count; i++) {
        enum spf_result result = f->ips[i].verdict.result;
        if (result == SPF_TEMPERROR || result == SPF_PERMERROR)
            return;
        lacking |= result != SPF_PASS;
    }
    if (!lacking || f->spf_count > 1)
        return;
    struct buf terms;
    buf_init(&terms, (size_t)64 * CHECK_DOMAIN_IPS_MAX);
    add_terms(f, &terms);
    if (f->spf_count == 0)
        publish(r, "", "v=spf1%.*s -all", SLICE_FMT(buf_slice(&terms)));
    else if (f->spf[0] != '\0')
        publish(r, "", "v=spf1%.*s%s", SLICE_FMT(buf_slice(&terms)), f->spf + strlen("v=spf1"));
    buf_fini(&terms);
}

static void
judge_spf(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (f->txt_status == DNS_TEMP) {
        add(r, FINDING_TROUBLE, "SPF", "DNS gave no answer for the TXT records of %s", f->domain);
        return;
    }
    if (f->spf[0] != '\0')
        add(r, FINDING_NOTE, "SPF", "published: %s", f->spf);
    for (unsigned i = 0; i + 1 < f->spf_count && i < CHECK_SPF_SHOWN; i++)
        add(r, FINDING_NOTE, "SPF", "published: %s", f->spf_more[i]);
    if (f->spf_count > 1)
        add(r, FINDING_MEND, "SPF", "%u SPF records: receivers take that as an error; keep one",
            f->spf_count);
    if (f->spf_like[0] != '\0')
        add(r, FINDING_MEND, "SPF", "%s: is no SPF record, a space must stand behind v=spf1",
            f->spf_like);
    for (unsigned i = 0; i < f->ip_count; i++)
        judge_address(r, f->ips[i].text, &f->ips[i].verdict);
    if (f->ip_count == 0)
        judge_trial(r, &f->trial);
    else
        judge_the_rest(r);
    propose_spf(r);
}

/* --- DMARC --- */

/* What stands at the domain's own name, or beside it, and counts for nothing. */
static void
judge_own_records(struct report *r)
{
    const struct domain_facts *f = r->facts;
    const struct dmarc_walk *w = f->walk;
    for (unsigned i = 0; i < f->dmarc_count; i++) {
        add(r, FINDING_NOTE, "DMARC", "published at %s: %s", f->dmarc[i].name, f->dmarc[i].text);
        if (f->dmarc[i].fault != NULL)
            add(r, FINDING_NOTE, "DMARC", "which is not valid: %s", f->dmarc[i].fault);
    }
    if (w->own_records > 1)
        add(r, FINDING_MEND, "DMARC", "%u records at _dmarc.%s: receivers ignore them all",
            w->own_records, w->domain);
    else if (w->broken > 0)
        add(r, FINDING_MEND, "DMARC", "the record at _dmarc.%s is not valid: receivers ignore it",
            w->domain);
    if (f->dmarc_like)
        add(r, FINDING_MEND, "DMARC",
            "a record stands at %s, where nobody looks: move it to _dmarc.%s", f->domain,
            f->domain);
}

static void
no_dmarc(struct report *r)
{
    if (r->dmarc.unusable)
        add(r, FINDING_MEND, "DMARC",
            "the record of %s has no valid p= (or a bad sp= or np=) and no rua=: it does nothing",
            r->dmarc.at);
    else
        add(r, FINDING_MEND, "DMARC", "no record applies: large receivers ask for one");
    publish(r, "_dmarc.", "v=DMARC1; p=none; rua=mailto:dmarc-reports@%s", r->facts->domain);
}

static void
note_record(struct report *r, const struct dmarc_record *d)
{
    if (d->bad_policy)
        add(r, FINDING_MEND, "DMARC", "p=, sp= or np= has an unknown value: it counts as p=none");
    if (d->without_p)
        add(r, FINDING_NOTE, "DMARC",
            "there is no p=: it counts as p=none, and receivers before RFC 9989 ignore the record");
    if (d->testing)
        add(r, FINDING_NOTE, "DMARC", "t=y: receivers are asked for less than the policy says");
    if (!d->reports)
        add(r, FINDING_NOTE, "DMARC", "there is no rua=: nobody is told of failures");
    if (d->ignored > 0)
        add(r, FINDING_NOTE, "DMARC", "ignored, as unknown or not valid: %u of its tags",
            d->ignored);
}

static void
judge_alignment(struct report *r)
{
    const struct domain_facts *f = r->facts;
    const struct dmarc_record *d = r->dmarc.record;
    unsigned pass = 0;
    for (unsigned i = 0; i < f->ip_count; i++)
        pass += f->ips[i].verdict.result == SPF_PASS;
    if (pass > 0 && dmarc_aligned(f->walk, f->walk, d->spf_strict))
        add(r, FINDING_GOOD, "DMARC",
            "MAIL FROM of %s is aligned (%s), and SPF passes from %u of %u", f->domain,
            d->spf_strict ? "strict" : "relaxed", pass, f->ip_count);
    add(r, FINDING_NOTE, "DMARC", "a DKIM signature with d=%s is aligned (%s)", f->domain,
        d->dkim_strict ? "strict" : "relaxed");
}

static void
judge_dmarc(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (f->walk->temp_error) {
        add(r, FINDING_TROUBLE, "DMARC", "DNS gave no answer for a _dmarc record");
        return;
    }
    judge_own_records(r);
    r->dmarc = dmarc_walk_result(f->walk, f->mx_status != DNS_NXDOMAIN);
    if (r->dmarc.record == NULL) {
        no_dmarc(r);
        return;
    }
    add(r, FINDING_GOOD, "DMARC", "policy %s, by the record of %s",
        dmarc_policy_name(r->dmarc.policy), r->dmarc.at);
    note_record(r, r->dmarc.record);
    judge_alignment(r);
}

/* --- DKIM --- */

static void
propose_key(struct report *r, const struct key_fact *k)
{
    char prefix[ADDRESS_DOMAIN_MAX + sizeof "._domainkey."];
    snprintf(prefix, sizeof prefix, "%s._domainkey.", k->selector);
    publish(r, prefix, "%s", k->record);
}

static void
judge_key(struct report *r, const struct key_fact *k)
{
    static const char *const what[] = {
        [PUBLISHED_MISSING] = "is not published: signatures with it fail",
        [PUBLISHED_OTHER] = "is published as another key: signatures with ours fail",
        [PUBLISHED_REVOKED] = "is revoked (p= is empty): signatures with it fail",
        [PUBLISHED_BROKEN] = "cannot be used by verifiers",
    };
    const char *domain = r->facts->domain;
    if (k->state == PUBLISHED_OURS) {
        add(r, FINDING_GOOD, "DKIM", "%s._domainkey.%s is the key that we sign with", k->selector,
            domain);
        if (k->testing)
            add(r, FINDING_NOTE, "DKIM",
                "%s._domainkey.%s has t=y, for a trial: some receivers give nothing for it",
                k->selector, domain);
    } else if (k->state == PUBLISHED_UNKNOWN) {
        add(r, FINDING_TROUBLE, "DKIM", "DNS gave no answer for %s._domainkey.%s", k->selector,
            domain);
    } else {
        add(r, FINDING_MEND, "DKIM", "%s._domainkey.%s %s%s%s", k->selector, domain, what[k->state],
            k->fault != NULL ? ": " : "", k->fault != NULL ? k->fault : "");
        propose_key(r, k);
    }
}

static void
judge_dkim(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (!f->gateway)
        add(r, FINDING_NOTE, "DKIM", "say -c FILE to compare the published keys with ours");
    else if (f->key_count == 0)
        add(r, FINDING_MEND, "DKIM", "the configuration has no key for %s: its mail is not signed",
            f->domain);
    for (unsigned i = 0; i < f->key_count; i++)
        judge_key(r, &f->keys[i]);
}

/* --- names of our addresses --- */

static void
judge_ptr(struct report *r, const char *ip, const struct names_check *n)
{
    if (n->confirmed == NAMES_UNKNOWN)
        add(r, FINDING_TROUBLE, "PTR", "DNS gave no answer about the name of %s", ip);
    else if (n->ptr == NAMES_NO)
        add(r, FINDING_MEND, "PTR", "%s has no PTR record: large receivers refuse its mail", ip);
    else if (n->confirmed == NAMES_NO)
        add(r, FINDING_MEND, "PTR", "%s is called %s, which does not lead back to it", ip,
            n->name_count > 0 ? n->names[0] : "no host name");
    else
        add(r, FINDING_GOOD, "PTR", "%s is %s, and back", ip, n->names[0]);
}

static bool
is_called(const struct names_check *n, const char *name)
{
    for (unsigned i = 0; i < n->name_count; i++)
        if (strcmp(n->names[i], name) == 0)
            return true;
    return false;
}

static void
judge_helo(struct report *r, const char *ip, const struct names_check *n)
{
    if (n->helo_ok == NAMES_UNKNOWN)
        add(r, FINDING_TROUBLE, "HELO", "DNS gave no answer for the addresses of %s", n->helo);
    else if (n->helo_ok == NAMES_NO)
        add(r, FINDING_MEND, "HELO", "%s, which we say in EHLO, does not lead to %s", n->helo, ip);
    else if (!is_called(n, n->helo))
        add(r, FINDING_NOTE, "HELO", "%s leads to %s, whose PTR record has another name", n->helo,
            ip);
    else
        add(r, FINDING_GOOD, "HELO", "%s is %s, and back", n->helo, ip);
}

/* Bounces have no sender: for them receivers ask about the name said in EHLO. */
static void
judge_helo_spf(struct report *r, const char *ip, const struct spf_verdict *v)
{
    const char *name = r->facts->hostname;
    if (v->result == SPF_PASS)
        add(r, FINDING_GOOD, "HELO", "SPF of %s passes from %s, for mail without a sender", name,
            ip);
    else if (v->result == SPF_TEMPERROR)
        add(r, FINDING_TROUBLE, "HELO", "SPF of %s from %s: %s", name, ip, v->text);
    else if (v->result == SPF_NONE)
        add(r, FINDING_NOTE, "HELO",
            "mail without a sender is judged by the SPF record of %s, and there is none: "
            "publish TXT \"v=spf1 a -all\"",
            name);
    else
        add(r, FINDING_MEND, "HELO", "SPF of %s says %s from %s, so bounces may be refused: %s",
            name, spf_result_name(v->result), ip, because(v));
}

static void
judge_names(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (f->gateway && f->ip_count == 0)
        add(r, FINDING_MEND, "PTR",
            "the configuration has no egress addresses: SPF and PTR cannot be checked");
    for (unsigned i = 0; f->gateway && i < f->ip_count; i++) {
        judge_ptr(r, f->ips[i].text, f->names[i]);
        judge_helo(r, f->ips[i].text, f->names[i]);
        if (f->helo_asked && (i == 0 || f->helo_spf[i].result != SPF_NONE))
            judge_helo_spf(r, f->ips[i].text, &f->helo_spf[i]);
    }
}

/* --- transport security --- */

static void
judge_transport(struct report *r, const char *topic, enum dns_status status, unsigned count,
                const char *text)
{
    if (status == DNS_TEMP)
        add(r, FINDING_TROUBLE, topic, "DNS gave no answer");
    else if (count > 1)
        add(r, FINDING_NOTE, topic, "%u records are published: senders ignore them all", count);
    else if (text[0] != '\0')
        add(r, FINDING_NOTE, topic, "published: %s", text);
    else
        add(r, FINDING_NOTE, topic, "not published; it is for mail that the domain receives");
}

/* --- MX --- */

static void
judge_no_mx(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (f->mx_status == DNS_NXDOMAIN)
        add(r, FINDING_MEND, "MX", "DNS does not know %s", f->domain);
    else if (f->a_status == DNS_TEMP || f->aaaa_status == DNS_TEMP)
        add(r, FINDING_TROUBLE, "MX", "DNS gave no answer for the addresses of %s", f->domain);
    else if (f->a_status == DNS_OK || f->aaaa_status == DNS_OK)
        add(r, FINDING_NOTE, "MX", "there is none: bounces go to the address of %s", f->domain);
    else
        add(r, FINDING_MEND, "MX", "nothing receives mail for %s, so bounces are lost", f->domain);
}

static void
judge_mx_host(struct report *r, const char *host, enum names_answer found)
{
    if (found == NAMES_YES)
        add(r, FINDING_GOOD, "MX", "%s", host);
    else if (found == NAMES_UNKNOWN)
        add(r, FINDING_TROUBLE, "MX", "DNS gave no answer for the addresses of %s", host);
    else
        add(r, FINDING_MEND, "MX", "%s has no address: bounces cannot go there", host);
}

static void
judge_mx(struct report *r)
{
    const struct domain_facts *f = r->facts;
    if (f->mx_status == DNS_TEMP)
        add(r, FINDING_TROUBLE, "MX", "DNS gave no answer for the MX of %s", f->domain);
    else if (f->null_mx)
        add(r, FINDING_MEND, "MX",
            "a null MX says that the domain takes no mail: many refuse mail from it");
    else if (f->mx_count == 0)
        judge_no_mx(r);
    for (unsigned i = 0; i < f->mx_count && i < CHECK_MX_SHOWN && !f->null_mx; i++)
        judge_mx_host(r, f->mx[i], f->mx_found[i]);
}

enum finding_level
check_judge(struct report *r, const struct domain_facts *f)
{
    enum finding_level worst = FINDING_GOOD;
    *r = (struct report){.facts = f};
    judge_spf(r);
    judge_dkim(r);
    judge_dmarc(r);
    judge_names(r);
    judge_mx(r);
    judge_transport(r, "MTA-STS", f->mta_sts_status, f->mta_sts_count, f->mta_sts);
    judge_transport(r, "TLS-RPT", f->tls_rpt_status, f->tls_rpt_count, f->tls_rpt);
    for (unsigned i = 0; i < r->count; i++)
        if (r->findings[i].level > worst)
            worst = r->findings[i].level;
    return worst;
}
