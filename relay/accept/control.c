#include "relay/accept/control.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/date.h"
#include "relay/wire/encoded_word.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

/* What a field is about. Those that can be said once are counted by this, so that
 * two names for one thing are as bad as one name twice. */
enum subject {
    SUBJECT_KEY,
    SUBJECT_SEND_AT,
    SUBJECT_EXPIRES,
    SUBJECT_TTL,
    SUBJECT_CLASS,
    SUBJECTS_ONCE,
    SUBJECT_MANY = SUBJECTS_ONCE,
};

struct reader {
    struct arena *arena;
    struct controls *out;
    bool said[SUBJECTS_ONCE];
    const char *why; /* NULL with a failure: the arena is used up */
};

/* `rest`: what the name has behind the row's. Slices are in the arena. */
typedef bool control_reader(struct reader *r, struct slice rest, struct slice value);

struct row {
    const char *name; /* with '-' at its end: all names that begin so */
    enum subject subject;
    control_reader *read;
    bool raw; /* the value as it stands, without encoded words */
};

/* ---- readers ---------------------------------------------------------------------- */

static bool
fail(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

static bool
judge(struct reader *r, enum wish_fault f)
{
    return f == WISH_FINE || fail(r, f == WISH_BUDGET ? NULL : wish_fault_text(f));
}

static bool
read_key(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] > 0x7e)
            value.n = 0;
    if (value.n == 0 || value.n > IDEMPOTENCY_KEY_MAX)
        return fail(r, "must have 1 to 256 printable ASCII characters");
    r->out->idempotency_key = value;
    return true;
}

static bool
read_tag(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    return judge(r, wishes_tag(&r->out->wishes, value));
}

/* "name=value" */
static bool
read_pair(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    if (slice_find(value, '=') == value.n)
        return fail(r, "must be name=value");
    struct slice name = slice_trim(slice_cut_at(&value, '='));
    return judge(r, wishes_metadata(&r->out->wishes, name, slice_trim(value)));
}

/* "name=value, name=value" */
static bool
read_pairs(struct reader *r, struct slice rest, struct slice value)
{
    while (value.n > 0)
        if (!read_pair(r, rest, slice_trim(slice_cut_at(&value, ','))))
            return false;
    return true;
}

/* The name is part of the field's. */
static bool
read_named(struct reader *r, struct slice rest, struct slice value)
{
    return judge(r, wishes_metadata(&r->out->wishes, rest, value));
}

/* Strings, and whole numbers as they are written. */
static bool
read_variable(struct reader *r, const char *key, const json_t *v)
{
    struct slice name, value;
    char number[24];
    if (json_is_integer(v))
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (!json_is_string(v))
        return fail(r, "values must be strings or whole numbers");
    struct slice text = json_is_integer(v)
                            ? slice_str(number)
                            : slice_from(json_string_value(v), json_string_length(v));
    if (!arena_copy(r->arena, slice_str(key), &name) || !arena_copy(r->arena, text, &value))
        return fail(r, NULL);
    return judge(r, wishes_metadata(&r->out->wishes, name, value));
}

/* {"name":"value"}; bounded by the size of a header field. */
static bool
read_variables(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    json_error_t e;
    const char *key;
    json_t *v, *root = json_loadb(value.p, value.n, JSON_REJECT_DUPLICATES, &e);
    bool ok = json_is_object(root) || fail(r, "must be a JSON object");
    json_object_foreach(root, key, v) ok = ok && read_variable(r, key, v);
    json_decref(root);
    return ok;
}

static bool
read_send_at(struct reader *r, struct slice rest, struct slice value)
{
    int64_t at;
    (void)rest;
    if (!date_parse_rfc3339(value, &at))
        return judge(r, WISH_TIME);
    return judge(r, wishes_send_at(&r->out->wishes, at));
}

static bool
read_deliver_by(struct reader *r, struct slice rest, struct slice value)
{
    int64_t at;
    (void)rest;
    if (!date_parse(value, &at))
        return fail(r, "must be a date as Mon, 23 Nov 2026 08:15:30 +0000");
    return judge(r, wishes_send_at(&r->out->wishes, at));
}

