#include "relay/wire/address.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

static const char *const fault_texts[ADDRESS_FAULT_COUNT] = {
    [ADDRESS_FINE] = "the address is valid",
    [ADDRESS_EMPTY] = "the address is empty",
    [ADDRESS_SYNTAX] = "the address is not valid",
    [ADDRESS_NO_DOMAIN] = "the address has no domain",
    [ADDRESS_BAD_DOMAIN] = "the domain is not valid",
    [ADDRESS_MAPPED] =
        "the domain has characters that stand for others: write it in NFC, as registered",
    [ADDRESS_BAD_OCTET] = "the address has a character that is not allowed",
    [ADDRESS_TOO_LONG] = "the address is too long",
    [ADDRESS_NULL_PATH] = "an empty address is not allowed here",
    [ADDRESS_BUDGET] = "too many addresses",
};

const char *
address_fault_text(enum address_fault fault)
{
    BUG_ON(fault >= ADDRESS_FAULT_COUNT);
    return fault_texts[fault];
}

/* A parse in progress. The cutters below return false with `fault` set. */
struct scan {
    struct slice in;
    struct arena *arena;
    bool dry;            /* only count: nothing is unescaped */
    size_t domain_bytes; /* of the last domain in its canonical form */
    enum address_fault fault;
};

static bool
fail(struct scan *s, enum address_fault fault)
{
    s->fault = fault;
    return false;
}

static bool
is_control(char c)
{
    return (unsigned char)c < 32 || c == 127;
}

/* What stands next does not belong there. */
static bool
fail_here(struct scan *s)
{
    bool octet = s->in.n > 0 && is_control(s->in.p[0]);
    return fail(s, octet ? ADDRESS_BAD_OCTET : ADDRESS_SYNTAX);
}

static bool
next_is(const struct scan *s, char c)
{
    return s->in.n > 0 && s->in.p[0] == c;
}

static bool
cut_char(struct scan *s, char c)
{
    if (!next_is(s, c))
        return fail_here(s);
    s->in = slice_skip(s->in, 1);
    return true;
}

/* RFC 5322 3.2.3 with RFC 6531 3.3: UTF-8 counts as atext. */
static bool
is_atext(char c)
{
    return ascii_is_alnum(c) || (unsigned char)c > 127 ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_domain_octet(char c)
{
    return ascii_is_alnum(c) || (unsigned char)c > 127 || c == '-' || c == '.' || c == '_';
}

static struct slice
cut_run(struct scan *s, bool (*belongs)(char))
{
    size_t n = 0;
    while (n < s->in.n && belongs(s->in.p[n]))
        n++;
    return slice_cut(&s->in, n);
}

static bool
is_dot_atext(char c)
{
    return c == '.' || is_atext(c);
}

/*
 * RFC 5321 4.1.2:
 *   Mailbox       = Local-part "@" ( Domain / address-literal )
 *   Local-part    = Dot-string / Quoted-string
 *   Dot-string    = Atom *("."  Atom)
 *   Quoted-string = DQUOTE *QcontentSMTP DQUOTE
 *   QcontentSMTP  = qtextSMTP / "\" %d32-126
 */

static bool
is_dot_string(struct slice s)
{
    bool atom = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.' ? !atom : !is_atext(s.p[i]))
            return false;
        atom = s.p[i] != '.';
    }
    return atom;
}

/* RFC 2047 5: must not stand in an address, and some readers decode it there. */
static bool
looks_encoded(struct slice s)
{
    return s.n >= 4 && slice_starts(s, SLICE("=?")) && slice_ends_nocase(s, SLICE("?="));
}

/* Index of the closing quote of the quoted string at the front; n when there is
 * none. */
static size_t
closing_quote(struct slice s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '"')
            return i;
        if (s.p[i] == '\\')
            i++;
    }
    return s.n;
}

/* Takes the backslashes out of `content`. */
static bool
unescape(struct scan *s, struct slice *content)
{
    if (s->dry || slice_find(*content, '\\') == content->n)
        return true;
    char *to = s->arena != NULL ? arena_alloc(s->arena, content->n) : NULL;
    if (to == NULL)
        return fail(s, ADDRESS_BUDGET);
    size_t n = 0;
    for (size_t i = 0; i < content->n; i++) {
        if (content->p[i] == '\\') /* never the last one: closing_quote() */
            i++;
        to[n++] = content->p[i];
    }
    *content = slice_from(to, n);
    return true;
}

