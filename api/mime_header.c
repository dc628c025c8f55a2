#include "api/mime_header.h"

#include <string.h>

#include "relay/sys/base/base64.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

enum {
    LINE_WANTED = 76, /* RFC 2047 2: lines with encoded words are no longer */
    WORD_FRAME = 12,  /* "=?utf-8?B?" and "?=" */
    PIECE_LEAST = 16, /* of base64 that are worth a word at the end of a line */
    WORD_BYTES = 45,  /* 60 in base64, 72 as a word; at most 75 */
};

struct line {
    struct buf *out;
    size_t column;
};

static void
put(struct line *l, struct slice s)
{
    buf_add(l->out, s);
    l->column += s.n;
}

/* The white space in front of what needs n columns: folded when it would not fit. */
static void
put_space(struct line *l, size_t n)
{
    if (l->column + 1 + n > LINE_WANTED) {
        buf_add_str(l->out, "\r\n");
        l->column = 0;
    }
    put(l, SLICE(" "));
}

static struct line
begin(struct buf *out, struct slice name)
{
    struct line l = {out, 0};
    put(&l, name);
    put(&l, SLICE(":"));
    return l;
}

/* RFC 2047 5 (3): no word splits a character. White space between two encoded
 * words is not part of the text. */
static void
put_encoded(struct line *l, struct slice text)
{
    while (text.n > 0) {
        size_t used = l->column + 1 + WORD_FRAME, bytes = WORD_BYTES;
        if (used + PIECE_LEAST <= LINE_WANTED) /* what is left of the line */
            bytes = (LINE_WANTED - used) / 4 * 3;
        struct slice piece = text_clip(text, bytes < WORD_BYTES ? bytes : WORD_BYTES);
        text = slice_skip(text, piece.n);
        put_space(l, (piece.n + 2) / 3 * 4 + WORD_FRAME);
        size_t before = buf_slice(l->out).n;
        buf_add_str(l->out, "=?utf-8?B?");
        base64_encode(piece, l->out);
        buf_add_str(l->out, "?=");
        l->column += buf_slice(l->out).n - before;
    }
}

/* Folds before white space, so that unfolding gives the same value; no line is
 * white space only, because the value neither begins nor ends with it. */
static void
put_folded(struct line *l, struct slice value)
{
    while (value.n > 0) {
        size_t spaces = 0, n;
        while (spaces < value.n && value.p[spaces] == ' ')
            spaces++;
        for (n = spaces; n < value.n && value.p[n] != ' ';)
            n++;
        struct slice word = slice_cut(&value, n);
        if (spaces > 0 && l->column + n > LINE_WANTED) {
            buf_add_str(l->out, "\r\n");
            l->column = 0;
        }
        put(l, word);
    }
}

static bool
looks_encoded(struct slice text)
{
    return slice_find_slice(text, SLICE("=?")) < text.n;
}

/* What would not come back as it is when it is written plainly. */
static bool
needs_encoding(struct slice text)
{
    if (!text_is_ascii(text) || looks_encoded(text))
        return true;
    while (text.n > 0)
        if (slice_cut_at(&text, ' ').n > API_TOKEN_MAX)
            return true;
    return false;
}

static void
put_text(struct line *l, struct slice text, bool encoded)
{
    if (encoded) {
        put_encoded(l, text);
    } else {
        put(l, SLICE(" "));
        put_folded(l, text);
    }
    buf_add_str(l->out, "\r\n");
}

void
mime_add_text_field(struct buf *out, struct slice name, struct slice text)
{
    struct line l = begin(out, name);
    put_text(&l, text, needs_encoding(text));
}

void
mime_add_custom_field(struct buf *out, struct slice name, struct slice value)
{
    struct line l = begin(out, name);
    put_text(&l, value, !text_is_ascii(value));
}

/* ---- addresses, RFC 5322 3.4 -------------------------------------------- */

/* atext and single spaces between: a phrase that needs no quotes. */
static bool
is_plain_phrase(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ' && i > 0 && s.p[i - 1] != ' ' && i + 1 < s.n)
            continue;
        if (!ascii_is_alnum(s.p[i]) && strchr("!#$%&'*+-/=?^_`{|}~", s.p[i]) == NULL)
            return false;
    }
    return true;
}

static void
put_quoted(struct line *l, struct slice s)
{
    put_space(l, s.n + 2);
    put(l, SLICE("\""));
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            put(l, SLICE("\\"));
        put(l, slice_from(s.p + i, 1));
    }
    put(l, SLICE("\""));
}

static void
put_phrase(struct line *l, struct slice name)
{
    if (!text_is_ascii(name) || looks_encoded(name)) {
        put_encoded(l, name);
    } else if (is_plain_phrase(name)) {
        put_space(l, name.n);
        put(l, name); /* not folded inside: GMime keeps such a fold in the name */
    } else {
        put_quoted(l, name);
    }
}

void
mime_add_address_field(struct buf *out, struct slice name, const struct draft_list *list)
{
    if (list->count == 0)
        return;
    struct line l = begin(out, name);
    for (unsigned i = 0; i < list->count; i++) {
        const struct draft_mailbox *m = &list->v[i];
        bool named = m->name.n > 0;
        if (named)
            put_phrase(&l, m->name);
        put_space(&l, m->address.n + 3); /* brackets and comma */
        put(&l, named ? SLICE("<") : SLICE(""));
        put(&l, m->address);
        put(&l, named ? SLICE(">") : SLICE(""));
        if (i + 1 < list->count)
            put(&l, SLICE(","));
    }
    buf_add_str(out, "\r\n");
}
