#include "api/parameters.h"

#include <stdio.h>

#include "api/api_internal.h"
#include "api/mailbox.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/date.h"

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
    if (query_find(&p->query, slice_str(name), &text) && !date_parse_rfc3339(text, unix_ms))
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