/* A backslash before an octet of UTF-8 would split the character. */
static bool
has_bad_pair(struct slice content)
{
    for (size_t i = 0; i + 1 < content.n; i++)
        if (content.p[i] == '\\' && (unsigned char)content.p[++i] > 126)
            return true;
    return false;
}

static bool
cut_quoted_local(struct scan *s, struct slice *local)
{
    size_t end = closing_quote(s->in);
    if (end == s->in.n)
        return fail(s, ADDRESS_SYNTAX);
    if (end + 1 > ADDRESS_LOCAL_MAX)
        return fail(s, ADDRESS_TOO_LONG);
    struct slice content = slice_from(s->in.p + 1, end - 1);
    if (!text_is_line(content) || has_bad_pair(content))
        return fail(s, ADDRESS_BAD_OCTET);
    if (!unescape(s, &content))
        return false;
    s->in = slice_skip(s->in, end + 1);
    *local = content;
    return true;
}

static bool
cut_dot_string(struct scan *s, struct slice *local)
{
    struct slice run = cut_run(s, is_dot_atext);
    if (run.n == 0)
        return next_is(s, '@') ? fail(s, ADDRESS_EMPTY) : fail_here(s);
    if (!is_dot_string(run))
        return fail(s, ADDRESS_SYNTAX);
    if (run.n > ADDRESS_LOCAL_MAX)
        return fail(s, ADDRESS_TOO_LONG);
    if (!text_is_line(run))
        return fail(s, ADDRESS_BAD_OCTET);
    *local = run;
    return true;
}

static bool
cut_local(struct scan *s, struct slice *local)
{
    if (s->in.n == 0)
        return fail(s, ADDRESS_EMPTY);
    bool ok = next_is(s, '"') ? cut_quoted_local(s, local) : cut_dot_string(s, local);
    if (ok && looks_encoded(*local))
        return fail(s, ADDRESS_SYNTAX);
    return ok;
}

/* How long the domain is in its canonical form; 0: it is none. */
static size_t
canonical_bytes(struct slice domain)
{
    if (domain_is_ldh(domain) && slice_find_slice(domain, SLICE("--")) == domain.n)
        return domain.n;
    struct buf scratch;
    buf_init(&scratch, ADDRESS_DOMAIN_MAX);
    size_t n = domain_add_canonical(domain, &scratch) ? scratch.len : 0;
    buf_fini(&scratch);
    return n;
}

static bool
cut_domain(struct scan *s, struct slice *domain)
{
    struct slice d;
    if (next_is(s, '[')) {
        d = slice_cut(&s->in, slice_find(s->in, ']') + 1);
        if (!domain_is_literal(d))
            return fail(s, ADDRESS_BAD_DOMAIN);
        s->domain_bytes = d.n;
    } else {
        d = cut_run(s, is_domain_octet);
        if (d.n == 0)
            return s->in.n > 0 && is_control(s->in.p[0]) ? fail(s, ADDRESS_BAD_OCTET)
                                                         : fail(s, ADDRESS_NO_DOMAIN);
        if (d.n > ADDRESS_DOMAIN_MAX)
            return fail(s, ADDRESS_TOO_LONG);
        s->domain_bytes = canonical_bytes(d);
        if (s->domain_bytes == 0)
            return fail(s, domain_is_mapped(d) ? ADDRESS_MAPPED : ADDRESS_BAD_DOMAIN);
    }
    *domain = d;
    return true;
}

static bool
cut_mailbox(struct scan *s, struct mailbox *out)
{
    struct mailbox m = {0};
    struct slice begin = s->in;
    if (!cut_local(s, &m.local))
        return false;
    if (s->in.n == 0 || next_is(s, '>'))
        return fail(s, ADDRESS_NO_DOMAIN);
    if (!cut_char(s, '@') || !cut_domain(s, &m.domain))
        return false;
    /* As written and as sent on: an A-label may be longer than its U-label. */
    size_t written = begin.n - s->in.n, sent = written - m.domain.n + s->domain_bytes;
    if (written > ADDRESS_PATH_MAX || sent > ADDRESS_PATH_MAX)
        return fail(s, ADDRESS_TOO_LONG);
    m.quoted = !is_dot_string(m.local);
    m.literal = m.domain.p[0] == '[';
    m.utf8 = !text_is_ascii(m.local) || !text_is_ascii(m.domain);
    *out = m;
    return true;
}

static enum parse
answer(const struct scan *s, bool ok, enum address_fault *fault)
{
    if (fault != NULL)
        *fault = ok ? ADDRESS_FINE : s->fault;
    return ok ? PARSE_OK : PARSE_BAD;
}

