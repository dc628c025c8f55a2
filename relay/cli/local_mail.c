#include "relay/cli/local_mail.h"

#include <stdio.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/address.h"

enum {
    LINE_ENDS_MAX = 2, /* how much a message of empty lines grows */
    ARENA_MAX = 4 << 20,
    OUTPUT_MAX = LINE_ENDS_MAX * MESSAGE_BYTES_MAX + HEADER_SECTION_MAX,
};

/* ---- fields ----------------------------------------------------------------- */

enum field_use {
    FIELD_OTHER,
    FIELD_FROM,
    FIELD_RESENT_FROM,
    FIELD_ADDRESSES, /* qualified, no recipients */
    FIELD_TO,
    FIELD_BCC, /* and left out */
    FIELD_RESENT_TO,
    FIELD_RESENT_BCC,
};

static enum field_use
use_of(struct slice name)
{
    static const struct {
        const char *name;
        enum field_use use;
    } USES[] = {
        {"from", FIELD_FROM},
        {"sender", FIELD_ADDRESSES},
        {"reply-to", FIELD_ADDRESSES},
        {"to", FIELD_TO},
        {"cc", FIELD_TO},
        {"bcc", FIELD_BCC},
        {"resent-from", FIELD_RESENT_FROM},
        {"resent-sender", FIELD_ADDRESSES},
        {"resent-to", FIELD_RESENT_TO},
        {"resent-cc", FIELD_RESENT_TO},
        {"resent-bcc", FIELD_RESENT_BCC},
    };
    for (size_t i = 0; i < ARRAY_LEN(USES); i++)
        if (slice_eq_nocase(name, slice_str(USES[i].name)))
            return USES[i].use;
    return FIELD_OTHER;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "Name:", RFC 5322 2.2; blanks before the colon (4.5) are the gateway's to refuse. */
static bool
begins_field(struct slice line)
{
    size_t colon = slice_find(line, ':'), end = 0;
    while (end < colon && line.p[end] >= '!' && line.p[end] <= '~')
        end++;
    for (size_t i = end; i < colon; i++)
        if (!is_blank(line.p[i]))
            return false;
    return end > 0 && colon < line.n;
}

/* The first line of `in` with its CRLF. */
static struct slice
cut_line(struct slice *in)
{
    size_t lf = slice_find(*in, '\n');
    return slice_cut(in, lf < in->n ? lf + 1 : in->n);
}

/* Cuts a field with its folds; false: the header section ends here. */
static bool
cut_field(struct slice *in, struct slice *field)
{
    struct slice rest = *in;
    struct slice line = cut_line(&rest);
    if (!begins_field(line))
        return false;
    while (rest.n > 0 && is_blank(rest.p[0]))
        cut_line(&rest);
    *field = slice_from(in->p, in->n - rest.n);
    *in = rest;
    return true;
}

/* ---- addresses without a domain ---------------------------------------------- */

/* One walk over an address list: where words, comments, quotes and brackets are. */
struct walk {
    const char *host;
    struct buf *out;
    unsigned comments; /* RFC 5322 3.2.2: they nest */
    bool quoted, escaped, bracket, literal;
    bool has_at;    /* the address has its domain */
    bool has_local; /* something that can be a local part was there */
    bool two_words; /* "Cron Daemon": a name without an address */
    size_t end;     /* in `out`: behind the local part */
};

static void
begin_address(struct walk *w)
{
    w->has_at = w->has_local = w->two_words = false;
    w->end = 0;
}

static void
end_address(struct walk *w)
{
    struct buf behind; /* blanks and comments */
    if (w->has_local && !w->has_at && !w->two_words && !w->quoted && w->comments == 0) {
        buf_init(&behind, HEADER_SECTION_MAX);
        buf_add(&behind, slice_skip(buf_slice(w->out), w->end));
        buf_truncate(w->out, w->end);
        buf_addf(w->out, "@%s", w->host);
        buf_add(w->out, buf_slice(&behind));
        buf_fini(&behind);
    }
    begin_address(w);
}

/* "," ";" ">" and, behind the name of a group, ":" */
static void
walk_separator(struct walk *w, char c)
{
    if (c == ':')
        begin_address(w);
    else
        end_address(w);
    w->two_words = c == '>'; /* nothing behind a bracket is an address */
    w->bracket = false;
    buf_add_char(w->out, c);
}

/* A character outside comments and quotes. */
static void
walk_plain(struct walk *w, char c)
{
    bool word = !is_blank(c) && c != '\r' && c != '\n';
    w->literal = c == '[' || (w->literal && c != ']'); /* [IPv6:::1] */
    if (!w->literal && (c == ',' || c == ';' || c == ':' || (c == '>' && w->bracket))) {
        walk_separator(w, c);
        return;
    }
    if (c == '<' && !w->literal) {
        begin_address(w);
        w->bracket = true;
    } else if (word) {
        w->has_at = w->has_at || c == '@';
        w->two_words = w->two_words || (w->has_local && w->end != w->out->len);
        w->has_local = true;
    }
    buf_add_char(w->out, c);
    if (word && c != '<')
        w->end = w->out->len;
}

static void
walk_char(struct walk *w, char c)
{
    bool inside = w->quoted || w->comments > 0;
    if (inside && (w->escaped || c == '\\')) {
        w->escaped = !w->escaped;
        buf_add_char(w->out, c);
        if (w->quoted)
            w->end = w->out->len;
        return;
    }
    if (w->comments > 0 || (c == '(' && !w->quoted)) {
        w->comments += c == '(';
        w->comments -= c == ')';
        buf_add_char(w->out, c);
        return;
    }
    if (c != '"' && !w->quoted) {
        walk_plain(w, c);
        return;
    }
    w->two_words = w->two_words || (!w->quoted && w->has_local && w->end != w->out->len);
    w->quoted = c == '"' ? !w->quoted : w->quoted;
    w->has_local = true;
    buf_add_char(w->out, c);
    w->end = w->out->len;
}

void
local_mail_qualify(struct slice value, const char *host, struct buf *out)
{
    struct walk w = {.host = host, .out = out};
    struct slice tail = value; /* the last line end stays at the end */
    while (tail.n > 0 && (tail.p[tail.n - 1] == '\n' || tail.p[tail.n - 1] == '\r'))
        tail.n--;
    for (size_t i = 0; i < tail.n; i++)
        walk_char(&w, tail.p[i]);
    if (!w.bracket)
        end_address(&w);
    buf_add(out, slice_skip(value, tail.n));
}

/* ---- recipients --------------------------------------------------------------- */

static bool
is_listed(const struct local_mail *m, struct slice address)
{
    for (unsigned i = 0; i < m->to_count; i++)
        if (slice_eq(m->to[i], address))
            return true;
    return false;
}

static bool
keep_recipient(struct local_mail *m, struct slice address)
{
    if (m->to == NULL)
        m->to = arena_alloc(&m->arena, API_RECIPIENTS_MAX * sizeof *m->to);
    if (m->to == NULL || m->to_count == API_RECIPIENTS_MAX ||
        !arena_copy(&m->arena, address, &m->to[m->to_count]))
        return false;
    m->to_count++;
    return true;
}

static int
add_recipient(struct local_mail *m, const struct mailbox *mailbox, struct err *err)
{
    struct buf text;
    buf_init(&text, ADDRESS_CANONICAL_MAX);
    bool ok = address_format(mailbox, &text) &&
              (is_listed(m, buf_slice(&text)) || keep_recipient(m, buf_slice(&text)));
    buf_fini(&text);
    return ok ? 0 : err_set(err, ERR_FULL, "too many recipients");
}

static int
add_list(struct local_mail *m, struct slice value, const char *what, struct err *err)
{
    struct address_list list;
    enum address_fault fault;
    if (slice_trim(value).n == 0)
        return 0;
    if (address_list_parse(value, &m->arena, &list, &fault) != PARSE_OK)
        return err_set(err, ERR_BAD, "%s: %s", what, address_fault_text(fault));
    for (size_t i = 0; i < list.n; i++)
        if (add_recipient(m, &list.v[i], err) != 0)
            return -1;
    return 0;
}

int
local_mail_add(struct local_mail *m, struct slice address, const char *host, struct err *err)
{
    struct buf whole;
    buf_init(&whole, HEADER_FIELD_MAX);
    local_mail_qualify(address, host, &whole);
    int rc = whole.overflowed ? err_set(err, ERR_FULL, "the address is too long")
                              : add_list(m, buf_slice(&whole), "the recipient", err);
    buf_fini(&whole);
    return rc;
}

/* ---- the header section --------------------------------------------------------- */

struct reading {
    struct local_mail *m;
    const struct local_mail_wish *wish;
    bool has_from, resent;
    struct buf field; /* one, qualified */
};

static void
take_sender(struct reading *r, struct slice value)
{
    struct address_list list;
    struct buf text;
    if (address_list_parse(value, &r->m->arena, &list, NULL) != PARSE_OK || list.n == 0)
        return;
    buf_init(&text, ADDRESS_CANONICAL_MAX);
    if (address_format(&list.v[0], &text))
        arena_copy(&r->m->arena, buf_slice(&text), &r->m->sender);
    buf_fini(&text);
}

static int
take_field(struct reading *r, enum field_use use, struct err *err)
{
    struct slice value = buf_slice(&r->field), name = slice_cut_at(&value, ':');
    bool resent = use == FIELD_RESENT_TO || use == FIELD_RESENT_BCC;
    value = slice_trim(value);
    char what[64]; /* the names of use_of() are short */
    if (use == (r->resent ? FIELD_RESENT_FROM : FIELD_FROM) && r->m->sender.n == 0)
        take_sender(r, value);
    if (!r->wish->recipients_from_header || use < FIELD_TO || resent != r->resent)
        return 0;
    snprintf(what, sizeof what, "the %.*s field", SLICE_FMT(slice_trim(name)));
    return add_list(r->m, value, what, err);
}

static int
read_field(struct reading *r, struct slice field, struct err *err)
{
    struct slice value = field, name = slice_cut_at(&value, ':');
    enum field_use use = use_of(slice_trim(name));
    r->has_from = r->has_from || use == FIELD_FROM;
    if (use == FIELD_OTHER) {
        buf_add(&r->m->message, field);
        return 0;
    }
    buf_clear(&r->field);
    buf_add(&r->field, name);
    buf_add_char(&r->field, ':');
    local_mail_qualify(value, r->wish->host, &r->field);
    if (r->field.overflowed)
        return err_set(err, ERR_FULL, "a field of the header is too long");
    if (use != FIELD_BCC && use != FIELD_RESENT_BCC)
        buf_add(&r->m->message, buf_slice(&r->field));
    return take_field(r, use, err);
}

/* A name in quotes, RFC 5322 3.2.4; nothing when it has none that can be shown. */
static void
add_name(struct buf *out, const char *name)
{
    if (name == NULL || name[0] == '\0')
        return;
    buf_add_char(out, '"');
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *c < ' ' || *c > '~' ? '?' : *c);
    }
    buf_add_str(out, "\" ");
}

