/*
 * What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 3, RFC 7677), as
 * text in the form of RFC 5803:
 *
 *   SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY
 *
 * salt and keys in base64. Neither the password nor what a client must know can be
 * computed from it but by guessing; who has it can pass himself off as the server.
 */
#ifndef STAGEPOST_CONFIG_SCRAM_KEY_H
#define STAGEPOST_CONFIG_SCRAM_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"

enum { SCRAM_DIGEST_BYTES = 32, SCRAM_KEY_TEXT_MAX = 256 };

struct scram_key {
    unsigned iterations; /* SCRAM_ITERATIONS_MIN to SCRAM_ITERATIONS_MAX */
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_bytes; /* SCRAM_SALT_MIN to SCRAM_SALT_MAX */
    uint8_t stored[SCRAM_DIGEST_BYTES], server[SCRAM_DIGEST_BYTES];
};

/* False, with nothing stored: not this form, or out of its ranges. */
bool scram_key_parse(struct slice text, struct scram_key *out);
void scram_key_format(const struct scram_key *key, char out[SCRAM_KEY_TEXT_MAX]);

/* Salt and iterations are those of both: only then can a client be told one salt
 * before it is known which of two passwords it has. */
bool scram_key_goes_with(const struct scram_key *a, const struct scram_key *b);

#endif
