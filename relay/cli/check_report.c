#include "relay/cli/check_report.h"

#include "relay/cli/check_report_internal.h"
#include "relay/cli/zone.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/wire/text.h"

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
    enum finding_level worst = check_judge(&r, f);
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
        buf_addf(out, "],\"confirmed\":%s,\"helo\":%s,", answer_text(n->confirmed),
                 answer_text(n->helo_ok));
        json_member(out, "helo_spf", f->helo_asked ? spf_result_name(f->helo_spf[i].result) : NULL);
        buf_add_char(out, '}');
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
    enum finding_level worst = check_judge(&r, f);
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
