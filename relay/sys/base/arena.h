/*
 * One arena per SMTP transaction or API request, with a byte budget: going
 * over it is an answer (452, 413), not a crash. Nothing from an arena outlives
 * arena_reset() or arena_fini() without being copied.
 */
#ifndef STAGEPOST_BASE_ARENA_H
#define STAGEPOST_BASE_ARENA_H

#include <stddef.h>

#include "relay/sys/base/slice.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t used_bytes, budget_bytes;
};

void arena_init(struct arena *a, size_t budget_bytes);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a); /* frees everything, keeps the budget */

/* Zeroed memory, aligned for any type; NULL when the budget is used up. */
void *arena_alloc(struct arena *a, size_t n);
/* Copies; false when the budget is used up. The copy is NUL-terminated too. */
bool arena_copy(struct arena *a, struct slice s, struct slice *out);

#endif
