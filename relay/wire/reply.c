#include "relay/wire/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

/* RFC 3463 2:
 *   status-code = class "." subject "." detail
 *   class = "2" / "4" / "5"   subject = 1*3digit   detail = 1*3digit */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 1 to 3 digits without a leading zero. */
static bool
cut_number(struct slice *s, unsigned *out)
{
    unsigned v = 0;
    size_t n = 0;
    while (n < s->n && n < 3 && is_digit(s->p[n]))
        v = v * 10 + (unsigned)(s->p[n++] - '0');
    if (n == 0 || (n > 1 && s->p[0] == '0'))
        return false;
    *s = slice_skip(*s, n);
    *out = v;
    return true;
}

static bool
cut_char(struct slice *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = slice_skip(*s, 1);
    return true;
}

static bool
cut_enhanced(struct slice *s, struct enhanced *out)
{
    struct slice rest = *s;
    struct enhanced e;
    bool ok = cut_number(&rest, &e.class_) && cut_char(&rest, '.') &&
              cut_number(&rest, &e.subject) && cut_char(&rest, '.') && cut_number(&rest, &e.detail);
    if (!ok || (e.class_ != 2 && e.class_ != 4 && e.class_ != 5))
        return false;
    *s = rest;
    *out = e;
    return true;
}

bool
enhanced_parse(struct slice text, struct enhanced *out)
{
    struct enhanced e;
    if (!cut_enhanced(&text, &e) || text.n != 0)
        return false;
    *out = e;
    return true;
}

void
enhanced_format(struct enhanced e, char out[ENHANCED_TEXT_BYTES + 1])
{
    out[0] = '\0';
    if (e.class_ != 0)
        (void)snprintf(out, ENHANCED_TEXT_BYTES + 1, "%u.%u.%u", e.class_ % 10, e.subject % 1000,
                       e.detail % 1000);
}

struct enhanced
enhanced_derive(unsigned code)
{
    unsigned class_ = code / 100;
    if (class_ != 2 && class_ != 4 && class_ != 5)
        class_ = 0;
    return (struct enhanced){.class_ = class_};
}

/*
 * RFC 5321 4.2:
 *   Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
 */
struct reply_line {
    unsigned code;
    bool last;
    struct slice text;
};

/* The line before CRLF; `rest` begins behind the CRLF. */
static enum parse
cut_line(struct slice *rest, struct slice *line)
{
    size_t at = slice_find_slice(*rest, SLICE("\r\n"));
    if (at > REPLY_LINE_MAX - 2)
        return PARSE_BAD;
    if (at == rest->n)
        return PARSE_MORE;
    *line = slice_cut(rest, at);
    *rest = slice_skip(*rest, 2);
    return PARSE_OK;
}

/* No continuation makes a reply of this prefix of a line. */
static bool
prefix_is_bad(struct slice s)
{
    for (size_t i = 0; i < s.n && i < 3; i++)
        if (!is_digit(s.p[i]))
            return true;
    if (s.n > 0 && (s.p[0] < '2' || s.p[0] > '5'))
        return true;
    return s.n > 3 && s.p[3] != ' ' && s.p[3] != '-' && s.p[3] != '\r';
}