static bool
read_expires(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    return judge(r, date_parse_rfc3339(value, &r->out->wishes.expires_unix_ms) ? WISH_FINE
                                                                               : WISH_TIME);
}

static bool
read_ttl(struct reader *r, struct slice rest, struct slice value)
{
    uint64_t seconds = 0;
    (void)rest;
    return judge(r,
                 slice_to_u64(value, &seconds) ? wishes_ttl(&r->out->wishes, seconds) : WISH_TTL);
}

static bool
read_class(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    return judge(r, wishes_class(&r->out->wishes, value));
}

/* It has no effect, and is counted so that it can be told. */
static bool
ignore(struct reader *r, struct slice name)
{
    return r->out->ignored_count++ > 0 || arena_copy(r->arena, name, &r->out->ignored) ||
           fail(r, NULL);
}

/* Two streams exist everywhere; others are the other service's own. */
static bool
read_stream(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    if (slice_eq_nocase(value, SLICE("broadcast")))
        r->out->wishes.klass = SUBMIT_CLASS_BULK;
    else if (!slice_eq_nocase(value, SLICE("outbound")))
        return ignore(r, SLICE("X-PM-Message-Stream"));
    return true;
}

/* What would go wrong if it were left out: mail that was to be dropped is sent, mail
 * that was to be safe on its way is not. */
static bool
refuse_unless_no(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    return slice_eq_nocase(value, SLICE("no")) || slice_eq_nocase(value, SLICE("false")) ||
           fail(r, "is not possible here");
}

static bool
refuse_unknown(struct reader *r, struct slice rest, struct slice value)
{
    (void)rest;
    (void)value;
    return fail(r, "there is no such control field");
}

/* ---- the table -------------------------------------------------------------------- */

/* The first row that fits counts. read == NULL: ignored. */
static const struct row ROWS[] = {
    {"X-Stagepost-Idempotency-Key", SUBJECT_KEY, read_key, true},
    {"Resend-Idempotency-Key", SUBJECT_KEY, read_key, true},
    {"X-Stagepost-Tag", SUBJECT_MANY, read_tag, false},
    {"X-PM-Tag", SUBJECT_MANY, read_tag, false},
    {"X-Mailgun-Tag", SUBJECT_MANY, read_tag, false},
    {"X-Postal-Tag", SUBJECT_MANY, read_tag, false},
    {"X-Stagepost-Metadata", SUBJECT_MANY, read_pair, false},
    {"X-PM-Metadata-", SUBJECT_MANY, read_named, false},
    {"X-Mailgun-Variables", SUBJECT_MANY, read_variables, false},
    {"X-SES-Message-Tags", SUBJECT_MANY, read_pairs, false},
    {"X-Stagepost-Send-At", SUBJECT_SEND_AT, read_send_at, true},
    {"X-Mailgun-Deliver-By", SUBJECT_SEND_AT, read_deliver_by, true},
    {"X-Stagepost-Expires-At", SUBJECT_EXPIRES, read_expires, true},
    {"X-Stagepost-TTL", SUBJECT_TTL, read_ttl, true},
    {"X-Stagepost-Class", SUBJECT_CLASS, read_class, true},
    {"X-PM-Message-Stream", SUBJECT_CLASS, read_stream, true},
    {"X-Mailgun-Drop-Message", SUBJECT_MANY, refuse_unless_no, true},
    {"X-Mailgun-Require-TLS", SUBJECT_MANY, refuse_unless_no, true},
    {"X-Stagepost-", SUBJECT_MANY, refuse_unknown, true},
    {"X-PM-", SUBJECT_MANY, NULL, true},
    {"X-Mailgun-", SUBJECT_MANY, NULL, true},
    {"X-SES-", SUBJECT_MANY, NULL, true},
    /* What these hold is for their service alone: data of other recipients, often. */
    {"X-SMTPAPI", SUBJECT_MANY, NULL, true},
    {"X-MSYS-API", SUBJECT_MANY, NULL, true},
    {"X-MC-", SUBJECT_MANY, NULL, true},
    {"X-Mailin-", SUBJECT_MANY, NULL, true},
};

