#include "relay/cli/check_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/cli/zone.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/wire/text.h"

enum {
    FINDINGS_MAX = 4 * CHECK_DOMAIN_IPS_MAX + 40,
    PUBLISH_MAX = 2 + KEYS_PER_DOMAIN_MAX,
};

struct finding {
    enum finding_level level;
    const char *topic;
    char text[512];
};

struct report {
    const struct domain_facts *facts;
    struct finding findings[FINDINGS_MAX];
    unsigned count;
    struct {
        char name[(size_t)2 * ADDRESS_DOMAIN_MAX + sizeof "._domainkey."];
        char value[SPF_RECORD_MAX + 64 * CHECK_DOMAIN_IPS_MAX];
    } publish[PUBLISH_MAX];
    unsigned publish_count;
    struct dmarc_found dmarc;
};

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
        add(r, FINDING_MEND, "SPF", "the record lets any address pass");
    else
        add(r, FINDING_GOOD, "SPF", "the record is valid; say --from-ip to see who passes");
}

static bool
is_v6(const char *ip)
{
    return strchr(ip, ':') != NULL;
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
    if (f->spf_count > 1)
        add(r, FINDING_MEND, "SPF", "%u SPF records: receivers take that as an error; keep one",
            f->spf_count);
    for (unsigned i = 0; i < f->ip_count; i++)
        judge_address(r, f->ips[i].text, &f->ips[i].verdict);
    if (f->ip_count == 0)
        judge_trial(r, &f->ips[0].verdict);
    propose_spf(r);
}

/* --- DMARC --- */

static void
no_dmarc(struct report *r)
{
    const struct dmarc_walk *w = r->facts->walk;
    if (r->dmarc.unusable)
        add(r, FINDING_MEND, "DMARC",
            "the record of %s has no valid p= (or a bad sp= or np=) and no rua=: it does nothing",
            r->dmarc.at);
    else if (w->own_records > 1)
        add(r, FINDING_MEND, "DMARC", "%u records at _dmarc.%s: receivers ignore them all",
            w->own_records, w->domain);
    else if (w->broken > 0)
        add(r, FINDING_MEND, "DMARC", "the record at _dmarc.%s is not valid: receivers ignore it",
            w->domain);
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
        add(r, FINDING_NOTE, "DMARC", "%u tags are unknown or not valid, and ignored", d->ignored);
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
    for (unsigned i = 0; i < f->dmarc_count; i++)
        add(r, FINDING_NOTE, "DMARC", "published at %s: %s", f->dmarc[i].name, f->dmarc[i].text);
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
        [PUBLISHED_BROKEN] = "is published in a form that verifiers do not take",
    };
    const char *domain = r->facts->domain;
    if (k->state == PUBLISHED_OURS) {
        add(r, FINDING_GOOD, "DKIM", "%s._domainkey.%s is the key that we sign with", k->selector,
            domain);
    } else if (k->state == PUBLISHED_UNKNOWN) {
        add(r, FINDING_TROUBLE, "DKIM", "DNS gave no answer for %s._domainkey.%s", k->selector,
            domain);
    } else {
        add(r, FINDING_MEND, "DKIM", "%s._domainkey.%s %s", k->selector, domain, what[k->state]);
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
    }
}

/* --- transport security --- */

static void
judge_transport(struct report *r, const char *topic, enum dns_status status, const char *text)
{
    if (status == DNS_TEMP)
        add(r, FINDING_TROUBLE, topic, "DNS gave no answer");
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
        add(r, FINDING_GOOD, "MX", "%s", f->mx[i]);
}

static enum finding_level
judge(struct report *r, const struct domain_facts *f)
{
    enum finding_level worst = FINDING_GOOD;
    *r = (struct report){.facts = f};
    judge_spf(r);
    judge_dkim(r);
    judge_dmarc(r);
    judge_names(r);
    judge_mx(r);
    judge_transport(r, "MTA-STS", f->mta_sts_status, f->mta_sts);
    judge_transport(r, "TLS-RPT", f->tls_rpt_status, f->tls_rpt);
    for (unsigned i = 0; i < r->count; i++)
        if (r->findings[i].level > worst)
            worst = r->findings[i].level;
    return worst;
}

/* --- writing --- */

static const char *
level_name(enum finding_level level)
{
    static const char *const names[] = {"good", "note", "trouble", "mend"};
    return names[level];
}

static const char *
verdict_name(enum finding_level worst)
{
    return level_name(worst == FINDING_NOTE ? FINDING_GOOD : worst);
}