static bool
parse_line(struct slice line, struct reply_line *out)
{
    if (line.n < 3 || prefix_is_bad(line) || (line.n > 3 && line.p[3] == '\r'))
        return false;
    out->code = (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
    out->last = line.n == 3 || line.p[3] == ' ';
    out->text = slice_skip(line, 4);
    return true;
}

/* The next line of a reply that began with `code` (0: this is the first). */
static enum parse
cut_reply_line(struct slice *rest, unsigned code, struct reply_line *out)
{
    struct slice line;
    enum parse r = cut_line(rest, &line);
    if (r == PARSE_MORE && prefix_is_bad(*rest))
        return PARSE_BAD;
    if (r != PARSE_OK)
        return r;
    if (!parse_line(line, out) || (code != 0 && out->code != code))
        return PARSE_BAD;
    return PARSE_OK;
}

/* First pass: is the reply whole and well formed, and where does it end? */
static enum parse
measure(struct slice in, size_t *bytes, unsigned *lines)
{
    struct slice rest = in;
    struct reply_line line = {0};
    *lines = 0;
    do {
        if (++*lines > REPLY_LINES_MAX)
            return PARSE_BAD;
        enum parse r = cut_reply_line(&rest, line.code, &line);
        if (r == PARSE_MORE && in.n >= REPLY_BYTES_MAX)
            return PARSE_BAD;
        if (r != PARSE_OK)
            return r;
        if (in.n - rest.n > REPLY_BYTES_MAX)
            return PARSE_BAD;
    } while (!line.last);
    *bytes = in.n - rest.n;
    return PARSE_OK;
}

/* Takes the enhanced code off the front of a line where it fits the reply. */
static void
strip_enhanced(struct reply_line *line, struct enhanced *found)
{
    struct slice text = line->text;
    struct enhanced e;
    if (!cut_enhanced(&text, &e) || (text.n > 0 && text.p[0] != ' '))
        return;
    line->text = slice_skip(text, 1);
    if (e.class_ == line->code / 100 && found->class_ == 0)
        *found = e;
}

enum parse
reply_cut(struct slice *in, struct buf *text, struct reply *out)
{
    size_t bytes;
    struct reply r = {0};
    enum parse verdict = measure(*in, &bytes, &r.lines);
    if (verdict != PARSE_OK)
        return verdict;
    struct slice whole = slice_cut(in, bytes);
    size_t at = buf_slice(text).n;
    bool room = true;
    for (unsigned i = 0; i < r.lines; i++) {
        struct reply_line line = {0};
        BUG_ON(cut_reply_line(&whole, 0, &line) != PARSE_OK); /* measured above */
        strip_enhanced(&line, &r.enhanced);
        r.code = line.code;
        room = room && (i == 0 || buf_add_char(text, '\n')) &&
               text_add_safe(text, text_clip(line.text, REPLY_LINE_KEPT_MAX));
    }
    r.text = slice_skip(buf_slice(text), at);
    *out = r;
    return PARSE_OK;
}

/* One line of a reply that we write; the caller knows that it fits. */
static bool
add_written_line(struct buf *out, const struct reply_text *r, struct slice text, bool last)
{
    size_t begin = buf_slice(out).n;
    bool enhanced = r->enhanced != NULL && r->enhanced[0] != '\0';
    bool ok = buf_addf(out, "%03u%c", r->code % 1000, last ? ' ' : '-') &&
              (!enhanced || (buf_add_str(out, r->enhanced) && buf_add_char(out, ' ')));
    if (!ok)
        return false;
    size_t used = buf_slice(out).n - begin;
    size_t room = used < REPLY_WRITTEN_LINE_MAX - 2 ? REPLY_WRITTEN_LINE_MAX - 2 - used : 0;
    return text_add_ascii(out, text_clip(text, room)) && buf_add(out, SLICE("\r\n"));
}

bool
reply_add(struct buf *out, const struct reply_text *r)
{
    size_t begin = buf_slice(out).n;
    struct slice rest = slice_str(r->text);
    bool last = false;
    while (!last) {
        struct slice line = slice_from(rest.p, slice_find(rest, '\n'));
        last = line.n == rest.n;
        rest = slice_skip(rest, line.n + 1);
        if (!add_written_line(out, r, line, last)) {
            buf_truncate(out, begin);
            return false;
        }
    }
    return true;
}

bool
reply_addf(struct buf *out, unsigned code, const char *enhanced, const char *fmt, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, REPLY_BYTES_MAX);
    va_start(args, fmt);
    bool ok = buf_vaddf(&text, fmt, args) && buf_add_char(&text, '\0');
    va_end(args);
    ok = ok && reply_add(out, &(struct reply_text){code, enhanced, buf_slice(&text).p});
    buf_fini(&text);
    return ok;
}