static int
add_from(struct reading *r, struct err *err)
{
    const struct local_mail_wish *w = r->wish;
    buf_clear(&r->field);
    buf_add_str(&r->field, "From: ");
    add_name(&r->field, w->full_name);
    buf_addf(&r->field, "<%.*s>\r\n", SLICE_FMT(w->from));
    buf_add(&r->m->message, buf_slice(&r->field));
    return take_field(r, FIELD_FROM, err);
}

static bool
is_resent(struct slice text)
{
    struct slice field;
    while (cut_field(&text, &field)) {
        enum field_use use = use_of(slice_trim(slice_cut_at(&field, ':')));
        if (use == FIELD_RESENT_TO || use == FIELD_RESENT_BCC)
            return true;
    }
    return false;
}

static int
read_message(struct reading *r, struct slice text, struct err *err)
{
    struct slice field;
    r->resent = is_resent(text);
    while (cut_field(&text, &field))
        if (read_field(r, field, err) != 0)
            return -1;
    if (!r->has_from && add_from(r, err) != 0)
        return -1;
    if (slice_starts(text, SLICE("\r\n")))
        text = slice_skip(text, 2);
    buf_add_str(&r->m->message, "\r\n");
    buf_add(&r->m->message, text);
    return r->m->message.overflowed ? err_set(err, ERR_FULL, "the message is too large") : 0;
}