enum parse
address_parse(struct slice text, struct arena *arena, struct mailbox *out,
              enum address_fault *fault)
{
    struct scan s = {.in = text, .arena = arena};
    struct mailbox m;
    bool ok = cut_mailbox(&s, &m) && (s.in.n == 0 || fail_here(&s));
    if (ok)
        *out = m;
    return answer(&s, ok, fault);
}

/*
 * RFC 5321 4.1.2:
 *   Reverse-path = Path / "<>"
 *   Forward-path = Path          (RCPT also takes "<Postmaster>")
 *   Path         = "<" [ A-d-l ":" ] Mailbox ">"
 *   A-d-l        = At-domain *( "," At-domain )
 *   At-domain    = "@" Domain
 */
static bool
skip_source_route(struct scan *s)
{
    struct slice domain;
    do {
        if (!cut_char(s, '@') || !cut_domain(s, &domain))
            return false;
    } while (next_is(s, ',') && cut_char(s, ','));
    return cut_char(s, ':');
}

/* "<Postmaster>", any case: RFC 5321 4.1.1.3. */
static bool
cut_postmaster(struct scan *s, struct path *out)
{
    const struct slice name = SLICE("postmaster");
    if (!slice_starts_nocase(s->in, SLICE("postmaster>")))
        return false;
    out->kind = PATH_POSTMASTER;
    out->mailbox.local = slice_cut(&s->in, name.n);
    return true;
}

static bool
cut_path_content(struct scan *s, bool forward, struct path *out)
{
    if (next_is(s, '>')) {
        out->kind = PATH_NULL;
        return !forward || fail(s, ADDRESS_NULL_PATH);
    }
    if (forward && cut_postmaster(s, out))
        return true;
    out->source_route = next_is(s, '@');
    if (out->source_route && !skip_source_route(s))
        return false;
    return cut_mailbox(s, &out->mailbox);
}

static enum parse
cut_path(struct slice *in, bool forward, struct arena *arena, struct path *out,
         enum address_fault *fault)
{
    struct scan s = {.in = *in, .arena = arena};
    struct path p = {.kind = PATH_MAILBOX};
    bool ok = cut_char(&s, '<') && cut_path_content(&s, forward, &p) && cut_char(&s, '>');
    if (ok) {
        *in = s.in;
        *out = p;
    }
    return answer(&s, ok, fault);
}

enum parse
path_cut_reverse(struct slice *in, struct arena *arena, struct path *out, enum address_fault *fault)
{
    return cut_path(in, false, arena, out, fault);
}

enum parse
path_cut_forward(struct slice *in, struct arena *arena, struct path *out, enum address_fault *fault)
{
    return cut_path(in, true, arena, out, fault);
}

/*
 * RFC 5322 3.2.2, 3.2.4, 3.2.5, 3.4:
 *   address-list = address *("," address)
 *   address      = mailbox / group
 *   mailbox      = name-addr / addr-spec
 *   name-addr    = [phrase] [CFWS] "<" addr-spec ">" [CFWS]
 *   group        = phrase ":" [mailbox-list / CFWS] ";" [CFWS]
 *   phrase       = word *( word / "." )      word = atom / quoted-string
 *   FWS          = ([*WSP CRLF] 1*WSP)
 *   comment      = "(" *([FWS] ccontent) [FWS] ")"
 */

/* One white space octet or fold; false at anything else. */
static bool
skip_white(struct scan *s)
{
    size_t n = slice_starts(s->in, SLICE("\r\n")) ? 2 : 0;
    if (s->in.n <= n || (s->in.p[n] != ' ' && s->in.p[n] != '\t'))
        return false;
    s->in = slice_skip(s->in, n + 1);
    return true;
}

static bool
skip_comment(struct scan *s)
{
    size_t depth = 0;
    do {
        if (skip_white(s))
            continue;
        bool pair = next_is(s, '\\') && s->in.n > 1;
        char c = s->in.n > 0 ? s->in.p[pair ? 1 : 0] : '\0';
        if (is_control(c))
            return fail_here(s);
        if (!pair && c == '(')
            depth++;
        if (!pair && c == ')')
            depth--;
        s->in = slice_skip(s->in, pair ? 2 : 1);
    } while (depth > 0);
    return true;
}

static bool
skip_cfws(struct scan *s)
{
    for (;;) {
        if (skip_white(s))
            continue;
        if (!next_is(s, '('))
            return true;
        if (!skip_comment(s))
            return false;
    }
}

