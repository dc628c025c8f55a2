#include "relay/sys/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"

enum { BLOCK_BYTES = 4096, ALIGN = alignof(max_align_t) };

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    alignas(max_align_t) char mem[];
};

void
arena_init(struct arena *a, size_t budget_bytes)
{
    *a = (struct arena){.budget_bytes = budget_bytes};
}

void
arena_fini(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *gone = a->blocks;
        a->blocks = gone->next;
        free(gone);
    }
    a->used_bytes = 0;
}

void
arena_reset(struct arena *a)
{
    arena_fini(a);
}

static struct arena_block *
block_for(struct arena *a, size_t n)
{
    struct arena_block *b = a->blocks;
    if (b != NULL && b->cap - b->used >= n)
        return b;
    size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
    b = malloc(sizeof *b + cap);
    BUG_ON(b == NULL);
    *b = (struct arena_block){.next = a->blocks, .cap = cap};
    a->blocks = b;
    return b;
}

void *
arena_alloc(struct arena *a, size_t n)
{
    if (n > a->budget_bytes)
        return NULL;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (n == 0)
        n = ALIGN;
    if (n > a->budget_bytes - a->used_bytes)
        return NULL;
    struct arena_block *b = block_for(a, n);
    void *p = b->mem + b->used;
    b->used += n;
    a->used_bytes += n;
    memset(p, 0, n);
    return p;
}

bool
arena_copy(struct arena *a, struct slice s, struct slice *out)
{
    char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;
    if (p == NULL)
        return false;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    *out = slice_from(p, s.n);
    return true;
}
