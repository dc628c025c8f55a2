/* Latencies of a run, kept whole (8 bytes each) and reported as percentiles. */
#ifndef STAGEPOST_BENCH_LATENCY_H
#define STAGEPOST_BENCH_LATENCY_H

#include <stdint.h>

struct latencies {
    uint64_t *us;
    unsigned count, cap;
};

void latencies_init(struct latencies *l, unsigned cap);
void latencies_fini(struct latencies *l);
void latencies_add(struct latencies *l, uint64_t us); /* beyond cap: dropped */
/* pct 0..100; sorts. 0 when there are none. */
uint64_t latencies_percentile_us(struct latencies *l, unsigned pct);

#endif
