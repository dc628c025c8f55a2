#include "dkim/spf_record.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "dkim/spf_macro.h"
#include "dkim/txt.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* --- the question --- */

static bool
mail_ip(struct spf_mail *m, struct slice ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    if (!slice_to_cstr(ip, text, sizeof text))
        return false;
    if (inet_pton(AF_INET, text, m->ip) == 1)
        return true;
    if (inet_pton(AF_INET6, text, m->ip) != 1)
        return false;
    m->ipv6 = memcmp(m->ip, mapped, sizeof mapped) != 0;
    if (!m->ipv6)
        memmove(m->ip, m->ip + sizeof mapped, 4);
    return true;
}

bool
spf_mail_set(struct spf_mail *m, struct slice ip, struct slice local, struct slice domain,
             struct slice helo)
{
    *m = (struct spf_mail){.ipv6 = false};
    if (!mail_ip(m, ip) || !txt_domain(domain, m->domain) || strchr(m->domain, '.') == NULL)
        return false;
    if (!slice_to_cstr(local.n > 0 ? local : SLICE("postmaster"), m->local, sizeof m->local))
        return false;
    return txt_domain(helo.n > 0 ? helo : domain, m->helo);
}

bool
spf_record_is(struct slice text)
{
    struct slice version = SLICE("v=spf1");
    return slice_starts_nocase(text, version) && (text.n == version.n || text.p[version.n] == ' ');
}

/* --- terms ---
 *   term      = [ qualifier ] mechanism / modifier                (RFC 7208 4.6.1)
 *   mechanism = name [ ":" argument ] [ "/" cidr4 ] [ "//" cidr6 ]
 *   modifier  = name "=" value */

enum { IPV4_BITS = 32, IPV6_BITS = 128 };

struct reading {
    struct spf_macros macros;
    struct buf *out;
    bool ended;         /* nothing behind this can matter: all, or a matching address */
    unsigned dns_terms; /* written */
    unsigned redirects, exps;
    char redirect[ADDRESS_DOMAIN_MAX + 1];
};

struct term {
    char qualifier;
    struct slice name, argument;
    bool has_argument;
    int bits4, bits6; /* -1: not given */
};

static void
write_term(struct reading *r, char qualifier, const char *name, const char *domain)
{
    if (r->ended)
        return;
    bool ok = buf_addf(r->out, " %c%s%s%s", qualifier, name, domain != NULL ? ":" : "",
                       domain != NULL ? domain : "");
    BUG_ON(!ok);
}

/* The last term that may be asked about plus one more is all that can matter. */
static void
write_dns_term(struct reading *r, const struct term *t, const char *name, const char *domain)
{
    if (r->ended)
        return;
    write_term(r, t->qualifier, name, domain);
    r->ended = ++r->dns_terms > SPF_LOOKUPS_MAX;
}

static void
write_all(struct reading *r, char qualifier)
{
    write_term(r, qualifier, "all", NULL);
    r->ended = true;
}

/* "/" and a number at the end of `s`, cut off. -1 where there is none; false: a
 * number that is none or too large. */
static bool
cut_bits(struct slice *s, int most, int *out)
{
    size_t at = s->n;
    while (at > 0 && s->p[at - 1] >= '0' && s->p[at - 1] <= '9')
        at--;
    *out = -1;
    if (at == 0 || at == s->n || s->p[at - 1] != '/')
        return true;
    uint64_t bits;
    struct slice digits = slice_skip(*s, at);
    if (!slice_to_u64(digits, &bits) || bits > (uint64_t)most ||
        (digits.n > 1 && digits.p[0] == '0'))
        return false;
    s->n = at - 1;
    *out = (int)bits;
    return true;
}

static bool
cut_dual_bits(struct term *t, struct slice *rest)
{
    struct slice s = *rest;
    int bits;
    if (!cut_bits(&s, IPV6_BITS, &bits))
        return false;
    if (bits >= 0 && s.n > 0 && s.p[s.n - 1] == '/') {
        s.n--;
        t->bits6 = bits;
        *rest = s;
    }
    return cut_bits(rest, IPV4_BITS, &t->bits4);
}

static bool
no_argument(const struct term *t)
{
    return !t->has_argument && t->bits4 < 0 && t->bits6 < 0;
}

static bool
read_all(struct reading *r, struct term *t)
{
    if (!no_argument(t))
        return false;
    write_all(r, t->qualifier);
    return true;
}

/* Puts the name's number in its place; "" when there is no room for more of them. */
static void
replace_odd(struct reading *r, char name[ADDRESS_DOMAIN_MAX + 1])
{
    struct spf_odd_names *odd = r->macros.notes->odd;
    unsigned i = 0;
    while (odd != NULL && i < odd->count && strcmp(odd->names[i], name) != 0)
        i++;
    if (odd == NULL || i == SPF_QUESTIONS_MAX) {
        name[0] = '\0';
        return;
    }
    if (i == odd->count)
        memcpy(odd->names[odd->count++], name, ADDRESS_DOMAIN_MAX + 1);
    snprintf(name, ADDRESS_DOMAIN_MAX + 1, "%u" SPF_ODD_NAME, i);
}

