/*   macro-string = *( "%{" letter *DIGIT [ "r" ] *delimiter "}" /
 *                     "%%" / "%_" / "%-" / %x21-24 / %x26-7E )      (RFC 7208 7.1) */
#include "dkim/spf_macro.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "dkim/txt.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* Room for the longest value: a sender, or an IPv6 address as nibbles. */
enum { VALUE_MAX = ADDRESS_LOCAL_MAX + ADDRESS_DOMAIN_MAX + 2, PARTS_MAX = VALUE_MAX };

static void
ip_value(const struct spf_mail *m, char *out)
{
    if (!m->ipv6) {
        inet_ntop(AF_INET, m->ip, out, VALUE_MAX);
        return;
    }
    for (size_t i = 0; i < sizeof m->ip; i++)
        snprintf(out + 4 * i, 5, "%x.%x%s", m->ip[i] >> 4, m->ip[i] & 15,
                 i + 1 < sizeof m->ip ? "." : "");
}

/* 7.3: the domain itself, else a name below it, else any; "unknown" without one. */
static const char *
name_of_client(const struct spf_macros *m)
{
    const struct spf_names *names = m->notes->names;
    struct slice at = slice_str(m->at);
    const char *best = "unknown";
    unsigned best_rank = 0;
    m->notes->wants_names |= names == NULL;
    for (unsigned i = 0; names != NULL && i < names->count; i++) {
        struct slice name = slice_str(names->names[i]);
        bool below =
            name.n > at.n && name.p[name.n - at.n - 1] == '.' && slice_ends_nocase(name, at);
        unsigned rank = slice_eq_nocase(name, at) ? 3 : below ? 2 : 1;
        if (rank > best_rank) {
            best_rank = rank;
            best = names->names[i];
        }
    }
    return best;
}

/* false: no such letter here. */
static bool
letter_value(const struct spf_macros *m, char letter, char out[VALUE_MAX])
{
    const struct spf_mail *mail = m->mail;
    const char *text = NULL;
    switch (letter) {
    case 's':
        m->notes->by_local_part = true;
        snprintf(out, VALUE_MAX, "%s@%s", mail->local, mail->domain);
        return true;
    case 'i':
        ip_value(mail, out);
        return true;
    case 'p':
        text = name_of_client(m);
        break;
    case 'l':
        m->notes->by_local_part = true;
        text = mail->local;
        break;
    case 'o':
        text = mail->domain;
        break;
    case 'd':
        text = m->at;
        break;
    case 'h':
        text = mail->helo;
        break;
    case 'v':
        text = mail->ipv6 ? "ip6" : "in-addr";
        break;
    case 'c':
    case 'r':
    case 't':
        text = m->any_letter ? "unknown" : NULL;
        break;
    default:
        break;
    }
    snprintf(out, VALUE_MAX, "%s", text != NULL ? text : "");
    return text != NULL;
}

/* What stands behind the letter: digits, "r", delimiters. */
struct transform {
    size_t keep; /* rightmost parts */
    bool reverse;
    struct slice delimiters;
};

static bool
read_transform(struct slice s, struct transform *t)
{
    *t = (struct transform){.keep = PARTS_MAX, .delimiters = SLICE(".")};
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    if (n > 0) {
        uint64_t keep;
        if (!slice_to_u64(slice_cut(&s, n), &keep) || keep == 0)
            return false;
        t->keep = keep < PARTS_MAX ? (size_t)keep : PARTS_MAX;
    }
    if (s.n > 0 && ascii_lower(s.p[0]) == 'r') {
        t->reverse = true;
        slice_cut(&s, 1);
    }
    for (size_t i = 0; i < s.n; i++)
        if (!txt_is_one_of(s.p[i], ".-+,/_="))
            return false;
    if (s.n > 0)
        t->delimiters = s;
    return true;
}

static bool
add_char(struct buf *out, char c, bool escape)
{
    if (!escape || ascii_is_alnum(c) || txt_is_one_of(c, "-._~"))
        return buf_add_char(out, c);
    return buf_addf(out, "%%%02X", (unsigned)(uint8_t)c);
}

