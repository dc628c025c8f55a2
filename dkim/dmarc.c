#include "dkim/dmarc.h"

#include <stdio.h>
#include <string.h>

#include "dkim/txt.h"
#include "relay/sys/base/bug.h"

/* --- records ---
 *   record = "v" *WSP "=" *WSP "DMARC1" *( *WSP ";" *WSP tag ) [ *WSP ";" ]
 *   tag    = name *WSP "=" *WSP value                       (RFC 9989 4.8)
 *   uri    = scheme ":" *( any of RFC 3986 but "," and "!" ) [ "!" size ] */

static const char *const POLICY_NAMES[] = {"none", "quarantine", "reject"};

const char *
dmarc_policy_name(enum dmarc_policy p)
{
    return POLICY_NAMES[p];
}

struct tags {
    struct dmarc_record *record;
    bool has_p, has_sp, has_np;
};

static bool
read_policy(struct slice value, enum dmarc_policy *out)
{
    for (size_t i = 0; i < ARRAY_LEN(POLICY_NAMES); i++)
        if (slice_eq_nocase(value, slice_str(POLICY_NAMES[i]))) {
            *out = (enum dmarc_policy)i;
            return true;
        }
    return false;
}

/* One letter of a list; false when the value is anything else. */
static bool
read_letter(struct slice value, const char *letters, unsigned *out)
{
    const char *at = value.n == 1 ? strchr(letters, ascii_lower(value.p[0])) : NULL;
    if (at == NULL || *at == '\0')
        return false;
    *out = (unsigned)(at - letters);
    return true;
}

/* "!10m": how large a report may be. Obsolete, but no reason to refuse the URI (4.8). */
static bool
is_size(struct slice s)
{
    if (s.n > 1 && txt_is_one_of(ascii_lower(s.p[s.n - 1]), "kmgt"))
        s.n--;
    for (size_t i = 0; i < s.n; i++)
        if (!txt_is_one_of(s.p[i], "0123456789"))
            return false;
    return s.n > 0;
}

static bool
is_uri(struct slice uri)
{
    struct slice address = slice_cut_at(&uri, '!'), rest = address;
    struct slice scheme = slice_cut_at(&rest, ':');
    bool ok = scheme.n > 0 && scheme.n < address.n && !txt_is_one_of(scheme.p[0], "0123456789+-.");
    for (size_t i = 0; i < scheme.n; i++)
        ok &= ascii_is_alnum(scheme.p[i]) || txt_is_one_of(scheme.p[i], "+-.");
    for (size_t i = 0; i < rest.n; i++)
        ok &= ascii_is_alnum(rest.p[i]) || txt_is_one_of(rest.p[i], "-._~:/?#[]@$&'()*+;=%");
    return ok && (uri.n == 0 || is_size(uri));
}

/* Whether one of the list is a URI; what its scheme is does not matter (4.10.1). */
static bool
has_uri(struct slice value)
{
    while (value.n > 0)
        if (is_uri(slice_trim(slice_cut_at(&value, ','))))
            return true;
    return false;
}

static void
policy_tag(struct dmarc_record *r, struct slice value, enum dmarc_policy *out, bool *has)
{
    *has = read_policy(value, out);
    r->bad_policy |= !*has;
}

/* false: the value is not one of the tag's, or the tag is unknown. */
static bool
flag_tag(struct dmarc_record *r, struct slice name, struct slice value)
{
    unsigned n = 0;
    bool ok = false;
    if (slice_eq(name, SLICE("adkim")) && (ok = read_letter(value, "rs", &n)))
        r->dkim_strict = n == 1;
    else if (slice_eq(name, SLICE("aspf")) && (ok = read_letter(value, "rs", &n)))
        r->spf_strict = n == 1;
    else if (slice_eq(name, SLICE("t")) && (ok = read_letter(value, "ny", &n)))
        r->testing = n == 1;
    else if (slice_eq(name, SLICE("psd")) && (ok = read_letter(value, "uny", &n)))
        r->psd = (enum dmarc_psd)n;
    else if (slice_eq(name, SLICE("rua")) && (ok = has_uri(value)))
        r->reports = true;
    return ok || slice_eq(name, SLICE("ruf")) || slice_eq(name, SLICE("fo"));
}

