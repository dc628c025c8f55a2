/*
 * Whether DNS answers at all, so that a dead resolver is waited for once and not by every
 * message anew. It is silent when somebody has waited in vain and nothing was answered
 * meanwhile; that is believed for PREFLIGHT_SILENCE_MS, or until an answer comes. Pure.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_SILENCE_H
#define STAGEPOST_ACCEPT_POLICY_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: DNS answers, as far as is known. */
struct silence {
    uint64_t last_answer_ms, until_ms; /* monotonic clock */
};

bool silence_lasts(const struct silence *s, uint64_t now_ms);
/* Somebody has waited from `since_ms` on and gives up. true: it is silent now, and
 * was not before. */
bool silence_note_late(struct silence *s, uint64_t since_ms, uint64_t now_ms);
/* true: it was silent until now. */
bool silence_note_answer(struct silence *s, uint64_t now_ms);

#endif
