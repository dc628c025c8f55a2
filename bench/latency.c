#include "bench/latency.h"

#include <stdlib.h>

#include "relay/sys/base/bug.h"

void
latencies_init(struct latencies *l, unsigned cap)
{
    *l = (struct latencies){.us = calloc(cap, sizeof *l->us), .cap = cap};
    BUG_ON(l->us == NULL);
}

void
latencies_fini(struct latencies *l)
{
    free(l->us);
    *l = (struct latencies){0};
}

void
latencies_add(struct latencies *l, uint64_t us)
{
    if (l->count < l->cap)
        l->us[l->count++] = us;
}

static int
by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t
latencies_percentile_us(struct latencies *l, unsigned pct)
{
    if (l->count == 0)
        return 0;
    qsort(l->us, l->count, sizeof *l->us, by_size);
    return l->us[(uint64_t)(l->count - 1) * pct / 100];
}
