#include "relay/sys/config/value.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/sys/base/bug.h"

struct unit {
    struct slice name;
    uint64_t factor;
};

/* Largest first: the first that divides a value is the one to write it in. */
static const struct unit DURATIONS[] = {
    {{"w", 1}, 7ull * 24 * 3600 * 1000},
    {{"d", 1}, 24ull * 3600 * 1000},
    {{"h", 1}, 3600ull * 1000},
    {{"m", 1}, 60ull * 1000},
    {{"s", 1}, 1000},
    {{"ms", 2}, 1},
};
static const struct unit SIZES[] = {
    {{"GB", 2}, 1ull << 30},
    {{"MB", 2}, 1ull << 20},
    {{"KB", 2}, 1ull << 10},
    {{"B", 1}, 1},
};

static bool
parse(struct slice text, const struct unit *units, size_t count, uint64_t *out)
{
    uint64_t number;
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    if (!slice_to_u64(slice_cut(&text, digits), &number))
        return false;
    for (size_t i = 0; i < count; i++)
        if (slice_eq(text, units[i].name)) {
            if (number > UINT64_MAX / units[i].factor)
                return false;
            *out = number * units[i].factor;
            return true;
        }
    return false;
}

bool
config_parse_duration(struct slice text, uint64_t *out_ms)
{
    return parse(text, DURATIONS, ARRAY_LEN(DURATIONS), out_ms);
}

bool
config_parse_size(struct slice text, uint64_t *out_bytes)
{
    return parse(text, SIZES, ARRAY_LEN(SIZES), out_bytes);
}

static void
format(uint64_t value, const struct unit *units, size_t count, char out[CONFIG_VALUE_TEXT])
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || value % units[i].factor != 0))
        i++;
    snprintf(out, CONFIG_VALUE_TEXT, "%" PRIu64 "%.*s", value / units[i].factor,
             SLICE_FMT(units[i].name));
}

void
config_format_duration(uint64_t ms, char out[CONFIG_VALUE_TEXT])
{
    format(ms, DURATIONS, ARRAY_LEN(DURATIONS), out);
}

void
config_format_size(uint64_t bytes, char out[CONFIG_VALUE_TEXT])
{
    format(bytes, SIZES, ARRAY_LEN(SIZES), out);
}

unsigned
config_distance(struct slice a, struct slice b)
{
    enum { NAME_MAX_HERE = 64 };
    unsigned row[NAME_MAX_HERE + 1];
    if (a.n > NAME_MAX_HERE || b.n > NAME_MAX_HERE)
        return UINT16_MAX;
    for (unsigned j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 0; i < a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b.n; j++) {
            unsigned change = diagonal + (a.p[i] != b.p[j]);
            diagonal = row[j + 1];
            unsigned least = row[j] < diagonal ? row[j] + 1 : diagonal + 1;
            row[j + 1] = change < least ? change : least;
        }
    }
    return row[b.n];
}
