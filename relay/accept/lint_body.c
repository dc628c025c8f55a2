#include <string.h>

#include "relay/accept/lint_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/wire/text.h"

/* What large receivers refuse in attachments, whatever stands in the file. */
static const struct slice EXECUTABLE[] = {
    SLICE(".exe"), SLICE(".scr"), SLICE(".bat"), SLICE(".cmd"), SLICE(".com"), SLICE(".pif"),
    SLICE(".vbs"), SLICE(".js"),  SLICE(".jse"), SLICE(".jar"), SLICE(".msi"), SLICE(".ps1"),
    SLICE(".hta"), SLICE(".lnk"), SLICE(".iso"), SLICE(".cpl"), SLICE(".dll"), SLICE(".wsf"),
    SLICE(".vbe"), SLICE(".chm"), SLICE(".img"), SLICE(".apk"),
};

static bool
is_executable(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(EXECUTABLE); i++)
        if (name.n > EXECUTABLE[i].n && slice_ends_nocase(name, EXECUTABLE[i]))
            return true;
    return false;
}

static size_t
find_nocase(struct slice s, struct slice needle)
{
    for (size_t i = 0; i + needle.n <= s.n; i++)
        if (slice_starts_nocase(slice_skip(s, i), needle))
            return i;
    return s.n;
}

/* name=, name*=, filename*0*=: the value, and `text` behind it. */
static bool
cut_file_name(struct slice *text, struct slice *name)
{
    enum { SUFFIX_MAX = 8, VALUE_MAX = 300 };
    size_t at = find_nocase(*text, SLICE("name"));
    bool found = at < text->n;
    *text = slice_skip(*text, found ? at + 4 : at);
    *name = SLICE_NONE;
    size_t sign = slice_find(slice_from(text->p, text->n < SUFFIX_MAX ? text->n : SUFFIX_MAX), '=');
    if (sign >= SUFFIX_MAX || sign >= text->n)
        return found;
    slice_cut(text, sign + 1);
    struct slice value = slice_from(text->p, text->n < VALUE_MAX ? text->n : VALUE_MAX);
    value = slice_cut(text, slice_find(value, ';'));
    value = slice_trim(value);
    if (value.n >= 2 && value.p[0] == '"')
        value = slice_from(value.p + 1, value.n - (value.p[value.n - 1] == '"' ? 2 : 1));
    *name = value;
    return found;
}

void
lint_file_name(struct slice value, struct lint_report *r)
{
    struct slice name;
    while (cut_file_name(&value, &name))
        if (is_executable(name)) {
            lint_add(r, LINT_WARNING, "executable-attachment", "",
                     "%.*s: many receivers refuse mail with such a file",
                     SLICE_FMT(text_clip(name, 100)));
            return;
        }
}

/* ---- lines ---------------------------------------------------------------- */

struct walk {
    struct lint_report *report;
    bool in_part_header, part_has_fields, type_seen;
    bool multipart, has_text;
    bool bare, too_long, nul, eight_bit;
};

static void
end_part_header(struct walk *w)
{
    w->in_part_header = false;
    if (!w->type_seen) /* RFC 2046 5.1: text/plain then */
        w->has_text = true;
}

static void
look_at_part_header(struct walk *w, struct slice line)
{
    bool type = slice_starts_nocase(line, SLICE("content-type:"));
    w->type_seen = w->type_seen || type;
    if (type && find_nocase(line, SLICE("text/plain")) < line.n)
        w->has_text = true;
    if (type || slice_starts_nocase(line, SLICE("content-disposition:")) || line.p[0] == ' ' ||
        line.p[0] == '\t')
        lint_file_name(line, w->report);
}

static void
look_at_line(struct walk *w, struct slice line)
{
    if (w->in_part_header && line.n == 0) {
        end_part_header(w);
    } else if (w->multipart && slice_starts(line, SLICE("--"))) {
        w->in_part_header = !slice_ends_nocase(line, SLICE("--"));
        w->type_seen = false;
    } else if (w->in_part_header) {
        look_at_part_header(w, line);
    }
}

static void
walk_lines(struct walk *w, struct slice body)
{
    while (body.n > 0) {
        size_t n = slice_find(body, '\n');
        bool ended = n < body.n;
        struct slice line = slice_cut(&body, ended ? n + 1 : n);
        w->too_long = w->too_long || line.n > SMTP_TEXT_LINE_MAX;
        bool crlf = ended && n > 0 && line.p[n - 1] == '\r';
        line = slice_from(line.p, crlf ? n - 1 : n);
        w->bare = w->bare || !crlf || slice_find(line, '\r') < line.n;
        w->nul = w->nul || slice_find(line, '\0') < line.n;
        look_at_line(w, line);
    }
}

static void
report_lines(const struct walk *w)
{
    struct lint_report *r = w->report;
    if (w->nul)
        lint_add(r, LINT_ERROR, "nul", "", "the body has a NUL in it");
    if (w->bare)
        lint_add(r, LINT_ERROR, "bare-line-end", "",
                 "every line must end in CRLF, and CR or LF stand nowhere else (RFC 5321 2.3.8)");
    if (w->too_long)
        lint_add(
            r, LINT_ERROR, "long-line", "",
            "a line has more than 998 octets (RFC 5322 2.1.1): use quoted-printable or base64");
}

void
lint_body(struct slice body, struct slice content_type, struct lint_report *r)
{
    struct slice type = slice_trim(content_type);
    struct walk w = {.report = r};
    w.multipart = slice_starts_nocase(type, SLICE("multipart/"));
    w.has_text = type.n == 0 || slice_starts_nocase(type, SLICE("text/plain"));
    lint_file_name(type, r);
    walk_lines(&w, body);
    report_lines(&w);
    if (!w.has_text && (w.multipart || slice_starts_nocase(type, SLICE("text/"))))
        lint_add(r, LINT_WARNING, "no-text-part", "Content-Type",
                 "there is no text/plain part beside the others");
}
