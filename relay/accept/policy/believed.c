#include "relay/accept/policy/believed.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum part { PART_SKIPPED, PART_GOOD, PART_BAD, PART_UNKNOWN };

/* What each part says by itself, and the first thing of it that is to be mended. */
struct parts {
    enum part spf, dkim, aligned;
    bool spf_forbids;               /* one of our addresses, by "-" */
    const struct believed_ip *ip;   /* the first that does not pass */
    const struct believed_key *key; /* the first that is not published as ours */
    struct dmarc_found policy;
};

const char *
believed_name(enum believed b)
{
    static const char *const names[BELIEVED_RESULTS] = {
        [BELIEVED_PASS] = "pass",
        [BELIEVED_WEAK] = "weak",
        [BELIEVED_FAIL] = "fail",
        [BELIEVED_UNKNOWN] = "unknown",
    };
    return names[b];
}

/* --- the parts --- */

/* A record with ptr or %{p} may say something else to others, one with %{l} or %{s} of others:
 * it is asked about postmaster. */
static enum part
spf_of(const struct spf_verdict *v)
{
    if (v->result == SPF_PASS)
        return PART_GOOD;
    return v->result == SPF_TEMPERROR || v->unsure || v->by_local_part ? PART_UNKNOWN : PART_BAD;
}

static void
read_spf(const struct believed_facts *f, struct parts *p)
{
    p->spf = f->ip_count == 0 || f->reverse[0] == '\0' ? PART_SKIPPED : PART_GOOD;
    for (unsigned i = 0; i < f->ip_count && p->spf != PART_SKIPPED; i++) {
        enum part one = spf_of(&f->ips[i].spf);
        p->spf_forbids |= one == PART_BAD && f->ips[i].spf.result == SPF_FAIL;
        if (one == PART_BAD && p->spf != PART_BAD)
            p->ip = &f->ips[i];
        if (one == PART_BAD || (one == PART_UNKNOWN && p->spf == PART_GOOD))
            p->spf = one;
    }
}

/* One key that verifies is enough for a receiver. */
static void
read_dkim(const struct believed_facts *f, struct parts *p)
{
    unsigned ours = 0, unknown = 0;
    for (unsigned i = 0; i < f->key_count; i++) {
        ours += f->keys[i].state == PUBLISHED_OURS;
        unknown += f->keys[i].state == PUBLISHED_UNKNOWN;
        if (p->key == NULL && f->keys[i].state != PUBLISHED_OURS &&
            f->keys[i].state != PUBLISHED_UNKNOWN)
            p->key = &f->keys[i];
    }
    p->dkim = ours > 0 ? PART_GOOD : unknown > 0 ? PART_UNKNOWN : PART_BAD;
}

static void
read_dmarc(const struct believed_facts *f, struct parts *p)
{
    p->policy = dmarc_walk_result(f->author, true); /* sp or np: only its flags matter here */
    bool strict = p->policy.record != NULL && p->policy.record->spf_strict;
    bool same = strcmp(f->from, f->reverse) == 0;
    if (f->reverse[0] == '\0')
        p->aligned = PART_BAD;
    else if (p->policy.record == NULL && !f->author->temp_error)
        p->aligned = PART_GOOD; /* nobody asks for it (4.10.2) */
    else if (!same && (f->author->temp_error || (!strict && f->authenticated->temp_error)))
        p->aligned = PART_UNKNOWN;
    else
        p->aligned = dmarc_aligned(f->author, f->authenticated, strict) ? PART_GOOD : PART_BAD;
}

/* --- the judgement --- */

static void __attribute__((format(printf, 4, 5)))
say(struct believed_verdict *out, enum believed result, const char *enhanced, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    out->result = result;
    out->enhanced = enhanced;
    vsnprintf(out->text, sizeof out->text, fmt, args);
    va_end(args);
}

static const char *
ip_version(const char *ip)
{
    return strchr(ip, ':') != NULL ? "ip6" : "ip4";
}

