#include "relay/wire/date.h"

#include <stdio.h>
#include <time.h>

/* RFC 5322 3.3: date-time = [ day-name "," ] date time */
void
date_format(int64_t unix_ms, char out[DATE_TEXT_BYTES + 1])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const int64_t first = -2208988800, last = 253402300799; /* 1900-01-01, 9999-12-31 */
    int64_t seconds = unix_ms / 1000 - (unix_ms % 1000 < 0);
    time_t t = seconds < first ? first : seconds > last ? last : seconds;
    struct tm tm = {0};
    (void)gmtime_r(&t, &tm);
    /* The remainders tell the compiler what gmtime_r() promises. */
    (void)snprintf(out, DATE_TEXT_BYTES + 1, "%s, %02u %s %04u %02u:%02u:%02u +0000",
                   days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
                   (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                   (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}
