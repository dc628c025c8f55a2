#include "relay/sandbox/capture.h"

#include <gmime/gmime.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

enum { SEQUENCE_DIGITS = 16, UNFOLDED_MAX = 4096 };

void
capture_name_format(const struct capture_name *n, char out[CAPTURE_NAME_BYTES + 1])
{
    char id[ID_TEXT_BYTES + 1];
    id_format(n->id, id);
    snprintf(out, CAPTURE_NAME_BYTES + 1, "%016" PRIx64 "-%s.%s", n->sequence, id,
             n->temporary ? "tmp" : "eml");
}

static bool
hex_digit(char c, unsigned *value)
{
    if (c >= '0' && c <= '9')
        *value = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *value = (unsigned)(c - 'a') + 10;
    else
        return false;
    return true;
}

/* name: <16 hex digits> "-" <id> ( ".eml" / ".tmp" ) */
bool
capture_name_parse(struct slice text, struct capture_name *out)
{
    struct capture_name n = {0};
    unsigned digit;
    if (text.n != CAPTURE_NAME_BYTES)
        return false;
    struct slice sequence = slice_cut(&text, SEQUENCE_DIGITS);
    for (size_t i = 0; i < sequence.n; i++) {
        if (!hex_digit(sequence.p[i], &digit))
            return false;
        n.sequence = n.sequence << 4 | digit;
    }
    if (!slice_eq(slice_cut(&text, 1), SLICE("-")) ||
        !id_parse(slice_cut(&text, ID_TEXT_BYTES), &n.id))
        return false;
    n.temporary = slice_eq(text, SLICE(".tmp"));
    if (!n.temporary && !slice_eq(text, SLICE(".eml")))
        return false;
    *out = n;
    return true;
}

static bool
unfolded_field(struct slice message, struct slice name, struct buf *out)
{
    size_t body_at;
    struct header_field field;
    return header_find(header_section(message, &body_at), name, &field) &&
           header_unfold(field.value, out);
}

/* The first word of `text`; `text` moves behind it. Empty: none is left. */
static struct slice
word_cut(struct slice *text)
{
    size_t n = 0;
    *text = slice_trim(*text);
    while (n < text->n && text->p[n] != ' ' && text->p[n] != '\t')
        n++;
    return slice_cut(text, n);
}

bool
capture_find_message_id(struct slice message, struct msg_id *out)
{
    struct buf value;
    bool found = false;
    buf_init(&value, UNFOLDED_MAX);
    if (unfolded_field(message, SLICE("Received"), &value)) {
        struct slice rest = buf_slice(&value), word;
        while (!found && (word = word_cut(&rest)).n > 0) {
            struct slice next = rest;
            next = word_cut(&next);
            found = slice_eq_nocase(word, SLICE("id")) && id_parse(slice_cut_at(&next, ';'), out);
        }
    }
    buf_fini(&value);
    return found;
}

/* Encoded words (RFC 2047) are decoded for people; whatever comes out is
 * escaped by json_add_string(). */
static void
add_subject(struct slice message, struct buf *out)
{
    struct buf value;
    buf_init(&value, UNFOLDED_MAX);
    if (unfolded_field(message, SLICE("Subject"), &value) && buf_add_char(&value, '\0')) {
        char *text = g_mime_utils_header_decode_text(NULL, buf_slice(&value).p);
        json_add_string(out, text_clip(slice_str(text), SANDBOX_SUBJECT_MAX));
        g_free(text);
    } else {
        buf_add_str(out, "\"\"");
    }
    buf_fini(&value);
}

static void
add_message_id(struct slice message, struct buf *out)
{
    struct msg_id id;
    char text[ID_TEXT_BYTES + 1];
    if (!capture_find_message_id(message, &id)) {
        buf_add_str(out, "null");
        return;
    }
    id_format(id, text);
    buf_addf(out, "\"%s\"", text);
}

bool
capture_add_line(const struct capture *c, struct buf *out)
{
    char id[ID_TEXT_BYTES + 1], at[25];
    id_format(c->id, id);
    clock_format_rfc3339(c->received_at_unix_ms, at);
    buf_addf(out, "{\"id\":\"%s\",\"message\":", id);
    add_message_id(c->message, out);
    buf_add_str(out, ",\"from\":");
    json_add_string(out, c->from);
    buf_add_str(out, ",\"to\":[");
    for (size_t i = 0; i < c->to_count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_add_string(out, c->to[i]);
    }
    buf_add_str(out, "],\"subject\":");
    add_subject(c->message, out);
    return buf_addf(out, ",\"size\":%zu,\"received_at\":\"%s\"}\n", c->message.n, at) &&
           !out->overflowed;
}
