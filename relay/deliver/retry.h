/*
 * When to try again: the pauses of config_retry (RFC 5321 4.5.4.1), with jitter,
 * never behind the end of the message's retry period. Pure.
 */
#ifndef STAGEPOST_DELIVER_RETRY_H
#define STAGEPOST_DELIVER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/config/config.h"

/* The pause after `attempts` failed attempts (at least 1), before jitter. */
uint64_t retry_pause_ms(const struct config_retry *r, uint32_t attempts);
/* The next attempt after one that failed now. jitter_random: any 32 bits, they
 * choose the place between the ends of the jitter. Not later than
 * expires_unix_ms: at that time the recipient is given up. */
int64_t retry_at_unix_ms(const struct config_retry *r, uint32_t attempts, int64_t now_unix_ms,
                         int64_t expires_unix_ms, uint32_t jitter_random);
/* Whether the retry period is over (expires 0: never). */
bool retry_is_over(int64_t now_unix_ms, int64_t expires_unix_ms);

#endif
