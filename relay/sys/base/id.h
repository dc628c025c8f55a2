/*
 * Message ids: UUIDv7 (RFC 9562 5.7), time-ordered, 66 random bits, the last
 * octet naming the partition of the queue that holds the message. The same id
 * stands in the HTTP answer, the 250, logs, events and the NDR.
 */
#ifndef STAGEPOST_BASE_ID_H
#define STAGEPOST_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

enum { ID_TEXT_BYTES = 36 };

struct msg_id {
    uint8_t b[16];
};

/* partition: 0..255. Aborts when the system has no randomness. */
struct msg_id id_new(unsigned partition);
unsigned id_partition(struct msg_id id);
bool id_eq(struct msg_id a, struct msg_id b);
void id_format(struct msg_id id, char out[ID_TEXT_BYTES + 1]); /* lower case */
/* Strict: 36 characters, hyphens in place, version 7; either case. */
bool id_parse(struct slice text, struct msg_id *out);

/* Fills with bytes from the system's generator; aborts when it fails. */
void random_bytes(void *out, size_t n);
/* Uniform in 0..bound-1; bound > 0. */
uint32_t random_below(uint32_t bound);

#endif
