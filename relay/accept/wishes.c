#include "relay/accept/wishes.h"

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/wire/text.h"

static const struct {
    const char *code, *text;
} FAULTS[WISH_FAULTS] = {
    [WISH_FINE] = {"", ""},
    [WISH_EMPTY] = {"required", "a name or value is empty"},
    [WISH_UNSAFE] = {"control_character",
                     "line breaks, NUL and other control characters cannot stand here"},
    [WISH_TOO_LONG] = {"too_long", "the text is too long"},
    [WISH_TOO_MANY] = {"too_many", "too many of them"},
    [WISH_DUPLICATE] = {"duplicate", "the name stands twice"},
    [WISH_LABELS_TOO_LONG] = {"too_long", "more text than is kept with a message"},
    [WISH_TIME] = {"invalid_time", "must be a time as 2026-11-23T08:15:30Z"},
    [WISH_TOO_FAR] = {"too_far", "more than 30 days from now"},
    [WISH_TOO_EARLY] = {"too_early", "it would expire before it is sent"},
    [WISH_TTL] = {"invalid_ttl", "must be a number of seconds, 1 to 2592000"},
    [WISH_TTL_AND_TIME] = {"one_of", "either a time or a number of seconds to expire"},
    [WISH_CLASS] = {"unknown_class", "must be transactional or bulk"},
    [WISH_BUDGET] = {"too_long", "more text than is kept with a message"},
};

const char *
wish_fault_code(enum wish_fault f)
{
    return FAULTS[f].code;
}

const char *
wish_fault_text(enum wish_fault f)
{
    return FAULTS[f].text;
}

/* ---- times and class -------------------------------------------------------------- */

enum wish_fault
wishes_send_at(struct wishes *w, int64_t unix_ms)
{
    static const int64_t MOST_MS = WISH_SEND_AT_DAYS_MAX * INT64_C(86400000);
    if (w->now_unix_ms > 0 && unix_ms > w->now_unix_ms + MOST_MS)
        return WISH_TOO_FAR;
    w->send_at_unix_ms = unix_ms > w->now_unix_ms ? unix_ms : 0;
    return WISH_FINE;
}

enum wish_fault
wishes_ttl(struct wishes *w, uint64_t seconds)
{
    if (seconds < 1 || seconds > WISH_TTL_S_MAX)
        return WISH_TTL;
    w->ttl_s = (unsigned)seconds;
    return WISH_FINE;
}

enum wish_fault
wishes_close_times(struct wishes *w)
{
    int64_t from = w->send_at_unix_ms > 0 ? w->send_at_unix_ms : w->now_unix_ms;
    if (w->ttl_s > 0 && w->expires_unix_ms > 0)
        return WISH_TTL_AND_TIME;
    if (w->ttl_s > 0)
        w->expires_unix_ms = from + (int64_t)w->ttl_s * 1000;
    else if (w->expires_unix_ms > 0 && w->expires_unix_ms <= from)
        return WISH_TOO_EARLY;
    return WISH_FINE;
}

enum wish_fault
wishes_class(struct wishes *w, struct slice name)
{
    if (slice_eq(name, SLICE("bulk")))
        w->klass = SUBMIT_CLASS_BULK;
    else if (slice_eq(name, SLICE("transactional")))
        w->klass = SUBMIT_CLASS_TRANSACTIONAL;
    else
        return WISH_CLASS;
    return WISH_FINE;
}

/* ---- labels ----------------------------------------------------------------------- */

static enum wish_fault
check_text(struct slice text, size_t max)
{
    if (text.n > max)
        return WISH_TOO_LONG;
    return text_is_line(text) ? WISH_FINE : WISH_UNSAFE;
}

enum wish_fault
wishes_tag(struct wishes *w, struct slice text)
{
    enum wish_fault f = text.n == 0 ? WISH_EMPTY : check_text(text, WISH_TAG_MAX);
    if (f == WISH_FINE && w->tag_count == WISH_TAGS_MAX)
        f = WISH_TOO_MANY;
    if (f == WISH_FINE)
        w->tag_list[w->tag_count++] = text;
    return f;
}

enum wish_fault
wishes_metadata(struct wishes *w, struct slice name, struct slice value)
{
    enum wish_fault f = name.n == 0 ? WISH_EMPTY : check_text(name, WISH_TAG_MAX);
    if (f == WISH_FINE)
        f = check_text(value, WISH_METADATA_VALUE_MAX);
    for (unsigned i = 0; f == WISH_FINE && i < w->pair_count; i++)
        if (slice_eq(w->pairs[i].name, name))
            f = WISH_DUPLICATE;
    if (f == WISH_FINE && w->pair_count == WISH_METADATA_MAX)
        f = WISH_TOO_MANY;
    if (f == WISH_FINE)
        w->pairs[w->pair_count++] = (struct wish_pair){name, value};
    return f;
}

static enum wish_fault
keep(struct buf *json, struct arena *arena, struct slice *out)
{
    enum wish_fault f = json->overflowed                          ? WISH_LABELS_TOO_LONG
                        : arena_copy(arena, buf_slice(json), out) ? WISH_FINE
                                                                  : WISH_BUDGET;
    buf_fini(json);
    return f;
}

enum wish_fault
wishes_close_tags(struct wishes *w, struct arena *arena)
{
    struct buf json;
    if (w->tag_count == 0)
        return WISH_FINE;
    buf_init(&json, WISH_LABELS_MAX);
    for (unsigned i = 0; i < w->tag_count; i++) {
        buf_add_char(&json, i == 0 ? '[' : ',');
        json_add_string(&json, w->tag_list[i]);
    }
    buf_add_char(&json, ']');
    return keep(&json, arena, &w->tags);
}

enum wish_fault
wishes_close_metadata(struct wishes *w, struct arena *arena)
{
    struct buf json;
    if (w->pair_count == 0)
        return WISH_FINE;
    buf_init(&json, WISH_LABELS_MAX);
    for (unsigned i = 0; i < w->pair_count; i++) {
        buf_add_char(&json, i == 0 ? '{' : ',');
        json_add_string(&json, w->pairs[i].name);
        buf_add_char(&json, ':');
        json_add_string(&json, w->pairs[i].value);
    }
    buf_add_char(&json, '}');
    return keep(&json, arena, &w->metadata);
}
