#include "relay/wire/header.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

/*
 * RFC 5322 2.2:
 *   field      = field-name ":" unstructured CRLF, folded by CRLF WSP
 *   field-name = 1*ftext         ftext = %d33-57 / %d59-126
 */

static const struct slice crlf = {"\r\n", 2};

static bool
is_white(char c)
{
    return c == ' ' || c == '\t';
}

struct slice
header_section(struct slice message, size_t *body_at)
{
    if (slice_starts(message, crlf)) {
        *body_at = crlf.n;
        return slice_from(message.p, 0);
    }
    size_t at = slice_find_slice(message, SLICE("\r\n\r\n"));
    if (at == message.n) {
        *body_at = message.n;
        return message;
    }
    *body_at = at + 2 * crlf.n;
    return slice_from(message.p, at + crlf.n);
}

/* One line with its CRLF; all of `s` when there is none. */
static struct slice
cut_line(struct slice *s)
{
    return slice_cut(s, slice_find_slice(*s, crlf) + crlf.n);
}

/* A line and its continuations. */
static struct slice
cut_folded(struct slice *section)
{
    struct slice rest = *section;
    do
        (void)cut_line(&rest);
    while (rest.n > 0 && is_white(rest.p[0]));
    return slice_cut(section, section->n - rest.n);
}

static struct slice
without_line_end(struct slice line)
{
    if (slice_ends_nocase(line, crlf))
        line.n -= crlf.n;
    return line;
}

static bool
is_field_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 33 || s.p[i] > 126 || s.p[i] == ':')
            return false;
    return s.n > 0;
}

static bool
split_field(struct slice raw, struct header_field *out)
{
    size_t colon = slice_find(raw, ':');
    struct slice name = slice_from(raw.p, colon);
    if (colon == raw.n || !is_field_name(name))
        return false;
    out->raw = raw;
    out->name = name;
    out->value = without_line_end(slice_skip(raw, colon + 1));
    return true;
}

enum parse
header_cut(struct slice *section, struct header_field *out)
{
    struct slice rest = *section;
    if (rest.n == 0)
        return PARSE_MORE;
    if (!split_field(cut_folded(&rest), out))
        return PARSE_BAD;
    *section = rest;
    return PARSE_OK;
}

bool
header_find(struct slice section, struct slice name, struct header_field *out)
{
    struct header_field f;
    while (header_cut(&section, &f) == PARSE_OK) {
        if (slice_eq_nocase(f.name, name)) {
            *out = f;
            return true;
        }
    }
    return false;
}

bool
header_unfold(struct slice value, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    struct slice rest = slice_trim(value);
    while (rest.n > 0) {
        if (!buf_add(out, without_line_end(cut_line(&rest)))) {
            buf_truncate(out, begin);
            return false;
        }
    }
    return true;
}

static const char *const known_names[HEADER_KNOWN_COUNT] = {
    [HEADER_FROM] = "From",
    [HEADER_SENDER] = "Sender",
    [HEADER_REPLY_TO] = "Reply-To",
    [HEADER_TO] = "To",
    [HEADER_CC] = "Cc",
    [HEADER_BCC] = "Bcc",
    [HEADER_DATE] = "Date",
    [HEADER_MESSAGE_ID] = "Message-ID",
    [HEADER_IN_REPLY_TO] = "In-Reply-To",
    [HEADER_REFERENCES] = "References",
    [HEADER_SUBJECT] = "Subject",
    [HEADER_MIME_VERSION] = "MIME-Version",
    [HEADER_CONTENT_TYPE] = "Content-Type",
    [HEADER_CONTENT_TRANSFER_ENCODING] = "Content-Transfer-Encoding",
};

static const struct reply_text fault_replies[HEADER_FAULT_COUNT] = {
    [HEADER_FINE] = {250, "2.6.0", "The header is fine"},
    [HEADER_SECTION_TOO_LONG] = {552, "5.3.4", "The header section is too long"},
    [HEADER_FIELD_TOO_LONG] = {552, "5.3.4", "A header field is too long"},
    [HEADER_TOO_MANY_FIELDS] = {552, "5.3.4", "The header has too many fields"},
    [HEADER_NAME_TOO_LONG] = {550, "5.6.0", "The name of a header field is too long"},
    [HEADER_LINE_TOO_LONG] = {550, "5.6.0", "A header line is longer than 998 octets"},
    [HEADER_NO_COLON] = {550, "5.6.0", "A header line has no colon"},
    [HEADER_BAD_NAME] = {550, "5.6.0", "The name of a header field is not valid"},
    [HEADER_SPACE_BEFORE_COLON] = {550, "5.6.0", "White space before the colon of a header field"},
    [HEADER_LEADING_SPACE] = {550, "5.6.0", "The header begins with white space"},
    [HEADER_BLANK_FOLD] = {550, "5.6.0", "A header line has white space only"},
    [HEADER_FROM_LINE] = {550, "5.6.0", "The header begins with an mbox separator"},
    [HEADER_BAD_OCTET] = {550, "5.6.0", "The header has a control character"},
    [HEADER_EIGHT_BIT] = {550, "5.6.7", "8-bit characters in the header need SMTPUTF8"},
    [HEADER_BAD_UTF8] = {550, "5.6.0", "The header is not valid UTF-8"},
    [HEADER_DUPLICATE] = {550, "5.6.0", "A header field that may stand once only is repeated"},
    [HEADER_LOOP] = {554, "5.4.6", "Too many Received fields: the message loops"},
};

