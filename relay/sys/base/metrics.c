#include "relay/sys/base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

struct metrics_slot {
    _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t ttd[METRICS_TTD_BUCKETS + 1]; /* the last: above all buckets */
    _Atomic uint64_t ttd_sum_ms;
};

static struct metrics_slot private_slot;

static struct {
    struct metrics_slot *all, *own;
    unsigned count;
} metrics = {&private_slot, &private_slot, 1}; /* one set of counters a process */

static const struct {
    const char *name, *labels, *help;
} TABLE[] = {
#define METRIC_ROW(id, name, labels, help) {name, labels, help},
    METRICS_TABLE(METRIC_ROW)
#undef METRIC_ROW
};

int
metrics_create(struct err *err)
{
    int fd = memfd_create("stagepost-metrics", MFD_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "metrics: memfd_create");
    if (ftruncate(fd, sizeof(struct metrics_slot) * METRICS_SLOTS_MAX) != 0) {
        err_set_errno(err, ERR_IO, "metrics: ftruncate");
        close(fd);
        return -1;
    }
    return fd;
}

int
metrics_attach(int fd, unsigned slot, struct err *err)
{
    BUG_ON(slot >= METRICS_SLOTS_MAX);
    void *mem = mmap(NULL, sizeof(struct metrics_slot) * METRICS_SLOTS_MAX, PROT_READ | PROT_WRITE,
                     MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        return err_set_errno(err, ERR_IO, "metrics: mmap");
    metrics.all = mem;
    metrics.own = metrics.all + slot;
    metrics.count = METRICS_SLOTS_MAX;
    return 0;
}

static void
bump(_Atomic uint64_t *v, uint64_t n)
{
    atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

void
metrics_add(enum metric m, uint64_t n)
{
    bump(&metrics.own->value[m], n);
}

void
metrics_observe_time_to_delivery(uint64_t ms)
{
    int b = 0;
    while (b < METRICS_TTD_BUCKETS && ms > 1ull << b)
        b++;
    bump(&metrics.own->ttd[b], 1);
    bump(&metrics.own->ttd_sum_ms, ms);
}

static uint64_t
sum_at(size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics.count; i++) {
        _Atomic uint64_t *v = (void *)((char *)(metrics.all + i) + offset);
        sum += atomic_load_explicit(v, memory_order_relaxed);
    }
    return sum;
}

uint64_t
metrics_total(enum metric m)
{
    return sum_at(offsetof(struct metrics_slot, value) + sizeof(uint64_t) * m);
}

static void
render_time_to_delivery(struct buf *out)
{
    const char *name = "stagepost_time_to_delivery_seconds";
    uint64_t sum = 0;
    buf_addf(out, "# HELP %s From acceptance to the peer's 250\n# TYPE %s histogram\n", name, name);
    for (int b = 0; b < METRICS_TTD_BUCKETS; b++) {
        sum += sum_at(offsetof(struct metrics_slot, ttd) + sizeof(uint64_t) * (size_t)b);
        buf_addf(out, "%s_bucket{le=\"%.3f\"} %" PRIu64 "\n", name, (double)(1ull << b) / 1000,
                 sum);
    }
    sum += sum_at(offsetof(struct metrics_slot, ttd) + sizeof(uint64_t) * METRICS_TTD_BUCKETS);
    buf_addf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
    buf_addf(out, "%s_sum %.3f\n%s_count %" PRIu64 "\n", name,
             (double)sum_at(offsetof(struct metrics_slot, ttd_sum_ms)) / 1000, name, sum);
}

void
metrics_render(struct buf *out)
{
    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        if (TABLE[m].help[0] != '\0')
            buf_addf(out, "# HELP stagepost_%s %s\n# TYPE stagepost_%s counter\n", TABLE[m].name,
                     TABLE[m].help, TABLE[m].name);
        const char *open = TABLE[m].labels[0] != '\0' ? "{" : "";
        const char *close = TABLE[m].labels[0] != '\0' ? "}" : "";
        buf_addf(out, "stagepost_%s%s%s%s %" PRIu64 "\n", TABLE[m].name, open, TABLE[m].labels,
                 close, metrics_total((enum metric)m));
    }
    render_time_to_delivery(out);
}
