#include "api/mime.h"

#include <gmime/gmime.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"
#include "relay/wire/text.h"

enum {
    LINE_WANTED = 76,     /* RFC 2045 6.7, RFC 2047 2 */
    BOUNDARY_RANDOM = 16, /* bytes */
};

void
mime_setup(void)
{
    g_mime_init();
}

/* ---- header fields ------------------------------------------------------ */

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

static void
add_list(struct draft *d, GMimeMessage *m, enum draft_list_kind kind, GMimeAddressType type)
{
    InternetAddressList *to = g_mime_message_get_addresses(m, type);
    for (unsigned i = 0; i < d->lists[kind].count; i++) {
        const struct draft_mailbox *from = &d->lists[kind].v[i];
        const char *name = NULL, *address;
        if ((from->name.n > 0 && !cstr(d, from->name, &name)) || !cstr(d, from->address, &address))
            return;
        InternetAddress *a = internet_address_mailbox_new(name, address);
        internet_address_set_charset(a, "utf-8");
        internet_address_list_add(to, a);
        g_object_unref(a);
    }
}

/* RFC 5322 2.2.3: a fold before white space, so that unfolding gives the same
 * value. No line is white space only, because a value neither begins nor ends
 * with a space. */
static void
add_folded(struct buf *out, size_t column, struct slice value)
{
    while (value.n > 0) {
        size_t n = 1;
        while (n < value.n && value.p[n] == ' ')
            n++;
        while (n < value.n && value.p[n] != ' ')
            n++;
        struct slice word = slice_cut(&value, n);
        if (column + n > LINE_WANTED && word.p[0] == ' ') {
            buf_add_char(out, '\n');
            column = 0;
        }
        buf_add(out, word);
        column += n;
    }
}

static void
add_custom(struct draft *d, GMimeObject *m, const struct draft_pair *pair)
{
    const char *name, *value;
    if (!cstr(d, pair->name, &name) || !cstr(d, pair->value, &value))
        return;
    char *encoded = NULL;
    if (!text_is_ascii(pair->value))
        encoded = g_mime_utils_header_encode_text(NULL, value, "utf-8");
    struct buf raw;
    buf_init(&raw, HEADER_FIELD_MAX);
    buf_add_char(&raw, ' ');
    add_folded(&raw, pair->name.n + 2, slice_str(encoded != NULL ? encoded : value));
    buf_add(&raw, slice_from("\n", 2)); /* with the NUL */
    g_free(encoded);
    GMimeHeaderList *list = g_mime_object_get_header_list(m);
    g_mime_header_list_append(list, name, "x", NULL);
    int last = g_mime_header_list_get_count(list) - 1;
    g_mime_header_set_raw_value(g_mime_header_list_get_header_at(list, last), buf_slice(&raw).p);
    buf_fini(&raw);
}

static void
add_header(struct draft *d, GMimeMessage *m)
{
    add_list(d, m, DRAFT_FROM, GMIME_ADDRESS_TYPE_FROM);
    add_list(d, m, DRAFT_TO, GMIME_ADDRESS_TYPE_TO);
    add_list(d, m, DRAFT_CC, GMIME_ADDRESS_TYPE_CC);
    add_list(d, m, DRAFT_REPLY_TO, GMIME_ADDRESS_TYPE_REPLY_TO);
    const char *subject;
    if (d->has_subject && cstr(d, d->subject, &subject))
        g_mime_message_set_subject(m, subject, "utf-8");
    for (unsigned i = 0; i < d->header_count; i++)
        add_custom(d, GMIME_OBJECT(m), &d->headers[i]);
}

/* ---- parts -------------------------------------------------------------- */

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

/* Line ends as LF, which GMime writes as CRLF, and one at the end. */
static GByteArray *
with_line_feeds(struct slice text)
{
    GByteArray *out = g_byte_array_sized_new((guint)text.n + 1);
    while (text.n > 0) {
        size_t n = slice_find(text, '\r');
        g_byte_array_append(out, (const guint8 *)text.p, (guint)n);
        text = slice_skip(text, n);
        if (text.n == 0)
            break;
        g_byte_array_append(out, (const guint8 *)"\n", 1);
        text = slice_skip(text, slice_starts(text, SLICE("\r\n")) ? 2 : 1);
    }
    if (out->len == 0 || out->data[out->len - 1] != '\n')
        g_byte_array_append(out, (const guint8 *)"\n", 1);
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
        control += (c < ' ' && c != '\t' && c != '\n') || c == 0x7f;
        line = c == '\n' ? 0 : line + 1;
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
    GByteArray *bytes = with_line_feeds(text);
    set_content(GMIME_PART(part), bytes, encoding_for(slice_from(bytes->data, bytes->len)));
    return part;
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
        g_mime_part_set_filename(GMIME_PART(part), name);
    if (a->content_id.n > 0 && cstr(d, a->content_id, &value))
        g_mime_object_set_content_id(part, value);
    struct slice bytes = buf_slice(&a->content);
    GByteArray *copy = g_byte_array_sized_new((guint)bytes.n);
    g_byte_array_append(copy, (const guint8 *)bytes.p, (guint)bytes.n);
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
        sprintf(boundary + 2 + 2 * i, "%02x", random[i]);
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
write_message(GMimeMessage *m, struct buf *out)
{
    GByteArray *bytes = g_byte_array_new();
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(bytes);
    g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(stream), FALSE);
    GMimeFormatOptions *options = g_mime_format_options_new();
    g_mime_format_options_set_newline_format(options, GMIME_NEWLINE_FORMAT_DOS);
    g_mime_object_write_to_stream(GMIME_OBJECT(m), options, stream);
    g_mime_format_options_free(options);
    g_object_unref(stream);
    size_t n = bytes->len;
    *out = (struct buf){.mem = (char *)g_byte_array_free(bytes, FALSE), .len = n, .cap = n};
    out->max = n;
}

bool
mime_build(struct draft *d, struct buf *out)
{
    GMimeMessage *m = g_mime_message_new(FALSE);
    add_header(d, m);
    GMimeObject *body = build_body(d);
    g_mime_message_set_mime_part(m, body);
    g_object_unref(body);
    buf_init(out, 0);
    if (!d->no_room)
        write_message(m, out);
    g_object_unref(m);
    return !d->no_room;
}