enum finding_level
check_report_text(const struct domain_facts *f, struct buf *out)
{
    struct report r;
    enum finding_level worst = judge(&r, f);
    buf_addf(out, "%s: %s\n", f->domain, verdict_name(worst));
    for (unsigned i = 0; i < r.count; i++) {
        buf_addf(out, "  %-7s  %-7s  ", level_name(r.findings[i].level), r.findings[i].topic);
        text_add_ascii(out, slice_str(r.findings[i].text));
        buf_add_char(out, '\n');
    }
    if (r.publish_count > 0)
        buf_add_str(out, "To publish in DNS, in place of a record of the same kind (v=spf1, "
                         "v=DKIM1, v=DMARC1):\n");
    for (unsigned i = 0; i < r.publish_count; i++)
        zone_add_txt(out, r.publish[i].name, r.publish[i].value);
    BUG_ON(out->overflowed);
    return worst;
}

static void
json_member(struct buf *out, const char *name, const char *value)
{
    json_add_string(out, slice_str(name));
    buf_add_char(out, ':');
    if (value != NULL)
        json_add_string(out, slice_str(value));
    else
        buf_add_str(out, "null");
}

static void
json_findings(const struct report *r, struct buf *out)
{
    buf_add_str(out, ",\"findings\":[");
    for (unsigned i = 0; i < r->count; i++) {
        buf_add_str(out, i > 0 ? ",{" : "{");
        json_member(out, "level", level_name(r->findings[i].level));
        buf_add_char(out, ',');
        json_member(out, "topic", r->findings[i].topic);
        buf_add_char(out, ',');
        json_member(out, "text", r->findings[i].text);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void
json_spf(const struct domain_facts *f, struct buf *out)
{
    buf_add_str(out, ",\"spf\":[");
    for (unsigned i = 0; i < f->ip_count; i++) {
        buf_add_str(out, i > 0 ? ",{" : "{");
        json_member(out, "ip", f->ips[i].text);
        buf_add_char(out, ',');
        json_member(out, "result", spf_result_name(f->ips[i].verdict.result));
        buf_addf(out, ",\"lookups\":%u}", f->ips[i].verdict.lookups);
    }
    buf_add_char(out, ']');
}

static void
json_dkim(const struct domain_facts *f, struct buf *out)
{
    buf_add_str(out, ",\"dkim\":[");
    for (unsigned i = 0; i < f->key_count; i++) {
        buf_add_str(out, i > 0 ? ",{" : "{");
        json_member(out, "selector", f->keys[i].selector);
        buf_add_char(out, ',');
        json_member(out, "published", published_name(f->keys[i].state));
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static const char *
answer_text(enum names_answer a)
{
    return a == NAMES_YES ? "true" : a == NAMES_NO ? "false" : "null";
}

static void
json_addresses(const struct domain_facts *f, struct buf *out)
{
    buf_add_str(out, ",\"addresses\":[");
    for (unsigned i = 0; f->gateway && i < f->ip_count; i++) {
        const struct names_check *n = f->names[i];
        buf_add_str(out, i > 0 ? ",{" : "{");
        json_member(out, "ip", f->ips[i].text);
        buf_add_str(out, ",\"names\":[");
        for (unsigned k = 0; k < n->name_count; k++) {
            buf_add_str(out, k > 0 ? "," : "");
            json_add_string(out, slice_str(n->names[k]));
        }
        buf_addf(out, "],\"confirmed\":%s,\"helo\":%s}", answer_text(n->confirmed),
                 answer_text(n->helo_ok));
    }
    buf_add_char(out, ']');
}

static void
json_publish(const struct report *r, struct buf *out)
{
    buf_add_str(out, ",\"publish\":[");
    for (unsigned i = 0; i < r->publish_count; i++) {
        buf_add_str(out, i > 0 ? ",{" : "{");
        json_member(out, "name", r->publish[i].name);
        buf_add_str(out, ",\"type\":\"TXT\",");
        json_member(out, "value", r->publish[i].value);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

enum finding_level
check_report_json(const struct domain_facts *f, struct buf *out)
{
    struct report r;
    enum finding_level worst = judge(&r, f);
    buf_add_char(out, '{');
    json_member(out, "domain", f->domain);
    buf_add_char(out, ',');
    json_member(out, "verdict", verdict_name(worst));
    json_findings(&r, out);
    json_spf(f, out);
    buf_add_str(out, ",\"dmarc\":{");
    bool found = r.dmarc.record != NULL;
    json_member(out, "policy", found ? dmarc_policy_name(r.dmarc.policy) : NULL);
    buf_add_char(out, ',');
    json_member(out, "at", r.dmarc.at);
    buf_add_str(out, "}");
    if (f->gateway) {
        json_dkim(f, out);
        json_addresses(f, out);
    }
    json_publish(&r, out);
    buf_add_str(out, "}\n");
    BUG_ON(out->overflowed);
    return worst;
}
