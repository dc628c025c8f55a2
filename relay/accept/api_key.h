/*
 * API keys are known by their SHA-256 only: they are random, so that it needs
 * no salt and no cost.
 */
#ifndef STAGEPOST_ACCEPT_API_KEY_H
#define STAGEPOST_ACCEPT_API_KEY_H

#include <stdbool.h>

#include "relay/sys/base/slice.h"

enum { API_KEY_DIGEST_HEX = 64 };

/* In lower-case hex digits, without NUL. */
void api_key_digest(struct slice key, char hex[API_KEY_DIGEST_HEX]);
/* Whether a stored digest ("" or NULL: of no key) is this one. Constant time. */
bool api_key_is(const char *stored, const char hex[API_KEY_DIGEST_HEX]);

#endif