struct reply_text
header_fault_reply(enum header_fault fault)
{
    BUG_ON(fault >= HEADER_FAULT_COUNT);
    return fault_replies[fault];
}

/* Why split_field() refused the first line of a field. */
static enum header_fault
name_fault(struct slice raw)
{
    struct slice line = without_line_end(cut_line(&raw));
    struct slice name = slice_from(line.p, slice_find(line, ':'));
    struct slice trimmed = slice_trim(name);
    if (name.n > 0 && is_white(name.p[0]))
        return HEADER_LEADING_SPACE;
    /* Its time of day holds a colon, so that the name may look long. */
    if ((slice_starts(name, SLICE("From ")) || slice_starts(name, SLICE(">From "))) &&
        !slice_eq(trimmed, SLICE("From")))
        return HEADER_FROM_LINE;
    if (name.n == line.n)
        return HEADER_NO_COLON;
    if (trimmed.n < name.n && is_field_name(trimmed))
        return HEADER_SPACE_BEFORE_COLON;
    return HEADER_BAD_NAME;
}

static bool
has_control(struct slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if (((unsigned char)line.p[i] < 32 && line.p[i] != '\t') || line.p[i] == 127)
            return true;
    return false;
}

static enum header_fault
check_lines(struct slice raw)
{
    for (bool first = true; raw.n > 0; first = false) {
        struct slice whole = cut_line(&raw);
        struct slice line = without_line_end(whole);
        if (line.n + crlf.n > SMTP_TEXT_LINE_MAX)
            return HEADER_LINE_TOO_LONG;
        if (has_control(line))
            return HEADER_BAD_OCTET;
        if (!first && slice_trim(line).n == 0)
            return HEADER_BLANK_FOLD;
    }
    return HEADER_FINE;
}

static enum header_fault
check_text(struct slice raw, bool smtputf8, struct header_facts *facts)
{
    if (text_is_ascii(raw))
        return HEADER_FINE;
    facts->eight_bit = true;
    if (!smtputf8)
        return HEADER_EIGHT_BIT;
    return utf8_is_valid(raw) ? HEADER_FINE : HEADER_BAD_UTF8;
}

static enum header_fault
note_field(const struct header_field *f, struct header_facts *facts)
{
    if (++facts->fields > HEADER_FIELDS_MAX)
        return HEADER_TOO_MANY_FIELDS;
    if (slice_eq_nocase(f->name, SLICE("Received")) && ++facts->received > RECEIVED_FIELDS_MAX)
        return HEADER_LOOP;
    for (size_t i = 0; i < HEADER_KNOWN_COUNT; i++) {
        if (!slice_eq_nocase(f->name, slice_str(known_names[i])))
            continue;
        if (facts->known[i].raw.n > 0)
            return HEADER_DUPLICATE;
        facts->known[i] = *f;
    }
    return HEADER_FINE;
}

static enum header_fault
check_field(struct slice raw, bool smtputf8, struct header_facts *facts)
{
    struct header_field f;
    if (raw.n > HEADER_FIELD_MAX)
        return HEADER_FIELD_TOO_LONG;
    if (!split_field(raw, &f))
        return name_fault(raw);
    if (f.name.n > HEADER_NAME_MAX)
        return HEADER_NAME_TOO_LONG;
    enum header_fault fault = check_lines(raw);
    if (fault == HEADER_FINE)
        fault = check_text(raw, smtputf8, facts);
    return fault == HEADER_FINE ? note_field(&f, facts) : fault;
}

enum header_fault
header_check(struct slice message, bool smtputf8, struct header_facts *out)
{
    struct header_facts facts = {0};
    facts.section = header_section(message, &facts.body_at);
    if (facts.section.n > HEADER_SECTION_MAX)
        return HEADER_SECTION_TOO_LONG;
    struct slice rest = facts.section;
    while (rest.n > 0) {
        enum header_fault fault = check_field(cut_folded(&rest), smtputf8, &facts);
        if (fault != HEADER_FINE)
            return fault;
    }
    *out = facts;
    return HEADER_FINE;
}
