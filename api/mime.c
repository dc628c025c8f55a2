#include "api/mime.h"

#include <gmime/gmime.h>
#include <stdio.h>

#include "api/mime_header.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/limits.h"

enum {
    LINE_WANTED = 76,     /* RFC 2045 6.7 */
    BOUNDARY_RANDOM = 16, /* bytes */
};

void
mime_setup(void)
{
    g_mime_init();
}

void
mime_add_decoded(struct buf *out, struct slice text)
{
    char *copy = g_strndup(text.p != NULL ? text.p : "", text.n);
    char *decoded = g_mime_utils_header_decode_text(NULL, copy);
    buf_add_str(out, decoded);
    g_free(decoded);
    g_free(copy);
}

/* RFC 2369 2, RFC 8058 3.1: the URIs as they are, never as encoded words. */
static void
add_unsubscribe(const struct draft_unsubscribe *u, struct buf *out)
{
    struct buf value;
    buf_init(&value, 2 * API_TOKEN_MAX + 16);
    if (u->url.n > 0)
        buf_addf(&value, "<%.*s>", SLICE_FMT(u->url));
    if (u->mailto.n > 0)
        buf_addf(&value, "%s<mailto:%.*s>", u->url.n > 0 ? ", " : "", SLICE_FMT(u->mailto));
    if (value.len > 0)
        mime_add_custom_field(out, SLICE("List-Unsubscribe"), buf_slice(&value));
    if (u->one_click)
        buf_add_str(out, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
    buf_fini(&value);
}

static void
add_header(struct draft *d, struct buf *out)
{
    mime_add_address_field(out, SLICE("From"), &d->lists[DRAFT_FROM]);
    mime_add_address_field(out, SLICE("To"), &d->lists[DRAFT_TO]);
    mime_add_address_field(out, SLICE("Cc"), &d->lists[DRAFT_CC]);
    mime_add_address_field(out, SLICE("Reply-To"), &d->lists[DRAFT_REPLY_TO]);
    if (d->has_subject)
        mime_add_text_field(out, SLICE("Subject"), d->subject);
    for (unsigned i = 0; i < d->header_count; i++)
        mime_add_custom_field(out, d->headers[i].name, d->headers[i].value);
    add_unsubscribe(&d->unsubscribe, out);
    buf_add_str(out, "MIME-Version: 1.0\r\n");
}

/* ---- parts -------------------------------------------------------------- */

static bool
cstr(struct draft *d, struct slice s, const char **out)
{
    struct slice copy;
    if (!arena_copy(d->arena, s, &copy)) {
        d->no_room = true;
        return false;
    }
    *out = copy.p;
    return true;
}

/* Takes the bytes over. */
static void
set_content(GMimePart *part, GByteArray *bytes, GMimeContentEncoding encoding)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(bytes);
    GMimeDataWrapper *content =
        g_mime_data_wrapper_new_with_stream(stream, GMIME_CONTENT_ENCODING_DEFAULT);
    g_mime_part_set_content(part, content);
    g_mime_part_set_content_encoding(part, encoding);
    g_object_unref(content);
    g_object_unref(stream);
}

static void
append(GByteArray *to, struct slice s)
{
    g_byte_array_append(to, (const guint8 *)s.p, (guint)s.n);
}

/* CRLF, LF and CR become `line_end`, and there is one at the end. */
static GByteArray *
with_line_ends(struct slice text, struct slice line_end)
{
    GByteArray *out = g_byte_array_sized_new((guint)text.n + 2);
    bool ended = false;
    while (text.n > 0) {
        size_t n = 0;
        while (n < text.n && text.p[n] != '\r' && text.p[n] != '\n')
            n++;
        append(out, slice_cut(&text, n));
        ended = text.n > 0;
        if (ended) {
            append(out, line_end);
            slice_cut(&text, slice_starts(text, SLICE("\r\n")) ? 2 : 1);
        }
    }
    if (!ended)
        append(out, line_end);
    return out;
}

/* Short ASCII lines stay readable; text that is mostly not Latin is smaller in
 * base64; everything else is quoted-printable. */
static GMimeContentEncoding
encoding_for(struct slice text)
{
    size_t line = 0, longest = 0, high = 0, control = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        high += c >= 0x80;
        control += (c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
        line = c == '\n' || c == '\r' ? 0 : line + 1;
        longest = line > longest ? line : longest;
    }
    if (high == 0 && control == 0 && longest <= LINE_WANTED)
        return GMIME_CONTENT_ENCODING_7BIT;
    return high > text.n / 3 ? GMIME_CONTENT_ENCODING_BASE64
                             : GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
}

static GMimeObject *
text_part(struct slice text, const char *subtype)
{
    GMimeObject *part = GMIME_OBJECT(g_mime_part_new_with_type("text", subtype));
    g_mime_object_set_content_type_parameter(part, "charset", "utf-8");
    GMimeContentEncoding encoding = encoding_for(text);
    /* In base64 the line ends are part of the content: CRLF (RFC 2045 6.8).
     * Elsewhere GMime writes LF as CRLF. */
    bool base64 = encoding == GMIME_CONTENT_ENCODING_BASE64;
    set_content(GMIME_PART(part), with_line_ends(text, base64 ? SLICE("\r\n") : SLICE("\n")),
                encoding);
    return part;
}

