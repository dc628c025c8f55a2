/*
 * The two clocks. Nothing else in the program asks for the time.
 *   monotonic: leases, deadlines, latency. CLOCK_BOOTTIME, never faked, goes on
 *              while the machine sleeps.
 *   schedule:  retry times, expiry, quotas and every time that is shown: wall
 *              clock plus an offset that development mode can advance.
 */
#ifndef STAGEPOST_BASE_CLOCK_H
#define STAGEPOST_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);

int64_t clock_sched_unix_ms(void);
/* Offset of the schedule clock in ms; the dataset keeps it (queue/). */
void clock_sched_set_offset_ms(int64_t offset_ms);
int64_t clock_sched_offset_ms(void);

/* "2026-11-23T08:15:30.123Z", 24 characters and a NUL. */
void clock_format_rfc3339(int64_t unix_ms, char out[25]);

/*
 * Test builds scale protocol time limits: STAGEPOST_TIME_SCALE=20 makes a
 * five-minute limit fifteen seconds. Release builds return timeout_ms as it is.
 */
uint64_t clock_scaled_ms(uint64_t timeout_ms);

#endif
