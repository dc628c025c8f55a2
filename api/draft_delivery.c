/*
 * What the gateway does with a message besides its content: when it is sent
 * ("send_at"), until when ("expires_at" or "ttl"), as what ("class"), and under
 * which words its sender finds it again ("tags", "metadata"), which stand in no
 * header field. The rules are those of relay/accept/wishes.h.
 */
#include <stdio.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "relay/wire/date.h"

/* False, and noted, when it is a fault. */
static bool
judge(struct draft *d, enum wish_fault f, const char *pointer)
{
    if (f == WISH_BUDGET)
        d->no_room = true;
    else if (f != WISH_FINE)
        draft_fail(d, wish_fault_code(f), wish_fault_text(f), "%s", pointer);
    return f == WISH_FINE;
}

static bool
read_time(struct draft *d, json_t *v, const char *pointer, int64_t *out)
{
    if (!json_is_string(v))
        return draft_fail(d, "wrong_type", "must be a string", "%s", pointer);
    return judge(d, date_parse_rfc3339(reader_string(v), out) ? WISH_FINE : WISH_TIME, pointer);
}

bool
draft_read_send_at(struct draft *d, json_t *v)
{
    int64_t at = 0; /* for the analyser: read_time() has set it */
    return read_time(d, v, "/send_at", &at) && judge(d, wishes_send_at(&d->wishes, at), "/send_at");
}

bool
draft_read_expires_at(struct draft *d, json_t *v)
{
    return read_time(d, v, "/expires_at", &d->wishes.expires_unix_ms);
}

bool
draft_read_ttl(struct draft *d, json_t *v)
{
    json_int_t s = json_is_integer(v) ? json_integer_value(v) : 0;
    return judge(d, wishes_ttl(&d->wishes, s > 0 ? (uint64_t)s : 0), "/ttl");
}

bool
draft_check_times(struct draft *d)
{
    enum wish_fault f = wishes_close_times(&d->wishes);
    return judge(d, f, f == WISH_TTL_AND_TIME ? "/ttl" : "/expires_at");
}

bool
draft_read_class(struct draft *d, json_t *v)
{
    struct slice name = json_is_string(v) ? reader_string(v) : SLICE_NONE;
    return judge(d, wishes_class(&d->wishes, name), "/class");
}

/* ---- labels --------------------------------------------------------------- */

bool
draft_read_tags(struct draft *d, json_t *v)
{
    size_t i;
    json_t *tag;
    bool ok = true;
    if (!json_is_array(v))
        return draft_fail(d, "wrong_type", "must be a list", "/tags");
    if (json_array_size(v) > WISH_TAGS_MAX)
        return judge(d, WISH_TOO_MANY, "/tags");
    json_array_foreach(v, i, tag)
    {
        char at[DRAFT_POINTER_MAX];
        snprintf(at, sizeof at, "/tags/%zu", i);
        if (!json_is_string(tag))
            ok = draft_fail(d, "wrong_type", "must be a string, and not empty", "%s", at);
        else
            ok = judge(d, wishes_tag(&d->wishes, reader_string(tag)), at) && ok;
    }
    return ok && judge(d, wishes_close_tags(&d->wishes, d->arena), "/tags");
}

bool
draft_read_metadata(struct draft *d, json_t *v)
{
    const char *key;
    json_t *value;
    bool ok = true;
    if (!json_is_object(v))
        return draft_fail(d, "wrong_type", "must be an object", "/metadata");
    if (json_object_size(v) > WISH_METADATA_MAX)
        return judge(d, WISH_TOO_MANY, "/metadata");
    json_object_foreach(v, key, value)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, "/metadata", key);
        if (!json_is_string(value))
            ok = draft_fail(d, "wrong_type", "must be a string", "%s", at);
        else
            ok = judge(d, wishes_metadata(&d->wishes, slice_str(key), reader_string(value)), at) &&
                 ok;
    }
    return ok && judge(d, wishes_close_metadata(&d->wishes, d->arena), "/metadata");
}
