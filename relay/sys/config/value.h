/*
 * Values with a unit, as the configuration file writes them: "10s", "4h",
 * "50MB". Digits and a unit, nothing between them; a number without a unit is
 * refused, because nobody remembers which one was meant.
 */
#ifndef STAGEPOST_CONFIG_VALUE_H
#define STAGEPOST_CONFIG_VALUE_H

#include "relay/sys/base/slice.h"

enum { CONFIG_VALUE_TEXT = 32 };

/* ms, s, m, h, d, w. false: not a duration, or more than 64 bits hold. */
bool config_parse_duration(struct slice text, uint64_t *out_ms);
/* B, KB, MB, GB; 1 KB is 1024 bytes. */
bool config_parse_size(struct slice text, uint64_t *out_bytes);

/* "100/m": so many in a second (s), minute (m) or hour (h); 1 to
 * CREDENTIAL_QUOTA_MAX. */
bool config_parse_rate(struct slice text, unsigned *out_count, uint64_t *out_per_ms);
/* RFC 3339 in UTC, "2027-01-31T12:00:00Z", or only its date: midnight. Years 1970
 * to 9999. */
bool config_parse_date(struct slice text, uint64_t *out_unix_ms);

/* In the largest unit that keeps it whole: 5400000 is "90m". */
void config_format_duration(uint64_t ms, char out[CONFIG_VALUE_TEXT]);
void config_format_size(uint64_t bytes, char out[CONFIG_VALUE_TEXT]);

/* How many letters must be changed, added or taken away to make b of a. */
unsigned config_distance(struct slice a, struct slice b);

#endif
