#include "relay/deliver/retry.h"

#include "relay/sys/base/bug.h"

uint64_t
retry_pause_ms(const struct config_retry *r, uint32_t attempts)
{
    BUG_ON(attempts == 0);
    uint64_t pause = r->first_ms;
    for (uint32_t i = 1; i < attempts && pause < r->max_ms; i++) {
        /* Pauses are days at most: no product here comes near 64 bits. */
        uint64_t next = pause * r->factor_pct / 100;
        if (next <= pause)
            break; /* a factor of 100 % or less: constant pauses */
        pause = next;
    }
    return pause < r->max_ms ? pause : r->max_ms;
}

/* Uniform in 0..2*spread, in 65536 steps: no product passes 64 bits. */
static uint64_t
jitter_of(uint64_t spread, uint32_t random)
{
    uint64_t span = 2 * spread;
    return (span >> 16) * (random >> 16) + ((span & 0xffff) * (random >> 16) >> 16);
}

int64_t
retry_at_unix_ms(const struct config_retry *r, uint32_t attempts, int64_t now_unix_ms,
                 int64_t expires_unix_ms, uint32_t jitter_random)
{
    uint64_t pause = retry_pause_ms(r, attempts);
    /* Uniform in [-jitter, +jitter] percent of the pause. */
    uint64_t spread = pause * r->jitter_pct / 100;
    uint64_t at = pause - spread + jitter_of(spread, jitter_random);
    int64_t next = now_unix_ms + (int64_t)at;
    if (expires_unix_ms != 0 && next > expires_unix_ms)
        next = expires_unix_ms;
    return next > now_unix_ms ? next : now_unix_ms;
}

bool
retry_is_over(int64_t now_unix_ms, int64_t expires_unix_ms)
{
    return expires_unix_ms != 0 && now_unix_ms >= expires_unix_ms;
}
