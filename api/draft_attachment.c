#include <stdio.h>
#include <string.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* One member of one attachment. */
struct member {
    struct draft *d;
    struct draft_attachment *a;
    const char *pointer;
};

/* ---- media types, RFC 2045 5.1 ------------------------------------------ */

static bool
is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("()<>@,;:\\\"/[]?=", s.p[i]) != NULL)
            return false;
    return s.n > 0;
}

/* Everything up to the ';' that is not inside quotes. */
static struct slice
cut_parameter(struct slice *text)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < text->n && (quoted || text->p[i] != ';'); i++)
        if (text->p[i] == '"')
            quoted = !quoted;
    struct slice part = slice_cut(text, i);
    if (text->n > 0)
        slice_cut(text, 1);
    return slice_trim(part);
}

static bool
read_parameter(struct draft_attachment *a, struct slice text)
{
    struct slice name = slice_cut_at(&text, '=');
    if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"') {
        text = slice_from(text.p + 1, text.n - 2);
        if (slice_find(text, '"') < text.n || slice_find(text, '\\') < text.n)
            return false;
    } else if (!is_token(text)) {
        return false;
    }
    /* The file name has a member of its own, and `*` is RFC 2231. */
    if (!is_token(name) || slice_find(name, '*') < name.n || slice_eq_nocase(name, SLICE("name")) ||
        slice_eq_nocase(name, SLICE("boundary")) || a->parameter_count == API_TYPE_PARAMETERS_MAX)
        return false;
    for (unsigned i = 0; i < a->parameter_count; i++)
        if (slice_eq_nocase(a->parameters[i].name, name))
            return false;
    a->parameters[a->parameter_count++] = (struct draft_pair){name, text};
    return true;
}

/* Not multipart/ and message/: those must not be in base64 (RFC 2045 6.4). */
static bool
read_type(struct draft_attachment *a, struct slice text)
{
    struct slice subtype = cut_parameter(&text);
    struct slice type = slice_cut_at(&subtype, '/');
    if (!is_token(type) || !is_token(subtype) || slice_eq_nocase(type, SLICE("multipart")) ||
        slice_eq_nocase(type, SLICE("message")))
        return false;
    a->type = type;
    a->subtype = subtype;
    while (text.n > 0)
        if (!read_parameter(a, cut_parameter(&text)))
            return false;
    return true;
}

/* ---- members ------------------------------------------------------------ */

static bool
read_filename(struct member *m, struct slice v)
{
    if (!draft_check_line(m->d, v, API_FILENAME_MAX, m->pointer))
        return false;
    v = slice_trim(v); /* no line breaks are left: spaces */
    if (v.n == 0)
        return draft_fail(m->d, "required", "a file name is needed", "%s", m->pointer);
    /* Some readers decode it (RFC 2047 5 forbids) and see another name. */
    if (slice_find_slice(v, SLICE("=?")) < v.n)
        return draft_fail(m->d, "invalid_filename", "the name looks like an encoded word", "%s",
                          m->pointer);
    m->a->filename = v;
    return true;
}

static bool
read_content(struct member *m, struct slice v)
{
    if (base64_decode(v, &m->a->content))
        return true;
    return draft_fail(m->d, "invalid_base64", "not base64 (RFC 4648 4, padded, no line breaks)",
                      "%s", m->pointer);
}

static bool
read_content_type(struct member *m, struct slice v)
{
    if (!draft_check_line(m->d, v, API_TYPE_MAX, m->pointer))
        return false;
    if (!read_type(m->a, v))
        return draft_fail(m->d, "invalid_content_type", "not a media type that can be attached",
                          "%s", m->pointer);
    return true;
}

static bool
is_content_id(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && (s.p[i] == '\0' || !strchr("!#$%&'*+-/=?^_`{|}~.@", s.p[i])))
            return false;
    return s.n > 0 && s.n <= API_CONTENT_ID_MAX;
}

static bool
read_content_id(struct member *m, struct slice v)
{
    if (v.n >= 2 && v.p[0] == '<' && v.p[v.n - 1] == '>')
        v = slice_from(v.p + 1, v.n - 2);
    if (!is_content_id(v))
        return draft_fail(m->d, "invalid_content_id", "letters, digits and ._-@ only", "%s",
                          m->pointer);
    for (unsigned i = 0; i < m->d->attachment_count; i++)
        if (slice_eq(m->d->attachments[i].content_id, v))
            return draft_fail(m->d, "duplicate_content_id", "another attachment has it", "%s",
                              m->pointer);
    m->a->content_id = v;
    return true;
}

static const struct {
    const char *name;
    bool required;
    bool (*read)(struct member *m, struct slice v);
} MEMBERS[] = {
    {"filename", true, read_filename},
    {"content", true, read_content},
    {"content_type", false, read_content_type},
    {"content_id", false, read_content_id},
};

static void
refuse_unknown(struct draft *d, json_t *object, const char *pointer)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, pointer, key);
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(MEMBERS); i++)
            known = known || strcmp(key, MEMBERS[i].name) == 0;
        if (!known)
            draft_fail(d, "unknown_field", "there is no such field", "%s", at);
    }
}

static void
read_members(struct draft *d, json_t *object, const char *pointer, struct draft_attachment *a)
{
    for (size_t i = 0; i < ARRAY_LEN(MEMBERS); i++) {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, pointer, MEMBERS[i].name);
        struct member m = {d, a, at};
        json_t *v = json_object_get(object, MEMBERS[i].name);
        if ((v == NULL || json_is_null(v)) && !MEMBERS[i].required)
            continue;
        if (v == NULL || json_is_null(v))
            draft_fail(d, "required", "this field is needed", "%s", at);
        else if (!json_is_string(v))
            draft_fail(d, "wrong_type", "must be a string", "%s", at);
        else
            MEMBERS[i].read(&m, reader_string(v));
    }
}

static void
read_one(struct draft *d, json_t *v, unsigned index)
{
    char at[DRAFT_POINTER_MAX];
    snprintf(at, sizeof at, "/attachments/%u", index);
    if (!json_is_object(v)) {
        draft_fail(d, "wrong_type", "must be an object", "%s", at);
        return;
    }
    struct draft_attachment *a = &d->attachments[d->attachment_count];
    *a = (struct draft_attachment){.type = SLICE("application"), .subtype = SLICE("octet-stream")};
    buf_init(&a->content, HTTP_BODY_MAX);
    refuse_unknown(d, v, at);
    read_members(d, v, at, a);
    d->attachment_count++;
    json_object_del(v, "content"); /* decoded: not held twice */
}

bool
draft_read_attachments(struct draft *d, json_t *v)
{
    if (!json_is_array(v))
        return draft_fail(d, "wrong_type", "must be a list", "/attachments");
    if (json_array_size(v) > API_ATTACHMENTS_MAX)
        return draft_fail(d, "too_many", "too many attachments", "/attachments");
    unsigned before = d->errors->total;
    for (size_t i = 0; i < json_array_size(v); i++)
        read_one(d, json_array_get(v, i), (unsigned)i);
    return d->errors->total == before;
}
