#include "api/parameters.h"

#include <stdio.h>

#include "api/api_internal.h"
#include "api/mailbox.h"
#include "relay/sys/base/limits.h"

/* ---- times (RFC 3339 5.6) --------------------------------------------------- */

/* Exactly `digits` of them. */
static bool
cut_number(struct slice *in, size_t digits, unsigned most, unsigned *out)
{
    uint64_t v;
    struct slice rest = *in, text = slice_cut(&rest, digits);
    if (text.n != digits || !slice_to_u64(text, &v) || v > most)
        return false;
    *out = (unsigned)v;
    *in = rest;
    return true;
}

static bool
cut_char(struct slice *in, const char *one_of)
{
    if (in->n == 0)
        return false;
    for (; *one_of != '\0'; one_of++)
        if (*one_of == in->p[0]) {
            slice_cut(in, 1);
            return true;
        }
    return false;
}

static unsigned
days_of_month(unsigned year, unsigned month)
{
    static const unsigned char DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return DAYS[month - 1] + (month == 2 && leap ? 1u : 0u);
}

static int64_t
days_since_1970(unsigned year, unsigned month, unsigned day)
{
    int64_t days = day - 1;
    for (unsigned m = 1; m < month; m++)
        days += days_of_month(year, m);
    int64_t y = (int64_t)year - 1;
    return days + 365 * ((int64_t)year - 1970) + (y / 4 - y / 100 + y / 400) -
           (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static bool
cut_date(struct slice *in, int64_t *days)
{
    unsigned year, month, day;
    if (!cut_number(in, 4, 9999, &year) || year < 1970 || !cut_char(in, "-") ||
        !cut_number(in, 2, 12, &month) || month == 0 || !cut_char(in, "-") ||
        !cut_number(in, 2, 31, &day) || day == 0 || day > days_of_month(year, month))
        return false;
    *days = days_since_1970(year, month, day);
    return true;
}

static void
cut_fraction(struct slice *in, int64_t *ms)
{
    unsigned digit;
    for (int64_t worth = 100; cut_number(in, 1, 9, &digit); worth /= 10)
        *ms += worth * digit;
}

static bool
cut_time(struct slice *in, int64_t *ms)
{
    unsigned hour, minute, second;
    if (!cut_number(in, 2, 23, &hour) || !cut_char(in, ":") || !cut_number(in, 2, 59, &minute) ||
        !cut_char(in, ":") || !cut_number(in, 2, 60, &second)) /* 60: a leap second */
        return false;
    *ms = ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000;
    if (!cut_char(in, "."))
        return true;
    size_t before = in->n;
    cut_fraction(in, ms);
    return in->n < before && before - in->n <= 9;
}

static bool
cut_zone(struct slice *in, int64_t *ms)
{
    unsigned hour, minute;
    *ms = 0;
    if (cut_char(in, "Zz"))
        return true;
    bool west = in->n > 0 && in->p[0] == '-';
    if (!cut_char(in, "+-") || !cut_number(in, 2, 23, &hour) || !cut_char(in, ":") ||
        !cut_number(in, 2, 59, &minute))
        return false;
    *ms = ((int64_t)hour * 60 + minute) * 60000 * (west ? -1 : 1);
    return true;
}

bool
time_parse(struct slice text, int64_t *unix_ms)
{
    int64_t days, time, zone;
    if (!cut_date(&text, &days) || !cut_char(&text, "Tt ") || !cut_time(&text, &time) ||
        !cut_zone(&text, &zone) || text.n > 0)
        return false;
    int64_t at = days * 86400000 + time - zone;
    if (at < 0)
        return false;
    *unix_ms = at;
    return true;
}

/* ---- parameters ------------------------------------------------------------- */

static bool
is_one_of(const char *names, struct slice name)
{
    struct slice rest = slice_str(names);
    while (rest.n > 0)
        if (slice_eq(slice_cut_at(&rest, ' '), name))
            return true;
    return slice_eq(name, SLICE("tenant"));
}

static void
wrong(struct parameters *p, struct slice name, const char *code, const char *why)
{
    char pointer[64];
    struct slice clipped = slice_from(name.p, name.n < 48 ? name.n : 48);
    int n = snprintf(pointer, sizeof pointer, "/%.*s", SLICE_FMT(clipped));
    field_errors_add(&p->errors, slice_from(pointer, (size_t)n), code, why);
}

bool
parameters_read(struct parameters *p, struct http_request *r, const char *names)
{
    *p = (struct parameters){.request = r};
    field_errors_init(&p->errors, &r->arena);
    if (query_parse(r->head.query, &r->arena, &p->query) != PARSE_OK) {
        problem_say(r, 400, "bad_query", "the query cannot be read");
        return false;
    }
    for (unsigned i = 0; i < p->query.count; i++) {
        struct slice name = p->query.pairs[i].name;
        if (!is_one_of(names, name))
            wrong(p, name, "unknown_field", "there is no such parameter here");
        for (unsigned j = 0; j < i; j++)
            if (slice_eq(p->query.pairs[j].name, name)) {
                wrong(p, name, "duplicate", "the parameter stands twice");
                break;
            }
    }
    return true;
}

struct slice
parameters_text(const struct parameters *p, const char *name)
{
    struct slice value = SLICE_NONE;
    query_find(&p->query, slice_str(name), &value);
    return value;
}

bool
parameters_wrong(struct parameters *p, const char *name, const char *code, const char *why)
{
    wrong(p, slice_str(name), code, why);
    return false;
}

void
parameters_number(struct parameters *p, const char *name, unsigned most, unsigned *out)
{
    struct slice text;
    uint64_t v;
    char why[64];
    if (!query_find(&p->query, slice_str(name), &text))
        return;
    snprintf(why, sizeof why, "a number from 1 to %u is needed", most);
    if (!slice_to_u64(text, &v) || v == 0 || v > most)
        parameters_wrong(p, name, "out_of_range", why);
    else
        *out = (unsigned)v;
}

void
parameters_time(struct parameters *p, const char *name, int64_t *unix_ms)
{
    struct slice text;
    if (query_find(&p->query, slice_str(name), &text) && !time_parse(text, unix_ms))
        parameters_wrong(p, name, "invalid_time", "a time as in RFC 3339 is needed");
}

void
parameters_address(struct parameters *p, const char *name, struct slice *out)
{
    struct slice text;
    struct api_mailbox box;
    const char *why;
    if (!query_find(&p->query, slice_str(name), &text))
        return;
    if (mailbox_read(text, &p->request->arena, &box, &why))
        *out = box.address;
    else
        parameters_wrong(p, name, "invalid_address", why);
}

bool
parameters_good(struct parameters *p)
{
    if (p->errors.total == 0)
        return true;
    problem_respond(p->request, &(struct problem){.status = 422,
                                                  .code = "invalid_fields",
                                                  .detail = "some parameters are not valid",
                                                  .errors = &p->errors});
    return false;
}
