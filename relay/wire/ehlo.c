#include "relay/wire/ehlo.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* Keywords that have no parameter that we read. */
static const struct {
    const char *keyword;
    size_t flag; /* offset of a bool in struct ehlo */
} flags[] = {
    {"PIPELINING", offsetof(struct ehlo, pipelining)},
    {"8BITMIME", offsetof(struct ehlo, eightbitmime)},
    {"SMTPUTF8", offsetof(struct ehlo, smtputf8)},
    {"STARTTLS", offsetof(struct ehlo, starttls)},
    {"DSN", offsetof(struct ehlo, dsn)},
    {"CHUNKING", offsetof(struct ehlo, chunking)},
    {"ENHANCEDSTATUSCODES", offsetof(struct ehlo, enhancedstatuscodes)},
    {"AUTH", offsetof(struct ehlo, auth)},
    {"REQUIRETLS", offsetof(struct ehlo, requiretls)},
};

/* RFC 1870 4: "SIZE", "SIZE 0" and what is no number tell no limit. */
static void
read_size(struct slice param, struct ehlo *out)
{
    uint64_t limit = 0;
    out->size = true;
    if (!slice_to_u64(param, &limit) || limit == 0)
        return;
    if (out->size_max_bytes == 0 || limit < out->size_max_bytes)
        out->size_max_bytes = limit;
}

/* RFC 9422 3: "LIMITS RCPTMAX=20 MAILMAX=5"; a value is 1 to 6 digits. */
static void
read_limits(struct slice params, struct ehlo *out)
{
    while (params.n > 0) {
        struct slice value = slice_cut_at(&params, ' ');
        struct slice name = slice_cut_at(&value, '=');
        uint64_t n;
        if (slice_eq_nocase(name, SLICE("RCPTMAX")) && value.n <= 6 && slice_to_u64(value, &n))
            out->rcpt_max = (unsigned)n;
    }
}

static void
read_line(struct slice line, struct ehlo *out)
{
    struct slice params = slice_trim(line);
    struct slice keyword = slice_cut_at(&params, ' ');
    params = slice_trim(params);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (slice_eq_nocase(keyword, slice_str(flags[i].keyword)))
            *(bool *)((char *)out + flags[i].flag) = true;
    if (slice_eq_nocase(keyword, SLICE("SIZE")))
        read_size(params, out);
    if (slice_eq_nocase(keyword, SLICE("LIMITS")))
        read_limits(params, out);
    /* Seen in the wild since before RFC 4954. */
    if (slice_starts_nocase(keyword, SLICE("AUTH=")))
        out->auth = true;
}

void
ehlo_parse(const struct reply *reply, struct ehlo *out)
{
    *out = (struct ehlo){0};
    if (reply->code != 250)
        return;
    struct slice rest = reply->text;
    (void)slice_cut_at(&rest, '\n');
    for (unsigned i = 0; i < EHLO_KEYWORDS_MAX && rest.n > 0; i++)
        read_line(slice_cut_at(&rest, '\n'), out);
}
