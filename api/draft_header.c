/*
 * Custom header fields: {"headers": {"X-Campaign": "spring"}}. Names by RFC
 * 5322 3.6.8; denied are the fields that have a member of their own, those that
 * the gateway writes, and those that receivers believe (trace, authentication).
 */
#include "api/draft.h"
#include "api/json/reader.h"
#include "relay/accept/control.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* A row that ends in '-' denies every name that begins so. */
static const char *const DENIED[] = {
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "received",
    "received-spf",
    "return-path",
    "delivered-to",
    "dkim-signature",
    "domainkey-signature",
    "authentication-results",
    "mime-version",
    "idempotency-key",
    "arc-",
    "content-",
    "resent-",
};

/* Control fields too: they have members. */
static bool
is_denied(struct slice name)
{
    if (control_is_one(name))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(DENIED); i++) {
        struct slice row = slice_str(DENIED[i]);
        if (row.p[row.n - 1] == '-' ? slice_starts_nocase(name, row) : slice_eq_nocase(name, row))
            return true;
    }
    return false;
}

/* ftext: visible ASCII without the colon. */
static bool
is_field_name(struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < '!' || name.p[i] > '~' || name.p[i] == ':')
            return false;
    return name.n > 0 && name.n <= HEADER_NAME_MAX;
}

static bool
check_words(struct slice value)
{
    while (value.n > 0)
        if (slice_cut_at(&value, ' ').n > API_TOKEN_MAX)
            return false;
    return true;
}

static bool
read_value(struct draft *d, json_t *v, const char *pointer, struct slice *out)
{
    if (!json_is_string(v))
        return draft_fail(d, "wrong_type", "must be a string", "%s", pointer);
    if (!draft_check_line(d, reader_string(v), API_HEADER_VALUE_MAX, pointer))
        return false;
    *out = slice_trim(reader_string(v)); /* no line breaks are left: spaces */
    if (out->n == 0)
        return draft_fail(d, "required", "the value is empty", "%s", pointer);
    if (!check_words(*out))
        return draft_fail(d, "too_long", "a word is too long for a line", "%s", pointer);
    return true;
}

static bool
check_name(struct draft *d, struct slice name, const char *pointer)
{
    if (!is_field_name(name))
        return draft_fail(d, "invalid_header_name", "not the name of a header field", "%s",
                          pointer);
    if (is_denied(name))
        return draft_fail(d, "header_not_allowed", "this field cannot be set here", "%s", pointer);
    for (unsigned i = 0; i < d->header_count; i++)
        if (slice_eq_nocase(d->headers[i].name, name))
            return draft_fail(d, "duplicate_header", "the field stands twice", "%s", pointer);
    return true;
}

bool
draft_read_headers(struct draft *d, json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v))
        return draft_fail(d, "wrong_type", "must be an object", "/headers");
    if (json_object_size(v) > API_HEADERS_MAX)
        return draft_fail(d, "too_many", "too many header fields", "/headers");
    bool ok = true;
    json_object_foreach(v, key, value)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, "/headers", key);
        struct draft_pair pair = {.name = slice_str(key)};
        if (check_name(d, pair.name, at) && read_value(d, value, at, &pair.value))
            d->headers[d->header_count++] = pair;
        else
            ok = false;
    }
    return ok;
}