static void
apply_tag(struct tags *t, struct slice name, struct slice value)
{
    struct dmarc_record *r = t->record;
    if (slice_eq(name, SLICE("p")))
        policy_tag(r, value, &r->p, &t->has_p);
    else if (slice_eq(name, SLICE("sp")))
        policy_tag(r, value, &r->sp, &t->has_sp);
    else if (slice_eq(name, SLICE("np")))
        policy_tag(r, value, &r->np, &t->has_np);
    else if (!flag_tag(r, name, value))
        r->ignored++;
}

/* Cuts one tag; the name is in lower case in `name_out`. false: what stands there is no
 * tag, or one with a name longer than any that is known. */
static bool
cut_tag(struct slice *text, char name_out[32], struct slice *value)
{
    struct slice tag = slice_cut_at(text, ';');
    if (slice_find(tag, '=') == tag.n)
        return false;
    struct slice name = slice_trim(slice_cut_at(&tag, '='));
    *value = slice_trim(tag);
    if (name.n == 0 || !slice_to_cstr(name, name_out, 32))
        return false;
    for (char *p = name_out; *p != '\0'; p++)
        *p = ascii_lower(*p);
    return true;
}

/* The version comes first, and its value alone is case-sensitive (4.7). */
static bool
cut_version(struct slice *text)
{
    char name[32];
    struct slice value;
    return cut_tag(text, name, &value) && strcmp(name, "v") == 0 &&
           slice_eq(value, SLICE("DMARC1"));
}

bool
dmarc_record_claimed(struct slice text)
{
    struct slice value = slice_trim(text);
    return slice_starts_nocase(value, SLICE("v=DMARC")) || cut_version(&text);
}

/* What is no tag is passed over (4.8). A tag that stands twice spoils the whole list: 4.7
 * takes the syntax of RFC 6376, whose 3.2 says so. */
static bool
read_tags(struct slice text, struct tags *t)
{
    char seen[DMARC_TAGS_MAX][32] = {"v"};
    unsigned count = 1;
    while (slice_trim(text).n > 0) {
        struct slice value;
        if (count == DMARC_TAGS_MAX)
            return false;
        if (!cut_tag(&text, seen[count], &value)) {
            t->record->ignored++;
            continue;
        }
        for (unsigned i = 0; i < count; i++)
            if (strcmp(seen[i], seen[count]) == 0)
                return false;
        apply_tag(t, slice_str(seen[count]), value);
        count++;
    }
    return true;
}

bool
dmarc_record_parse(struct slice text, struct dmarc_record *out)
{
    struct dmarc_record r = {0};
    struct tags t = {.record = &r};
    if (!cut_version(&text) || !read_tags(text, &t))
        return false;
    r.without_p = !t.has_p && !r.bad_policy;
    r.applies = r.reports || (t.has_p && !r.bad_policy);
    if (!t.has_p || r.bad_policy) {
        r.p = r.sp = r.np = DMARC_NONE;
    } else {
        r.sp = t.has_sp ? r.sp : r.p;
        r.np = t.has_np ? r.np : r.sp;
    }
    *out = r;
    return true;
}

const char *
dmarc_record_fault(struct slice text)
{
    struct dmarc_record r;
    struct slice rest = text;
    if (dmarc_record_parse(text, &r))
        return NULL;
    return cut_version(&rest) ? "a tag stands twice in it" : "it must begin with \"v=DMARC1;\"";
}

/* --- the tree walk --- */

static unsigned
labels(const char *name)
{
    unsigned n = 1;
    for (; *name != '\0'; name++)
        n += *name == '.';
    return n;
}

static const char *
parent(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot != NULL ? dot + 1 : NULL;
}

static void
ask(struct dmarc_walk *w, const char *target)
{
    w->target = target;
    if (target != NULL)
        snprintf(w->question, sizeof w->question, "_dmarc.%s", target);
}

bool
dmarc_walk_start(struct dmarc_walk *w, struct slice domain)
{
    *w = (struct dmarc_walk){0};
    bool ok = txt_domain(domain, w->domain);
    memcpy(w->organizational, w->domain, sizeof w->domain);
    if (!ok || strlen(w->domain) + strlen("_dmarc.") > ADDRESS_DOMAIN_MAX)
        return false;
    ask(w, w->domain);
    return true;
}