/* GMime would choose iso-8859-1 where that is enough. */
static void
use_utf8(GMimeParamList *list, const char *name)
{
    GMimeParam *p = g_mime_param_list_get_parameter(list, name);
    if (p != NULL)
        g_mime_param_set_charset(p, "utf-8");
}

static void
set_filename(GMimeObject *part, const char *name)
{
    g_mime_part_set_filename(GMIME_PART(part), name);
    use_utf8(g_mime_content_type_get_parameters(g_mime_object_get_content_type(part)), "name");
    use_utf8(g_mime_content_disposition_get_parameters(g_mime_object_get_content_disposition(part)),
             "filename");
}

static GMimeObject *
attachment_part(struct draft *d, struct draft_attachment *a, bool inline_part)
{
    const char *type, *subtype, *name, *value;
    if (!cstr(d, a->type, &type) || !cstr(d, a->subtype, &subtype))
        return NULL;
    GMimeObject *part = GMIME_OBJECT(g_mime_part_new_with_type(type, subtype));
    for (unsigned i = 0; i < a->parameter_count; i++)
        if (cstr(d, a->parameters[i].name, &name) && cstr(d, a->parameters[i].value, &value))
            g_mime_object_set_content_type_parameter(part, name, value);
    g_mime_object_set_disposition(part, inline_part ? "inline" : "attachment");
    if (cstr(d, a->filename, &name))
        set_filename(part, name);
    if (a->content_id.n > 0 && cstr(d, a->content_id, &value))
        g_mime_object_set_content_id(part, value);
    struct slice bytes = buf_slice(&a->content);
    GByteArray *copy = g_byte_array_sized_new((guint)bytes.n);
    append(copy, bytes);
    buf_fini(&a->content);
    set_content(GMIME_PART(part), copy, GMIME_CONTENT_ENCODING_BASE64);
    return part;
}

/* ---- structure ---------------------------------------------------------- */

/* "=_" stands in no quoted-printable or base64 text, and nobody can guess the
 * rest, so no content can hold the boundary (RFC 2046 5.1.1). */
static GMimeObject *
multipart(const char *subtype, GMimeObject *first)
{
    uint8_t random[BOUNDARY_RANDOM];
    char boundary[2 * BOUNDARY_RANDOM + 3] = "=_";
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(boundary + 2 + 2 * i, 3, "%02x", random[i]);
    GMimeMultipart *m = g_mime_multipart_new_with_subtype(subtype);
    g_mime_multipart_set_boundary(m, boundary);
    if (first != NULL) {
        g_mime_multipart_add(m, first);
        g_object_unref(first);
    }
    return GMIME_OBJECT(m);
}

static void
add_part(GMimeObject *m, GMimeObject *part)
{
    if (part == NULL)
        return;
    g_mime_multipart_add(GMIME_MULTIPART(m), part);
    g_object_unref(part);
}

static bool
is_inline(const struct draft *d, const struct draft_attachment *a)
{
    return a->content_id.n > 0 && d->has_html;
}

/* The attachments that are inline, or those that are not; `body` when none is. */
static GMimeObject *
wrap(struct draft *d, const char *subtype, GMimeObject *body, bool inline_parts)
{
    GMimeObject *around = NULL;
    for (unsigned i = 0; i < d->attachment_count; i++) {
        if (is_inline(d, &d->attachments[i]) != inline_parts)
            continue;
        if (around == NULL)
            around = multipart(subtype, body);
        add_part(around, attachment_part(d, &d->attachments[i], inline_parts));
    }
    return around != NULL ? around : body;
}

static GMimeObject *
build_body(struct draft *d)
{
    GMimeObject *body = NULL;
    if (d->has_html) {
        body = wrap(d, "related", text_part(d->html, "html"), true);
        if (d->has_text) {
            GMimeObject *alternative = multipart("alternative", text_part(d->text, "plain"));
            add_part(alternative, body);
            body = alternative;
        }
    } else if (d->has_text) {
        body = text_part(d->text, "plain");
    }
    return wrap(d, "mixed", body, false);
}

/* GLib's memory is the system's malloc (GLib 2.46 and newer), so the bytes
 * become the buffer without a copy. */
static void
write_message(struct slice header, GMimeObject *body, struct buf *out)
{
    GByteArray *bytes = g_byte_array_new();
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(bytes);
    g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(stream), FALSE);
    g_mime_stream_write(stream, header.p, header.n);
    GMimeFormatOptions *options = g_mime_format_options_new();
    g_mime_format_options_set_newline_format(options, GMIME_NEWLINE_FORMAT_DOS);
    g_mime_object_write_to_stream(body, options, stream);
    g_mime_format_options_free(options);
    g_object_unref(stream);
    size_t n = bytes->len;
    *out = (struct buf){.mem = (char *)g_byte_array_free(bytes, FALSE), .len = n, .cap = n};
    out->max = n;
}

bool
mime_build(struct draft *d, struct buf *out)
{
    struct buf header;
    buf_init(&header, HEADER_SECTION_MAX);
    buf_init(out, 0);
    add_header(d, &header);
    bool fits = !header.overflowed;
    GMimeObject *body = build_body(d);
    if (fits && !d->no_room)
        write_message(buf_slice(&header), body, out);
    g_object_unref(body);
    buf_fini(&header);
    return fits && !d->no_room;
}