/* ---- line ends ------------------------------------------------------------------- */

static void
copy_lines(struct slice text, bool dot_ends, struct buf *out)
{
    bool first = true;
    while (text.n > 0) {
        struct slice line = slice_cut_at(&text, '\n');
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        bool mbox =
            first && (slice_starts(line, SLICE("From ")) || slice_starts(line, SLICE(">From ")));
        first = false;
        if (dot_ends && slice_eq(line, SLICE(".")))
            return;
        if (mbox)
            continue;
        buf_add(out, line);
        buf_add_str(out, "\r\n");
    }
}

void
local_mail_init(struct local_mail *m)
{
    *m = (struct local_mail){.sender = SLICE_NONE};
    arena_init(&m->arena, ARENA_MAX);
    buf_init(&m->message, OUTPUT_MAX);
}

int
local_mail_read(struct local_mail *m, const struct local_mail_wish *wish, struct slice text,
                struct err *err)
{
    struct buf lines;
    struct reading r = {.m = m, .wish = wish};
    buf_init(&lines, OUTPUT_MAX);
    buf_init(&r.field, HEADER_SECTION_MAX);
    copy_lines(text, wish->dot_ends, &lines);
    int rc = lines.overflowed ? err_set(err, ERR_FULL, "the message is too large")
                              : read_message(&r, buf_slice(&lines), err);
    buf_fini(&r.field);
    buf_fini(&lines);
    return rc;
}

void
local_mail_fini(struct local_mail *m)
{
    buf_fini(&m->message);
    arena_fini(&m->arena);
}
