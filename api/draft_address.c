#include <stdio.h>
#include <string.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "api/mailbox.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

/* One address beyond ASCII, wherever it stands, makes it a message that only
 * servers with SMTPUTF8 take (RFC 6531). Its domain never does: it is in A-labels. */
static bool
read_email(struct draft *d, struct slice text, const char *pointer, struct draft_mailbox *out)
{
    struct api_mailbox m;
    const char *why;
    if (!mailbox_read(text, d->arena, &m, &why))
        return draft_fail(d, "invalid_address", why, "%s", pointer);
    d->smtputf8 = d->smtputf8 || !text_is_ascii(m.address);
    out->address = m.address;
    out->domain = m.domain;
    return true;
}

/* "a@b.example, Bob <c@d.example>" is not one mailbox with an odd name: taking
 * it for one would lose a recipient. */
static bool
is_several(struct slice name)
{
    bool at = slice_find(name, '@') < name.n;
    bool comma = slice_find(name, ',') < name.n || slice_find(name, ';') < name.n;
    return slice_find(name, '<') < name.n || slice_find(name, '>') < name.n || (at && comma);
}

/* A display name as people write it before "<": quotes around it are taken off. */
static bool
read_name(struct draft *d, struct slice text, const char *pointer, struct slice *out)
{
    text = slice_trim(text);
    if (text.n < 2 || text.p[0] != '"' || text.p[text.n - 1] != '"') {
        if (is_several(text))
            return draft_fail(d, "invalid_address", "must be one address", "%s", pointer);
        *out = text;
        return true;
    }
    text = slice_from(text.p + 1, text.n - 2);
    char *to = arena_alloc(d->arena, text.n + 1);
    if (to == NULL)
        return d->no_room = true, false;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\' && i + 1 < text.n)
            i++;
        to[n++] = text.p[i];
    }
    *out = slice_trim(slice_from(to, n));
    return true;
}

static bool
read_string(struct draft *d, struct slice text, const char *pointer, struct draft_mailbox *out)
{
    if (!draft_check_line(d, text, API_NAME_MAX + ADDRESS_PATH_MAX + 4, pointer))
        return false;
    size_t open = text.n;
    if (text.n > 0 && text.p[text.n - 1] == '>')
        while (open > 0 && text.p[open - 1] != '<')
            open--;
    if (open == text.n || open == 0)
        return read_email(d, text, pointer, out);
    struct slice email = slice_from(text.p + open, text.n - open - 1);
    return read_name(d, slice_from(text.p, open - 1), pointer, &out->name) &&
           read_email(d, email, pointer, out);
}

static bool
read_object(struct draft *d, json_t *v, const char *pointer, struct draft_mailbox *out)
{
    const char *key;
    json_t *member;
    unsigned before = d->errors->total;
    json_object_foreach(v, key, member)
    {
        char at[DRAFT_POINTER_MAX];
        bool name = strcmp(key, "name") == 0;
        draft_pointer(at, pointer, key);
        if (!name && strcmp(key, "email") != 0)
            draft_fail(d, "unknown_field", "there is no such field", "%s", at);
        else if (name && json_is_null(member))
            continue;
        else if (!json_is_string(member))
            draft_fail(d, "wrong_type", "must be a string", "%s", at);
        else if (name && draft_check_line(d, reader_string(member), API_NAME_MAX, at))
            out->name = slice_trim(reader_string(member));
        else if (!name)
            read_email(d, reader_string(member), at, out);
    }
    if (d->errors->total == before && out->address.n == 0)
        return draft_fail(d, "required", "an address is needed", "%s/email", pointer);
    return d->errors->total == before && !d->no_room;
}

static bool
read_one(struct draft *d, json_t *v, const char *pointer, struct draft_mailbox *out)
{
    *out = (struct draft_mailbox){.name = SLICE_NONE};
    if (json_is_string(v))
        return read_string(d, reader_string(v), pointer, out);
    if (json_is_object(v))
        return read_object(d, v, pointer, out);
    return draft_fail(d, "wrong_type", "must be an address or an object with email and name", "%s",
                      pointer);
}

bool
draft_read_list(struct draft *d, json_t *v, const char *pointer, struct draft_list *out)
{
    bool list = json_is_array(v);
    size_t n = list ? json_array_size(v) : 1;
    if (n > API_RECIPIENTS_MAX)
        return draft_fail(d, "too_many", "too many addresses", "%s", pointer);
    out->v = arena_alloc(d->arena, sizeof *out->v * (n > 0 ? n : 1));
    if (out->v == NULL)
        return d->no_room = true, false;
    bool ok = true;
    for (size_t i = 0; i < n && !d->no_room; i++) {
        char at[DRAFT_POINTER_MAX];
        snprintf(at, sizeof at, list ? "%s/%zu" : "%s", pointer, i);
        ok = read_one(d, list ? json_array_get(v, i) : v, at, &out->v[i]) && ok;
    }
    out->count = (unsigned)n;
    return ok && !d->no_room;
}