/* How the names of all rows begin. Every field of every message is asked about: few
 * are any further. */
static bool
may_be_one(struct slice name)
{
    static const struct slice BEGINNINGS[] = {
        SLICE("X-S"),
        SLICE("X-P"),
        SLICE("X-M"),
        SLICE("Resend-"),
    };
    char first = name.n > 0 ? name.p[0] : 'a';
    if (first != 'X' && first != 'x' && first != 'R' && first != 'r')
        return false;
    for (size_t i = 0; i < ARRAY_LEN(BEGINNINGS); i++)
        if (slice_starts_nocase(name, BEGINNINGS[i]))
            return true;
    return false;
}

static const struct row *
find_row(struct slice name)
{
    if (!may_be_one(name))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice row = slice_str(ROWS[i].name);
        bool prefix = row.p[row.n - 1] == '-';
        if (prefix ? slice_starts_nocase(name, row) : slice_eq_nocase(name, row))
            return &ROWS[i];
    }
    return NULL;
}

bool
control_is_one(struct slice name)
{
    return find_row(name) != NULL;
}

/* The value on one line. */
static bool
take_value(struct reader *r, const struct row *row, struct slice value, struct slice *out)
{
    struct buf line, text;
    buf_init(&line, HEADER_FIELD_MAX);
    buf_init(&text, (size_t)2 * HEADER_FIELD_MAX);
    BUG_ON(!header_unfold(value, &line)); /* header_check() has measured it */
    bool ok = (row->raw ? buf_add(&text, buf_slice(&line))
                        : encoded_word_decode(buf_slice(&line), &text)) ||
              fail(r, "has an encoded word that cannot be read");
    if (ok && !arena_copy(r->arena, slice_trim(buf_slice(&text)), out))
        ok = fail(r, NULL);
    buf_fini(&line);
    buf_fini(&text);
    return ok;
}

static bool
read_field(struct reader *r, const struct row *row, const struct header_field *f)
{
    struct slice value, name;
    if (row->read == NULL)
        return ignore(r, f->name);
    if (row->subject != SUBJECT_MANY && r->said[row->subject])
        return fail(r, "was said before");
    if (row->subject != SUBJECT_MANY)
        r->said[row->subject] = true;
    if (!take_value(r, row, f->value, &value))
        return false;
    if (!arena_copy(r->arena, slice_skip(f->name, strlen(row->name)), &name))
        return fail(r, NULL);
    return row->read(r, name, value);
}

/* What is said of all of them at the end has no field of its own to be named. */
static bool
close_all(struct reader *r)
{
    struct wishes *w = &r->out->wishes;
    return judge(r, wishes_close_times(w)) && judge(r, wishes_close_tags(w, r->arena)) &&
           judge(r, wishes_close_metadata(w, r->arena));
}

static const char *
explain(struct reader *r, struct slice name)
{
    char text[HEADER_NAME_MAX + 100];
    struct slice kept;
    if (r->why == NULL)
        return NULL;
    snprintf(text, sizeof text, "%.*s: %s", SLICE_FMT(name), r->why);
    return arena_copy(r->arena, slice_str(text), &kept) ? kept.p : NULL;
}

bool
control_read(struct slice section, struct arena *arena, struct controls *out, const char **why)
{
    struct reader r = {.arena = arena, .out = out};
    struct header_field f;
    while (header_cut(&section, &f) == PARSE_OK) {
        const struct row *row = find_row(f.name);
        if (row != NULL && !read_field(&r, row, &f)) {
            *why = explain(&r, f.name);
            return false;
        }
    }
    if (close_all(&r))
        return true;
    *why = explain(&r, SLICE("control fields"));
    return false;
}
