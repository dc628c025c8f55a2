#include "relay/sys/config/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

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

bool
config_parse_rate(struct slice text, unsigned *out_count, uint64_t *out_per_ms)
{
    static const struct unit PERIODS[] = {{{"h", 1}, 3600000}, {{"m", 1}, 60000}, {{"s", 1}, 1000}};
    uint64_t count;
    struct slice number = slice_cut_at(&text, '/');
    if (!slice_to_u64(number, &count) || count < 1 || count > CREDENTIAL_QUOTA_MAX)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(PERIODS); i++)
        if (slice_eq(text, PERIODS[i].name)) {
            *out_count = (unsigned)count;
            *out_per_ms = PERIODS[i].factor;
            return true;
        }
    return false;
}

/* Two or four digits within [least, most]. */
static bool
cut_number(struct slice *text, size_t digits, uint64_t least, uint64_t most, int *out)
{
    uint64_t value;
    struct slice cut = slice_cut(text, digits);
    if (cut.n != digits || !slice_to_u64(cut, &value) || value < least || value > most)
        return false;
    *out = (int)value;
    return true;
}

static bool
cut_char(struct slice *text, char c)
{
    struct slice cut = slice_cut(text, 1);
    return cut.n == 1 && cut.p[0] == c;
}

bool
config_parse_date(struct slice text, uint64_t *out_unix_ms)
{
    struct tm tm = {0};
    int year = 0, month = 0;
    if (!cut_number(&text, 4, 1970, 9999, &year) || !cut_char(&text, '-') ||
        !cut_number(&text, 2, 1, 12, &month) || !cut_char(&text, '-') ||
        !cut_number(&text, 2, 1, 31, &tm.tm_mday))
        return false;
    if (text.n > 0 && (!cut_char(&text, 'T') || !cut_number(&text, 2, 0, 23, &tm.tm_hour) ||
                       !cut_char(&text, ':') || !cut_number(&text, 2, 0, 59, &tm.tm_min) ||
                       !cut_char(&text, ':') || !cut_number(&text, 2, 0, 59, &tm.tm_sec) ||
                       !cut_char(&text, 'Z') || text.n > 0))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    int day = tm.tm_mday;
    time_t t = timegm(&tm);
    if (t < 0 || tm.tm_mday != day) /* a day that the month does not have */
        return false;
    *out_unix_ms = (uint64_t)t * 1000;
    return true;
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