static bool
skip_quoted(struct scan *s)
{
    s->in = slice_skip(s->in, 1);
    while (!next_is(s, '"')) {
        if (skip_white(s))
            continue;
        bool pair = next_is(s, '\\') && s->in.n > 1;
        if (s->in.n == 0 || is_control(s->in.p[pair ? 1 : 0]))
            return fail_here(s);
        s->in = slice_skip(s->in, pair ? 2 : 1);
    }
    return cut_char(s, '"');
}

/* A phrase or the local part of an address: the caller sees what follows. */
static bool
skip_words(struct scan *s, bool *any)
{
    *any = false;
    for (;;) {
        if (!skip_cfws(s))
            return false;
        if (next_is(s, '"')) {
            if (!skip_quoted(s))
                return false;
        } else if (cut_run(s, *any ? is_dot_atext : is_atext).n == 0) {
            return true;
        }
        *any = true;
    }
}

struct list_sink {
    struct mailbox *v; /* NULL: count only */
    size_t n;
};

static bool
cut_listed(struct scan *s, struct list_sink *sink)
{
    struct mailbox m;
    if (!cut_mailbox(s, &m))
        return false;
    if (sink->v != NULL)
        sink->v[sink->n] = m;
    sink->n++;
    return skip_cfws(s);
}

static bool
cut_angle(struct scan *s, struct list_sink *sink)
{
    return cut_char(s, '<') && skip_cfws(s) && cut_listed(s, sink) && cut_char(s, '>') &&
           skip_cfws(s);
}

/* A mailbox, or with *group_begins set a group up to its colon (where
 * `group_begins` is NULL there must be none). */
static bool
cut_member(struct scan *s, struct list_sink *sink, bool *group_begins)
{
    bool words;
    if (!skip_cfws(s))
        return false;
    struct slice begin = s->in;
    if (!skip_words(s, &words))
        return false;
    if (next_is(s, '<'))
        return cut_angle(s, sink);
    if (words && next_is(s, ':') && group_begins != NULL) {
        *group_begins = true;
        return cut_char(s, ':');
    }
    s->in = begin;
    return cut_listed(s, sink);
}

static bool
cut_group_members(struct scan *s, struct list_sink *sink)
{
    if (!skip_cfws(s))
        return false;
    if (!next_is(s, ';')) {
        do {
            if (!cut_member(s, sink, NULL))
                return false;
        } while (next_is(s, ',') && cut_char(s, ','));
    }
    return cut_char(s, ';') && skip_cfws(s);
}

static bool
cut_list(struct scan *s, struct list_sink *sink)
{
    do {
        bool group = false;
        if (!cut_member(s, sink, &group) || (group && !cut_group_members(s, sink)))
            return false;
    } while (next_is(s, ',') && cut_char(s, ','));
    return s->in.n == 0 || fail_here(s);
}

enum parse
address_list_parse(struct slice value, struct arena *arena, struct address_list *out,
                   enum address_fault *fault)
{
    struct scan s = {.in = value, .arena = arena, .dry = true};
    struct list_sink sink = {0};
    if (!utf8_is_valid(value))
        return answer(&s, fail(&s, ADDRESS_BAD_OCTET), fault);
    if (!cut_list(&s, &sink))
        return answer(&s, false, fault);
    s = (struct scan){.in = value, .arena = arena};
    if (sink.n > 0) {
        sink.v = arena_alloc(arena, sink.n * sizeof(*sink.v));
        if (sink.v == NULL)
            return answer(&s, fail(&s, ADDRESS_BUDGET), fault);
    }
    sink.n = 0;
    bool ok = cut_list(&s, &sink);
    if (ok)
        *out = (struct address_list){sink.v, sink.n};
    return answer(&s, ok, fault);
}

static bool
add_local(const struct mailbox *m, struct buf *out)
{
    if (!m->quoted)
        return buf_add(out, m->local);
    if (!buf_add_char(out, '"'))
        return false;
    for (size_t i = 0; i < m->local.n; i++) {
        char c = m->local.p[i];
        if ((c == '"' || c == '\\') && !buf_add_char(out, '\\'))
            return false;
        if (!buf_add_char(out, c))
            return false;
    }
    return buf_add_char(out, '"');
}

static bool
format(const struct mailbox *m, bool canonical, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    bool ok = add_local(m, out) && buf_add_char(out, '@') &&
              (canonical ? domain_add_canonical(m->domain, out) : buf_add(out, m->domain));
    if (!ok)
        buf_truncate(out, begin);
    return ok;
}

bool
address_format(const struct mailbox *m, struct buf *out)
{
    return format(m, false, out);
}

bool
address_format_canonical(const struct mailbox *m, struct buf *out)
{
    return format(m, true, out);
}