/* A name that libspf2 can be given: with room for an end of ours, but without one. */
static void
make_plain(struct reading *r, char name[ADDRESS_DOMAIN_MAX + 1])
{
    char ignored[ADDRESS_DOMAIN_MAX + 1];
    bool is_long = strlen(name) + strlen(SPF_ANY_ADDRESS) > ADDRESS_DOMAIN_MAX;
    bool is_ours = slice_ends_nocase(slice_str(name), SLICE(".invalid"));
    if (name[0] != '\0' && (is_long || is_ours || !txt_domain(slice_str(name), ignored)))
        replace_odd(r, name);
}

/* The domain of a term; the record's own where none is given. "": not to be asked for. */
static bool
read_domain(struct reading *r, const struct term *t, char name[ADDRESS_DOMAIN_MAX + 1])
{
    if (t->has_argument && !spf_macro_domain(&r->macros, t->argument, name))
        return false;
    if (!t->has_argument)
        snprintf(name, ADDRESS_DOMAIN_MAX + 1, "%s", r->macros.at);
    make_plain(r, name);
    return true;
}

static bool
read_include(struct reading *r, struct term *t)
{
    char name[ADDRESS_DOMAIN_MAX + 1];
    if (!t->has_argument || t->bits4 >= 0 || t->bits6 >= 0 || !read_domain(r, t, name))
        return false;
    write_dns_term(r, t, "include", name[0] != '\0' ? name : SPF_UNUSABLE_NAME);
    return true;
}

static bool
read_exists(struct reading *r, struct term *t)
{
    char name[ADDRESS_DOMAIN_MAX + 1];
    if (!t->has_argument || t->bits4 >= 0 || t->bits6 >= 0 || !read_domain(r, t, name))
        return false;
    if (name[0] != '\0')
        write_dns_term(r, t, "exists", name);
    return true;
}

/* libspf2 refuses a prefix of 0 bits, which says that the whole world may send. */
static bool
read_hosts(struct reading *r, struct term *t)
{
    char name[ADDRESS_DOMAIN_MAX + 1], with_bits[sizeof name + 32];
    bool ipv6 = r->macros.mail->ipv6;
    int bits = ipv6 ? t->bits6 : t->bits4;
    const char *slash = ipv6 ? "//" : "/";
    if (!read_domain(r, t, name))
        return false;
    if (name[0] == '\0')
        return true;
    if (bits < 0)
        snprintf(with_bits, sizeof with_bits, "%s", name);
    else if (bits == 0)
        snprintf(with_bits, sizeof with_bits, "%s" SPF_ANY_ADDRESS, name);
    else
        snprintf(with_bits, sizeof with_bits, "%s%s%d", name, slash, bits);
    write_dns_term(r, t, slice_eq_nocase(t->name, SLICE("a")) ? "a" : "mx", with_bits);
    return true;
}

/* 5.5: one of the names is the target or ends in it. */
static bool
name_is_below(const struct spf_names *names, const char *target)
{
    struct slice end = slice_str(target);
    for (unsigned i = 0; i < names->count; i++) {
        struct slice name = slice_str(names->names[i]);
        bool whole = name.n == end.n || (name.n > end.n && name.p[name.n - end.n - 1] == '.');
        if (end.n > 0 && whole && slice_ends_nocase(name, end))
            return true;
    }
    return false;
}

static bool
read_ptr(struct reading *r, struct term *t)
{
    char name[ADDRESS_DOMAIN_MAX + 1];
    if (t->bits4 >= 0 || t->bits6 >= 0 || !read_domain(r, t, name))
        return false;
    const struct spf_names *names = r->macros.notes->names;
    r->macros.notes->wants_names |= names == NULL && !r->ended;
    if (names != NULL)
        write_dns_term(r, t, "exists",
                       !names->has_ptr              ? SPF_PTR_VOID
                       : name_is_below(names, name) ? SPF_PTR_MATCHES
                                                    : SPF_PTR_DIFFERS);
    return true;
}

