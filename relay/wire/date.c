#include "relay/wire/date.h"

#include <stdio.h>
#include <time.h>

#include "relay/sys/base/bug.h"

static const char DAYS[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char MONTHS[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* RFC 5322 3.3: date-time = [ day-name "," ] date time */
void
date_format(int64_t unix_ms, char out[DATE_TEXT_BYTES + 1])
{
    const int64_t first = -2208988800, last = 253402300799; /* 1900-01-01, 9999-12-31 */
    int64_t seconds = unix_ms / 1000 - (unix_ms % 1000 < 0);
    time_t t = seconds < first ? first : seconds > last ? last : seconds;
    struct tm tm = {0};
    (void)gmtime_r(&t, &tm);
    /* The remainders tell the compiler what gmtime_r() promises. */
    (void)snprintf(out, DATE_TEXT_BYTES + 1, "%s, %02u %s %04u %02u:%02u:%02u +0000",
                   DAYS[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, MONTHS[tm.tm_mon % 12],
                   (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                   (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

/* ---- parsing: what both forms have ------------------------------------------------ */

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
    static const unsigned char LENGTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return LENGTHS[month - 1] + (month == 2 && leap ? 1u : 0u);
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

/* False: there is no such day, or it is before 1970. */
static bool
day_number(unsigned year, unsigned month, unsigned day, int64_t *days)
{
    if (year < 1970 || month == 0 || day == 0 || day > days_of_month(year, month))
        return false;
    *days = days_since_1970(year, month, day);
    return true;
}

/* ---- RFC 3339 5.6 -------------------------------------------------------------- */

static bool
cut_date(struct slice *in, int64_t *days)
{
    unsigned year, month, day;
    return cut_number(in, 4, 9999, &year) && cut_char(in, "-") && cut_number(in, 2, 12, &month) &&
           cut_char(in, "-") && cut_number(in, 2, 31, &day) && day_number(year, month, day, days);
}

static void
cut_fraction(struct slice *in, int64_t *ms)
{
    unsigned digit;
    for (int64_t worth = 100; cut_number(in, 1, 9, &digit); worth /= 10)
        *ms += worth * digit;
}

static bool
cut_clock(struct slice *in, int64_t *ms)
{
    unsigned hour, minute, second;
    if (!cut_number(in, 2, 23, &hour) || !cut_char(in, ":") || !cut_number(in, 2, 59, &minute) ||
        !cut_char(in, ":") || !cut_number(in, 2, 60, &second)) /* 60: a leap second */
        return false;
    *ms = ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000;
    return true;
}

static bool
cut_time(struct slice *in, int64_t *ms)
{
    if (!cut_clock(in, ms))
        return false;
    if (!cut_char(in, "."))
        return true;
    size_t before = in->n;
    cut_fraction(in, ms);
    return in->n < before && before - in->n <= 9;
}

/* colon: between hours and minutes, ":" or "". */
static bool
cut_offset(struct slice *in, const char *colon, int64_t *ms)
{
    unsigned hour, minute;
    bool west = in->n > 0 && in->p[0] == '-';
    if (!cut_char(in, "+-") || !cut_number(in, 2, 23, &hour) ||
        (colon[0] != '\0' && !cut_char(in, colon)) || !cut_number(in, 2, 59, &minute))
        return false;
    *ms = ((int64_t)hour * 60 + minute) * 60000 * (west ? -1 : 1);
    return true;
}

static bool
cut_zone(struct slice *in, int64_t *ms)
{
    *ms = 0;
    return cut_char(in, "Zz") || cut_offset(in, ":", ms);
}

/* False: before 1970. */
static bool
join(int64_t days, int64_t time_ms, int64_t zone_ms, int64_t *unix_ms)
{
    int64_t at = days * 86400000 + time_ms - zone_ms;
    if (at >= 0)
        *unix_ms = at;
    return at >= 0;
}

bool
date_parse_rfc3339(struct slice text, int64_t *unix_ms)
{
    int64_t days, time, zone;
    if (!cut_date(&text, &days) || !cut_char(&text, "Tt ") || !cut_time(&text, &time) ||
        !cut_zone(&text, &zone) || text.n > 0)
        return false;
    return join(days, time, zone, unix_ms);
}

/* ---- RFC 5322 3.3 -------------------------------------------------------------- */

/* Which of the names, each of three letters in any case, comes first; it is cut. */
static bool
cut_name(struct slice *in, const char names[][4], unsigned count, unsigned *index)
{
    for (*index = 0; *index < count; ++*index)
        if (slice_starts_nocase(*in, slice_from(names[*index], 3))) {
            slice_cut(in, 3);
            return true;
        }
    return false;
}

/* Spaces between two parts: at least one. */
static bool
cut_spaces(struct slice *in)
{
    size_t before = in->n;
    *in = slice_trim(*in);
    return in->n < before;
}

static bool
cut_mail_day(struct slice *in, unsigned *day)
{
    unsigned name;
    if (cut_name(in, DAYS, ARRAY_LEN(DAYS), &name) && (!cut_char(in, ",") || !cut_spaces(in)))
        return false;
    return (cut_number(in, 2, 31, day) || cut_number(in, 1, 9, day)) && cut_spaces(in);
}

static bool
cut_mail_zone(struct slice *in, int64_t *ms)
{
    *ms = 0;
    if (!slice_eq_nocase(*in, SLICE("GMT")) && !slice_eq_nocase(*in, SLICE("UT")))
        return cut_offset(in, "", ms);
    slice_cut(in, in->n);
    return true;
}

bool
date_parse(struct slice text, int64_t *unix_ms)
{
    int64_t days, time, zone;
    unsigned day, month, year;
    if (!cut_mail_day(&text, &day) || !cut_name(&text, MONTHS, ARRAY_LEN(MONTHS), &month) ||
        !cut_spaces(&text) || !cut_number(&text, 4, 9999, &year) || !cut_spaces(&text) ||
        !cut_clock(&text, &time) || !cut_spaces(&text) || !cut_mail_zone(&text, &zone) ||
        text.n > 0 || !day_number(year, month + 1, day, &days))
        return false;
    return join(days, time, zone, unix_ms);
}