static bool
add_transformed(struct slice value, const struct transform *t, bool escape, struct buf *out)
{
    struct slice parts[PARTS_MAX];
    size_t count = 0, start = 0;
    for (size_t i = 0; i <= value.n; i++)
        if (i == value.n || memchr(t->delimiters.p, value.p[i], t->delimiters.n) != NULL) {
            parts[count++] = slice_from(value.p + start, i - start);
            start = i + 1;
        }
    size_t keep = t->keep < count ? t->keep : count;
    for (size_t i = count - keep; i < count; i++) {
        struct slice part = parts[t->reverse ? count - 1 - i : i];
        if (i > count - keep && !buf_add_char(out, '.'))
            return false;
        for (size_t j = 0; j < part.n; j++)
            if (!add_char(out, part.p[j], escape))
                return false;
    }
    return true;
}

/* Behind "%{": cuts up to and with "}". */
static bool
expand_letter(const struct spf_macros *m, struct slice *text, struct buf *out)
{
    char value[VALUE_MAX];
    struct transform t;
    if (slice_find(*text, '}') == text->n)
        return false;
    struct slice body = slice_cut_at(text, '}');
    if (body.n == 0)
        return false;
    char letter = *slice_cut(&body, 1).p;
    if (!letter_value(m, ascii_lower(letter), value) || !read_transform(body, &t))
        return false;
    return add_transformed(slice_str(value), &t, letter != ascii_lower(letter), out);
}

static bool
expand_percent(const struct spf_macros *m, struct slice *text, struct buf *out)
{
    char c = text->n > 0 ? *slice_cut(text, 1).p : '\0';
    switch (c) {
    case '{':
        return expand_letter(m, text, out);
    case '%':
        return buf_add_char(out, '%');
    case '_':
        return buf_add_char(out, ' ');
    case '-':
        return buf_add_str(out, "%20");
    default:
        return false;
    }
}

bool
spf_macro_expand(const struct spf_macros *m, struct slice text, struct buf *out)
{
    while (text.n > 0) {
        char c = *slice_cut(&text, 1).p;
        if (c == '%' ? !expand_percent(m, &text, out)
                     : c < 0x21 || c > 0x7e || !buf_add_char(out, c))
            return false;
    }
    return true;
}

/* --- names --- */

static bool
is_top_label(struct slice s)
{
    bool not_number = false;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
        not_number |= s.p[i] < '0' || s.p[i] > '9';
    }
    return s.n > 0 && not_number && s.p[0] != '-' && s.p[s.n - 1] != '-';
}

/* domain-end = ( "." toplabel [ "." ] ) / macro-expand */
static bool
domain_end_ok(struct slice spec)
{
    size_t start = 0;
    for (size_t i = 0; i + 1 < spec.n;) {
        if (spec.p[i] != '%') {
            i++;
            continue;
        }
        i += spec.p[i + 1] == '{' ? slice_find(slice_skip(spec, i), '}') + 1 : 2;
        start = i;
    }
    struct slice tail = slice_skip(spec, start);
    if (tail.n == 0)
        return spec.n > 0;
    if (tail.p[tail.n - 1] == '.')
        tail.n--;
    size_t dot = tail.n;
    while (dot > 0 && tail.p[dot - 1] != '.')
        dot--;
    return dot > 0 && is_top_label(slice_skip(tail, dot));
}

bool
spf_macro_domain(const struct spf_macros *m, struct slice spec, char *name)
{
    struct buf b;
    buf_init(&b, SPF_MACRO_MAX);
    bool ok = spf_macro_expand(m, spec, &b) && domain_end_ok(spec);
    struct slice s = buf_slice(&b);
    name[0] = '\0';
    if (ok) {
        if (s.n > 0 && s.p[s.n - 1] == '.')
            s.n--;
        while (s.n > ADDRESS_DOMAIN_MAX)
            slice_cut_at(&s, '.');
        txt_name(s, name);
    }
    buf_fini(&b);
    return ok;
}
