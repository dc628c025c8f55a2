/*
 * What the gateway does with a message besides its content: when it is sent
 * ("send_at"), until when ("expires_at" or "ttl"), as what ("class"), and under
 * which words its sender finds it again ("tags", "metadata"), which stand in no
 * header field.
 */
#include <string.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "api/json/writer.h"
#include "api/parameters.h"
#include "relay/sys/base/limits.h"

static bool
read_time(struct draft *d, json_t *v, const char *pointer, int64_t *out)
{
    if (!json_is_string(v))
        return draft_fail(d, "wrong_type", "must be a string", "%s", pointer);
    if (!time_parse(reader_string(v), out))
        return draft_fail(d, "invalid_time", "must be a time as 2026-11-23T08:15:30Z", "%s",
                          pointer);
    return true;
}

/* A time that has passed means now. */
bool
draft_read_send_at(struct draft *d, json_t *v)
{
    static const int64_t MOST_MS = API_SEND_AT_DAYS_MAX * INT64_C(86400000);
    if (!read_time(d, v, "/send_at", &d->send_at_unix_ms))
        return false;
    if (d->send_at_unix_ms > d->now_unix_ms + MOST_MS)
        return draft_fail(d, "too_far", "more than 30 days from now", "/send_at");
    if (d->send_at_unix_ms <= d->now_unix_ms)
        d->send_at_unix_ms = 0;
    return true;
}

bool
draft_read_expires_at(struct draft *d, json_t *v)
{
    return read_time(d, v, "/expires_at", &d->expires_unix_ms);
}

bool
draft_read_ttl(struct draft *d, json_t *v)
{
    json_int_t s = json_is_integer(v) ? json_integer_value(v) : 0;
    if (s < 1 || s > API_TTL_S_MAX)
        return draft_fail(d, "invalid_ttl", "must be a number of seconds, 1 to 2592000", "/ttl");
    d->ttl_s = (unsigned)s;
    return true;
}

bool
draft_check_times(struct draft *d)
{
    int64_t from = d->send_at_unix_ms > 0 ? d->send_at_unix_ms : d->now_unix_ms;
    if (d->ttl_s > 0 && d->expires_unix_ms > 0)
        return draft_fail(d, "one_of", "either expires_at or ttl", "/ttl");
    if (d->ttl_s > 0)
        d->expires_unix_ms = from + (int64_t)d->ttl_s * 1000;
    else if (d->expires_unix_ms > 0 && d->expires_unix_ms <= from)
        return draft_fail(d, "too_early", "it would expire before it is sent", "/expires_at");
    return true;
}

bool
draft_read_class(struct draft *d, json_t *v)
{
    const char *name = json_is_string(v) ? json_string_value(v) : "";
    if (strcmp(name, "bulk") == 0)
        d->klass = SUBMIT_CLASS_BULK;
    else if (strcmp(name, "transactional") == 0)
        d->klass = SUBMIT_CLASS_TRANSACTIONAL;
    else
        return draft_fail(d, "unknown_class", "must be transactional or bulk", "/class");
    return true;
}

/* ---- labels --------------------------------------------------------------- */

static bool
keep(struct draft *d, struct buf *json, const char *pointer, struct slice *out)
{
    if (json->overflowed)
        return draft_fail(d, "too_long", "more text than is kept with a message", "%s", pointer);
    if (!arena_copy(d->arena, buf_slice(json), out))
        return d->no_room = true, false;
    return true;
}

static bool
write_tags(struct draft *d, json_t *v, struct writer *w)
{
    size_t i;
    json_t *tag;
    bool ok = true;
    json_array_foreach(v, i, tag)
    {
        char at[DRAFT_POINTER_MAX];
        snprintf(at, sizeof at, "/tags/%zu", i);
        struct slice text = json_is_string(tag) ? reader_string(tag) : SLICE_NONE;
        if (text.n == 0)
            ok = draft_fail(d, "wrong_type", "must be a string, and not empty", "%s", at);
        else if (!draft_check_line(d, text, API_TAG_MAX, at))
            ok = false;
        else
            writer_string(w, NULL, text);
    }
    return ok;
}

bool
draft_read_tags(struct draft *d, json_t *v)
{
    struct buf json;
    struct writer w;
    if (!json_is_array(v))
        return draft_fail(d, "wrong_type", "must be a list", "/tags");
    if (json_array_size(v) > API_TAGS_MAX)
        return draft_fail(d, "too_many", "too many tags", "/tags");
    if (json_array_size(v) == 0)
        return true;
    buf_init(&json, API_LABELS_MAX);
    writer_init(&w, &json);
    writer_open(&w, NULL, '[');
    bool ok = write_tags(d, v, &w);
    writer_close(&w, ']');
    ok = ok && keep(d, &json, "/tags", &d->tags);
    buf_fini(&json);
    return ok;
}

static bool
write_metadata(struct draft *d, json_t *v, struct writer *w)
{
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach(v, key, value)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, "/metadata", key);
        if (key[0] == '\0')
            ok = draft_fail(d, "required", "a name is empty", "%s", at);
        else if (!json_is_string(value))
            ok = draft_fail(d, "wrong_type", "must be a string", "%s", at);
        else if (!draft_check_line(d, slice_str(key), API_TAG_MAX, at) ||
                 !draft_check_line(d, reader_string(value), API_METADATA_VALUE_MAX, at))
            ok = false;
        else
            writer_string(w, key, reader_string(value));
    }
    return ok;
}

bool
draft_read_metadata(struct draft *d, json_t *v)
{
    struct buf json;
    struct writer w;
    if (!json_is_object(v))
        return draft_fail(d, "wrong_type", "must be an object", "/metadata");
    if (json_object_size(v) > API_METADATA_MAX)
        return draft_fail(d, "too_many", "too many entries", "/metadata");
    if (json_object_size(v) == 0)
        return true;
    buf_init(&json, API_LABELS_MAX);
    writer_init(&w, &json);
    writer_open(&w, NULL, '{');
    bool ok = write_metadata(d, v, &w);
    writer_close(&w, '}');
    ok = ok && keep(d, &json, "/metadata", &d->metadata);
    buf_fini(&json);
    return ok;
}
