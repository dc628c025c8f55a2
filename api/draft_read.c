#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

enum { KEY_SHOWN_MAX = 100 };

bool
draft_fail(struct draft *d, const char *code, const char *detail, const char *pointer, ...)
{
    char text[DRAFT_POINTER_MAX];
    va_list args;
    va_start(args, pointer);
    vsnprintf(text, sizeof text, pointer, args);
    va_end(args);
    return field_errors_add(d->errors, slice_str(text), code, detail);
}

void
draft_pointer(char out[DRAFT_POINTER_MAX], const char *parent, const char *key)
{
    size_t n = (size_t)snprintf(out, DRAFT_POINTER_MAX / 2, "%s/", parent);
    for (unsigned i = 0; key[i] != '\0' && i < KEY_SHOWN_MAX / 2; i++) {
        bool escaped = key[i] == '~' || key[i] == '/';
        if (escaped)
            out[n++] = '~';
        out[n++] = !escaped ? key[i] : key[i] == '~' ? '0' : '1';
    }
    out[n] = '\0';
}

bool
draft_check_line(struct draft *d, struct slice text, size_t max, const char *pointer)
{
    if (text.n > max)
        return draft_fail(d, "too_long", "the text is too long", "%s", pointer);
    return text_is_line(text) ||
           draft_fail(d, "control_character",
                      "line breaks, NUL and other control characters cannot stand here", "%s",
                      pointer);
}

static bool
read_subject(struct draft *d, json_t *v)
{
    if (!json_is_string(v))
        return draft_fail(d, "wrong_type", "must be a string", "/subject");
    d->has_subject = true;
    if (!draft_check_line(d, reader_string(v), API_SUBJECT_MAX, "/subject"))
        return false;
    d->subject = slice_trim(reader_string(v)); /* no line breaks are left: spaces */
    return true;
}

static bool
read_body(struct draft *d, json_t *v, const char *pointer, struct slice *out)
{
    if (!json_is_string(v))
        return draft_fail(d, "wrong_type", "must be a string", "%s", pointer);
    *out = reader_string(v);
    if (out->n > 0 && memchr(out->p, '\0', out->n) != NULL)
        return draft_fail(d, "control_character", "NUL cannot stand in a text", "%s", pointer);
    return true;
}

static bool
read_text(struct draft *d, json_t *v)
{
    d->has_text = true;
    return read_body(d, v, "/text", &d->text);
}

static bool
read_html(struct draft *d, json_t *v)
{
    d->has_html = true;
    return read_body(d, v, "/html", &d->html);
}

static bool
read_from(struct draft *d, json_t *v)
{
    struct draft_list *from = &d->lists[DRAFT_FROM];
    if (!draft_read_list(d, v, "/from", from))
        return false;
    if (from->count != 1)
        return draft_fail(d, "one_sender", "exactly one address is needed", "/from");
    return true;
}

/* RFC 5321 4.5.3.1.10: each recipient once, whichever fields name it. */
static bool
add_recipient(struct draft *d, const struct draft_mailbox *m)
{
    for (unsigned i = 0; i < d->recipient_count; i++)
        if (slice_eq(d->recipients[i].address, m->address))
            return true;
    if (d->recipient_count == API_RECIPIENTS_MAX)
        return false;
    d->recipients[d->recipient_count++] =
        (struct submit_recipient){.address = m->address, .domain = m->domain};
    return true;
}

static bool
read_recipients(struct draft *d, json_t *v, enum draft_list_kind kind, const char *pointer)
{
    struct draft_list *list = &d->lists[kind];
    if (!draft_read_list(d, v, pointer, list))
        return false;
    if (d->recipients == NULL)
        d->recipients = arena_alloc(d->arena, sizeof *d->recipients * API_RECIPIENTS_MAX);
    if (d->recipients == NULL)
        return d->no_room = true, false;
    for (unsigned i = 0; i < list->count; i++)
        if (!add_recipient(d, &list->v[i]))
            return draft_fail(d, "too_many", "too many recipients", "%s", pointer);
    return true;
}

static bool
read_to(struct draft *d, json_t *v)
{
    return read_recipients(d, v, DRAFT_TO, "/to");
}

static bool
read_cc(struct draft *d, json_t *v)
{
    return read_recipients(d, v, DRAFT_CC, "/cc");
}

static bool
read_bcc(struct draft *d, json_t *v)
{
    return read_recipients(d, v, DRAFT_BCC, "/bcc");
}

static bool
read_reply_to(struct draft *d, json_t *v)
{
    return draft_read_list(d, v, "/reply_to", &d->lists[DRAFT_REPLY_TO]);
}

static const struct draft_member MEMBERS[] = {
    {"from", read_from},
    {"to", read_to},
    {"cc", read_cc},
    {"bcc", read_bcc},
    {"reply_to", read_reply_to},
    {"subject", read_subject},
    {"text", read_text},
    {"html", read_html},
    {"headers", draft_read_headers},
    {"attachments", draft_read_attachments},
    {"list_unsubscribe", draft_read_unsubscribe},
    {"send_at", draft_read_send_at},
    {"expires_at", draft_read_expires_at},
    {"ttl", draft_read_ttl},
    {"class", draft_read_class},
    {"tags", draft_read_tags},
    {"metadata", draft_read_metadata},
    {NULL, NULL},
};

static bool
is_member(const struct draft_member *rows, const char *name)
{
    for (; rows->name != NULL; rows++)
        if (strcmp(rows->name, name) == 0)
            return true;
    return false;
}

void
draft_read_members(struct draft *d, json_t *object, const char *pointer,
                   const struct draft_member *rows)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, pointer, key);
        if (!is_member(rows, key))
            draft_fail(d, "unknown_field", "there is no such field", "%s", at);
    }
    /* null means absent: that is how many clients write a missing value. */
    for (; rows->name != NULL; rows++) {
        v = json_object_get(object, rows->name);
        if (v != NULL && !json_is_null(v))
            rows->read(d, v);
    }
}

/* A field that a member makes cannot be given as it is, too. */
static void
check_fields(struct draft *d)
{
    bool made = d->unsubscribe.url.n > 0 || d->unsubscribe.mailto.n > 0;
    for (unsigned i = 0; i < d->header_count; i++)
        if (made && slice_starts_nocase(d->headers[i].name, SLICE("List-Unsubscribe")))
            draft_fail(d, "duplicate_header", "list_unsubscribe makes this field", "/headers/%.*s",
                       SLICE_FMT(d->headers[i].name));
}

/* What must be there; only asked when nothing else is wrong. */
static void
check_whole(struct draft *d)
{
    if (d->lists[DRAFT_FROM].count == 0)
        draft_fail(d, "required", "a sender is needed", "/from");
    if (d->recipient_count == 0)
        draft_fail(d, "required", "at least one recipient in to, cc or bcc is needed", "/to");
    if (!d->has_text && !d->has_html && d->attachment_count == 0)
        draft_fail(d, "required", "text, html or an attachment is needed", "/text");
}

void
draft_read(struct draft *d, json_t *object)
{
    draft_read_members(d, object, "", MEMBERS);
    if (d->errors->total > 0 || d->no_room)
        return;
    check_whole(d);
    check_fields(d);
    draft_check_times(d);
}

void
draft_fini(struct draft *d)
{
    for (unsigned i = 0; i < d->attachment_count; i++)
        buf_fini(&d->attachments[i].content);
    d->attachment_count = 0;
}
