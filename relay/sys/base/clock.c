#include "relay/sys/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t sched_offset_ms;

static uint64_t
now_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t
clock_mono_us(void)
{
    return now_us(CLOCK_BOOTTIME);
}

uint64_t
clock_mono_ms(void)
{
    return clock_mono_us() / 1000u;
}

int64_t
clock_sched_unix_ms(void)
{
    return (int64_t)(now_us(CLOCK_REALTIME) / 1000u) + sched_offset_ms;
}

void
clock_sched_set_offset_ms(int64_t offset_ms)
{
    sched_offset_ms = offset_ms;
}

int64_t
clock_sched_offset_ms(void)
{
    return sched_offset_ms;
}

void
clock_format_rfc3339(int64_t unix_ms, char out[25])
{
    time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (unix_ms < 0 || gmtime_r(&s, &tm) == NULL || tm.tm_year > 8099) {
        snprintf(out, 25, "1970-01-01T00:00:00.000Z");
        return;
    }
    char day[21];
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 25, "%.19s.%03uZ", day, (unsigned)(unix_ms % 1000) % 1000u);
}

#ifdef STAGEPOST_TEST_BUILD
static uint64_t
time_scale(void)
{
    static uint64_t scale;
    if (scale == 0) {
        const char *text = getenv("STAGEPOST_TIME_SCALE");
        long v = text != NULL ? strtol(text, NULL, 10) : 1;
        scale = v >= 1 && v <= 100000 ? (uint64_t)v : 1;
    }
    return scale;
}

uint64_t
clock_scaled_ms(uint64_t timeout_ms)
{
    uint64_t ms = timeout_ms / time_scale();
    return ms > 0 ? ms : 1;
}
#else
uint64_t
clock_scaled_ms(uint64_t timeout_ms)
{
    return timeout_ms;
}
#endif
