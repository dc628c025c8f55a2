/* UTF-8 (RFC 3629): no overlong forms, no surrogates. */
#ifndef STAGEPOST_BASE_UTF8_H
#define STAGEPOST_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

/* Length of the valid UTF-8 sequence (RFC 3629 4) at the front: 1 to 4; 0 when
 * there is none. `code` receives the code point; it may be NULL. */
size_t utf8_sequence(struct slice s, uint32_t *code);
bool utf8_is_valid(struct slice s);

#endif
