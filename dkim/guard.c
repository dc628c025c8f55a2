#include "dkim/guard.h"

#include "relay/sys/base/limits.h"

enum {
    LINE_BYTES_MAX = 998, /* RFC 5322 2.1.1, without CRLF */
    FIRST_PRINTABLE = 33, /* RFC 5322 3.6.8: ftext is %d33-57 / %d59-126 */
    LAST_PRINTABLE = 126,
};

static int
feed_byte(struct guard_lines *g, char c, struct err *err)
{
    if (g->after_cr) {
        if (c != '\n')
            return err_set(err, ERR_BAD, "bare CR");
        *g = (struct guard_lines){0};
        return 0;
    }
    if (c == '\n')
        return err_set(err, ERR_BAD, "bare LF");
    if (c == '\0')
        return err_set(err, ERR_BAD, "NUL byte");
    if (c == '\r')
        g->after_cr = true;
    else if (++g->line_bytes > LINE_BYTES_MAX)
        return err_set(err, ERR_BAD, "line longer than %d bytes", LINE_BYTES_MAX);
    return 0;
}

/* Bytes up to the next CR that need no closer look: nearly all of a message. It
 * looks no further than a line may go on, whatever comes. */
static size_t
plain_bytes(const struct guard_lines *g, struct slice piece)
{
    size_t room = LINE_BYTES_MAX - g->line_bytes;
    struct slice line = slice_from(piece.p, piece.n < room ? piece.n : room);
    size_t n = slice_find(line, '\r');
    line.n = n;
    bool plain = !g->after_cr && slice_find(line, '\n') == n && slice_find(line, '\0') == n;
    return plain ? n : 0;
}

int
guard_lines_feed(struct guard_lines *g, struct slice piece, struct err *err)
{
    while (piece.n > 0) {
        size_t n = plain_bytes(g, piece);
        g->line_bytes += n;
        piece = slice_skip(piece, n);
        if (piece.n > 0 && feed_byte(g, slice_cut(&piece, 1).p[0], err) != 0)
            return -1;
    }
    return 0;
}

int
guard_lines_end(const struct guard_lines *g, struct err *err)
{
    if (g->after_cr || g->line_bytes > 0)
        return err_set(err, ERR_BAD, "message does not end in CRLF");
    return 0;
}

/* field = name ":" unstructured CRLF, where CRLF WSP goes on (RFC 5322 2.2). */
static size_t
field_bytes(struct slice section)
{
    size_t at = 0;
    do {
        at += slice_find_slice(slice_skip(section, at), SLICE("\r\n")) + 2;
    } while (at < section.n && (section.p[at] == ' ' || section.p[at] == '\t'));
    return at;
}

static int
check_name(struct slice name, struct err *err)
{
    if (name.n == 0)
        return err_set(err, ERR_BAD, "header field without a name");
    if (name.n > HEADER_NAME_MAX)
        return err_set(err, ERR_BAD, "header field name longer than %d bytes", HEADER_NAME_MAX);
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < FIRST_PRINTABLE || name.p[i] > LAST_PRINTABLE)
            return err_set(err, ERR_BAD, "header line that is no field, or space before its colon");
    }
    return 0;
}

enum parse
guard_field_cut(struct slice *section, struct slice *field, struct slice *name, struct err *err)
{
    if (section->n == 0)
        return PARSE_MORE;
    size_t n = field_bytes(*section);
    if (n > section->n) {
        err_set(err, ERR_BAD, "header section does not end in CRLF");
        return PARSE_BAD;
    }
    struct slice whole = slice_from(section->p, n - 2);
    struct slice head = slice_from(whole.p, slice_find(whole, ':'));
    if (n > HEADER_FIELD_MAX) {
        err_set(err, ERR_BAD, "header field longer than %d bytes", HEADER_FIELD_MAX);
        return PARSE_BAD;
    }
    if (head.n == whole.n) {
        err_set(err, ERR_BAD, "header line that is no field");
        return PARSE_BAD;
    }
    if (check_name(head, err) != 0)
        return PARSE_BAD;
    *section = slice_skip(*section, n);
    *field = whole;
    *name = head;
    return PARSE_OK;
}

/* libopendkim's relaxed form takes VT and FF for white space, RFC 6376 3.4.2 and
 * other verifiers do not; RFC 5322 2.2 has no place for them anyway. */
static int
check_white_space(struct slice field, struct err *err)
{
    if (slice_find(field, '\v') < field.n || slice_find(field, '\f') < field.n)
        return err_set(err, ERR_BAD, "VT or FF in a header field to sign");
    return 0;
}

static int
check_counts(unsigned fields, unsigned signed_fields, unsigned froms, struct err *err)
{
    if (fields > HEADER_FIELDS_MAX)
        return err_set(err, ERR_BAD, "more than %d header fields", HEADER_FIELDS_MAX);
    if (signed_fields > SIGN_FIELDS_MAX)
        return err_set(err, ERR_BAD, "more than %d header fields to sign", SIGN_FIELDS_MAX);
    if (froms > 1)
        return err_set(err, ERR_BAD, "more than one From field");
    return 0;
}

int
guard_section(struct slice section, bool (*is_signed)(struct slice name), unsigned *signed_fields,
              struct err *err)
{
    unsigned fields = 0, froms = 0;
    *signed_fields = 0;
    if (section.n > HEADER_SECTION_MAX)
        return err_set(err, ERR_BAD, "header section longer than %d bytes", HEADER_SECTION_MAX);
    for (;;) {
        struct slice field, name;
        enum parse p = guard_field_cut(&section, &field, &name, err);
        if (p == PARSE_BAD)
            return -1;
        if (p == PARSE_MORE)
            break;
        fields++;
        if (is_signed(name)) {
            ++*signed_fields;
            if (check_white_space(field, err) != 0)
                return -1;
        }
        froms += slice_eq_nocase(name, SLICE("From"));
        if (check_counts(fields, *signed_fields, froms, err) != 0)
            return -1;
    }
    return froms == 1 ? 0 : err_set(err, ERR_BAD, "no From field");
}