static bool
same_bits(const uint8_t *a, const uint8_t *b, int bits)
{
    size_t whole = (size_t)bits / 8;
    uint8_t mask = (uint8_t)(0xff00 >> (bits % 8));
    return memcmp(a, b, whole) == 0 && (bits % 8 == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

/* The prefix length of an ip6 stands behind one slash, so it was not cut yet. */
static bool
read_ip(struct reading *r, struct term *t)
{
    bool six = slice_eq_nocase(t->name, SLICE("ip6"));
    int most = six ? IPV6_BITS : IPV4_BITS, bits;
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    if (!t->has_argument || !cut_bits(&t->argument, most, &bits) ||
        !slice_to_cstr(t->argument, text, sizeof text) ||
        inet_pton(six ? AF_INET6 : AF_INET, text, ip) != 1)
        return false;
    const struct spf_mail *m = r->macros.mail;
    if (m->ipv6 == six && same_bits(ip, m->ip, bits >= 0 ? bits : most))
        write_all(r, t->qualifier);
    return true;
}

static const struct {
    const char *name;
    bool (*read)(struct reading *r, struct term *t);
    bool bits; /* prefix lengths may stand behind it; else they are in the argument */
} MECHANISMS[] = {
    {"all", read_all, false}, {"include", read_include, false}, {"a", read_hosts, true},
    {"mx", read_hosts, true}, {"ptr", read_ptr, false},         {"ip4", read_ip, false},
    {"ip6", read_ip, false},  {"exists", read_exists, false},
};

static bool
read_mechanism(struct reading *r, struct slice text)
{
    struct term t = {.qualifier = '+', .bits4 = -1, .bits6 = -1};
    if (text.n > 0 && txt_is_one_of(text.p[0], "+-?~"))
        t.qualifier = *slice_cut(&text, 1).p;
    size_t end = 0;
    while (end < text.n && text.p[end] != ':' && text.p[end] != '/')
        end++;
    t.name = slice_cut(&text, end);
    for (size_t i = 0; i < ARRAY_LEN(MECHANISMS); i++) {
        if (!slice_eq_nocase(t.name, slice_str(MECHANISMS[i].name)))
            continue;
        if (MECHANISMS[i].bits && !cut_dual_bits(&t, &text))
            return false;
        t.has_argument = text.n > 0 && text.p[0] == ':';
        if (text.n > 0 && !t.has_argument)
            return false;
        t.argument = slice_skip(text, t.has_argument ? 1 : 0);
        return MECHANISMS[i].read(r, &t);
    }
    return false;
}

static bool
modifier_name_ok(struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_is_alnum(name.p[i]) && (i == 0 || !txt_is_one_of(name.p[i], "-_.")))
            return false;
    return name.n > 0 && (name.p[0] < '0' || name.p[0] > '9');
}

static bool
read_modifier(struct reading *r, struct slice name, struct slice value)
{
    char ignored[ADDRESS_DOMAIN_MAX + 1];
    if (slice_eq_nocase(name, SLICE("redirect"))) {
        bool ok = r->redirects++ == 0 && spf_macro_domain(&r->macros, value, r->redirect);
        make_plain(r, r->redirect);
        return ok;
    }
    struct buf b;
    struct spf_notes no_notes = {.names = NULL};
    struct spf_macros macros = r->macros;
    macros.notes = &no_notes;
    if (slice_eq_nocase(name, SLICE("exp")))
        return r->exps++ == 0 && spf_macro_domain(&macros, value, ignored);
    macros.any_letter = true;
    buf_init(&b, SPF_MACRO_MAX);
    bool ok = modifier_name_ok(name) && spf_macro_expand(&macros, value, &b);
    buf_fini(&b);
    return ok;
}

static bool
read_term(struct reading *r, struct slice text)
{
    size_t end = 0;
    while (end < text.n && !txt_is_one_of(text.p[end], ":/="))
        end++;
    if (end == text.n || text.p[end] != '=')
        return read_mechanism(r, text);
    return read_modifier(r, slice_from(text.p, end), slice_skip(text, end + 1));
}

static int
check_bytes(struct slice text, const char *at, struct err *err)
{
    if (text.n > SPF_RECORD_MAX)
        return err_set(err, ERR_BAD, "%s: a record of more than %d bytes", at, SPF_RECORD_MAX);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < 0x20 || text.p[i] > 0x7e)
            return err_set(err, ERR_BAD, "%s: a byte that is not printable ASCII", at);
    return 0;
}

int
spf_record_prepare(struct slice text, const char *at, const struct spf_mail *m, struct buf *out,
                   struct spf_notes *notes, struct err *err)
{
    struct reading r = {.macros = {.mail = m, .at = at, .notes = notes}, .out = out};
    if (check_bytes(text, at, err) != 0)
        return -1;
    bool ok = buf_add_str(out, "v=spf1");
    BUG_ON(!ok || !spf_record_is(text));
    slice_cut_at(&text, ' ');
    while (text.n > 0) {
        struct slice term = slice_cut_at(&text, ' ');
        bool by_local_part = notes->by_local_part, ended = r.ended;
        if (term.n > 0 && !read_term(&r, term))
            return err_set(err, ERR_BAD, "%s: \"%.*s\" is not valid", at, SLICE_FMT(term));
        notes->by_local_part &= by_local_part || !ended;
    }
    if (r.redirects > 0 && !r.ended) {
        ok = buf_addf(out, " redirect=%s", r.redirect[0] != '\0' ? r.redirect : SPF_UNUSABLE_NAME);
        BUG_ON(!ok);
    }
    return 0;
}