const char *
dmarc_walk_question(const struct dmarc_walk *w)
{
    return w->target != NULL ? w->question : NULL;
}

/* The one record of an answer; several are none (4.10 steps 2 and 6). */
static bool
pick_record(struct dmarc_walk *w, const struct slice *rdata, unsigned count,
            struct dmarc_record *out)
{
    bool own = w->target == w->domain;
    unsigned claimed = 0, valid = 0;
    for (unsigned i = 0; i < count; i++) {
        struct buf text;
        buf_init(&text, TXT_BYTES_MAX);
        struct slice copy = txt_join(rdata[i], &text) ? buf_slice(&text) : SLICE_NONE, rest = copy;
        claimed += cut_version(&rest);
        bool ok = dmarc_record_parse(copy, out);
        valid += ok;
        w->broken += own && !ok && dmarc_record_claimed(copy);
        buf_fini(&text);
    }
    if (own)
        w->own_records = valid;
    return claimed == 1 && valid == 1;
}

static void
keep(struct dmarc_walk *w, const struct dmarc_record *r)
{
    bool own = w->target == w->domain;
    if (own) {
        w->found_own = true;
        w->own = *r;
    }
    if (r->psd == DMARC_PSD_YES && !own) {
        w->found_psd = true;
        w->psd = *r;
        w->psd_at = w->target;
        return;
    }
    w->found_any = true;
    w->top = *r;
    w->top_at = w->target;
}

/* The organizational domain, 4.10.2: one label below a psd=y, else the record
 * with the fewest labels (with psd=n the walk has stopped there), else the
 * domain itself. */
static void
finish(struct dmarc_walk *w)
{
    const char *name = w->found_any ? w->top_at : w->domain;
    if (w->found_psd)
        for (name = w->domain; parent(name) != w->psd_at;)
            name = parent(name);
    snprintf(w->organizational, sizeof w->organizational, "%s", name);
    w->target = NULL;
}

static const char *
next_target(const struct dmarc_walk *w)
{
    const char *next = parent(w->target);
    if (w->target == w->domain)
        while (next != NULL && labels(next) >= DMARC_QUESTIONS_MAX)
            next = parent(next);
    return next;
}

void
dmarc_walk_answer(struct dmarc_walk *w, enum dns_status status, const struct slice *rdata,
                  unsigned count)
{
    struct dmarc_record r;
    BUG_ON(w->target == NULL);
    w->questions++;
    if (status == DNS_TEMP) {
        w->temp_error = true;
        w->target = NULL;
        return;
    }
    bool found = status == DNS_OK && pick_record(w, rdata, count, &r);
    if (found)
        keep(w, &r);
    bool last = found && r.psd != DMARC_PSD_UNKNOWN;
    ask(w, last ? NULL : next_target(w));
    if (w->target == NULL)
        finish(w);
}

/* The record that applies by its place, whatever it says; NULL: none. */
static const struct dmarc_record *
applying(const struct dmarc_walk *w, const char **at)
{
    if (w->found_own) {
        *at = w->domain;
        return &w->own;
    }
    if (w->found_any && strcmp(w->top_at, w->organizational) == 0) {
        *at = w->top_at;
        return &w->top;
    }
    *at = w->psd_at;
    return w->found_psd ? &w->psd : NULL;
}

struct dmarc_found
dmarc_walk_result(const struct dmarc_walk *w, bool exists)
{
    struct dmarc_found f = {.record = NULL};
    const struct dmarc_record *r = w->temp_error ? NULL : applying(w, &f.at);
    if (r == NULL || !r->applies) {
        f.unusable = r != NULL;
        return f;
    }
    f.record = r;
    f.policy = w->found_own ? r->p : exists ? r->sp : r->np;
    if (r->testing && f.policy > DMARC_NONE)
        f.policy--;
    return f;
}

bool
dmarc_aligned(const struct dmarc_walk *author, const struct dmarc_walk *authenticated, bool strict)
{
    if (author->domain[0] == '\0')
        return false;
    if (strcmp(author->domain, authenticated->domain) == 0)
        return true;
    return !strict && strcmp(author->organizational, authenticated->organizational) == 0;
}