static void
say_spf(const struct believed_facts *f, const struct parts *p, struct believed_verdict *out,
        enum believed result)
{
    const struct believed_ip *ip = p->ip;
    const char *version = ip_version(ip->text);
    if (ip->spf.result == SPF_NONE)
        say(out, result, "5.7.23", "%s has no SPF record: publish TXT \"v=spf1 %s:%s -all\"",
            f->reverse, version, ip->text);
    else if (ip->spf.result == SPF_PERMERROR)
        say(out, result, "5.7.23", "the SPF record of %s is not valid: mend it, with %s:%s in it",
            f->reverse, version, ip->text);
    else
        say(out, result, "5.7.23", "SPF of %s says %s for %s: add %s:%s to its TXT record",
            f->reverse, spf_result_name(ip->spf.result), ip->text, version, ip->text);
}

static void
say_key(const struct believed_facts *f, const struct parts *p, struct believed_verdict *out,
        enum believed result)
{
    static const char *const how[] = {
        [PUBLISHED_MISSING] = "is missing",
        [PUBLISHED_OTHER] = "is another key",
        [PUBLISHED_REVOKED] = "is revoked",
        [PUBLISHED_BROKEN] = "cannot be used",
    };
    if (p->key == NULL)
        say(out, result, "5.7.20", "%s has no DKIM key here: make one and publish it", f->from);
    else
        say(out, result, "5.7.20",
            "the DKIM key %s._domainkey.%s %s: publish the TXT record that "
            "\"stagepost check domain %s\" prints",
            p->key->selector, f->from, how[p->key->state], f->from);
}

/* Nothing vouches for it. Said is what mends most: the signature is aligned always. */
static void
say_not_believed(const struct believed_facts *f, const struct parts *p,
                 struct believed_verdict *out)
{
    if (p->key == NULL && p->spf == PART_BAD) {
        say_spf(f, p, out, BELIEVED_FAIL);
        out->enhanced = "5.7.26";
        return;
    }
    say_key(f, p, out, BELIEVED_FAIL);
    if (p->spf != PART_SKIPPED)
        out->enhanced = "5.7.26";
}

static void
judge_believed(const struct believed_facts *f, const struct parts *p, struct believed_verdict *out)
{
    if (p->key != NULL)
        say_key(f, p, out, BELIEVED_WEAK);
    else if (p->dkim == PART_BAD)
        say_key(f, p, out, BELIEVED_WEAK);
    else if (p->spf == PART_BAD)
        say_spf(f, p, out, BELIEVED_WEAK);
    else if (p->policy.record == NULL && !f->author->temp_error)
        say(out, BELIEVED_WEAK, NULL,
            "%s has no DMARC record%s: publish TXT \"v=DMARC1; p=none\" at _dmarc.%s", f->from,
            p->policy.unusable ? " with a valid policy" : "", f->from);
    else
        say(out, BELIEVED_PASS, NULL, "%s", "");
}

void
believed_judge(const struct believed_facts *f, struct believed_verdict *out)
{
    struct parts p = {.spf_forbids = false};
    read_spf(f, &p);
    read_dkim(f, &p);
    read_dmarc(f, &p);
    bool spf_vouches = p.spf == PART_GOOD && p.aligned == PART_GOOD;
    bool spf_cannot = p.spf == PART_SKIPPED || p.spf == PART_BAD || p.aligned == PART_BAD;
    if (f->null_mx)
        say(out, BELIEVED_FAIL, "5.7.27",
            "%s has a null MX, it takes no mail: bounces could not return. Publish an MX record",
            f->reverse);
    else if (p.spf_forbids)
        say_spf(f, &p, out, BELIEVED_FAIL);
    else if (p.dkim == PART_GOOD || spf_vouches)
        judge_believed(f, &p, out);
    else if (p.dkim == PART_BAD && spf_cannot)
        say_not_believed(f, &p, out);
    else
        say(out, BELIEVED_UNKNOWN, NULL, "DNS of %s does not answer", f->from);
}
