#include "relay/sys/base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

struct histogram {
    _Atomic uint64_t bucket[METRICS_BUCKETS_MAX + 1]; /* the last used: above all bounds */
    _Atomic uint64_t sum_us;
};

struct metrics_slot {
    _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t gauge[GAUGE_COUNT];
    struct histogram histogram[HISTOGRAM_COUNT];
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

enum join { SUM, LEAST };

static const struct {
    const char *name, *labels, *help;
    enum join join;
} GAUGES[] = {
#define GAUGE_ROW(id, name, labels, join, help) {name, labels, help, join},
    METRICS_GAUGES(GAUGE_ROW)
#undef GAUGE_ROW
};

static const struct histogram_row {
    const char *name, *labels, *help;
    uint64_t first_us;
    unsigned step_bits, buckets;
} HISTOGRAMS[] = {
#define ROW(id, name, labels, first, step, buckets, help)                                          \
    {name, labels, help, first, step, buckets},
#define HISTOGRAM_ROW(...) ROW(__VA_ARGS__)
    METRICS_HISTOGRAMS(HISTOGRAM_ROW)
#undef HISTOGRAM_ROW
#undef ROW
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
    metrics_forget_gauges(slot);
    return 0;
}

void
metrics_forget_gauges(unsigned slot)
{
    BUG_ON(slot >= METRICS_SLOTS_MAX);
    if (slot < metrics.count)
        for (unsigned g = 0; g < GAUGE_COUNT; g++)
            atomic_store_explicit(&metrics.all[slot].gauge[g], 0, memory_order_relaxed);
}

/* ---- counting -------------------------------------------------------------- */

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
metrics_set(enum metric_gauge g, uint64_t value)
{
    atomic_store_explicit(&metrics.own->gauge[g], value, memory_order_relaxed);
}

static uint64_t
bound_us(const struct histogram_row *row, unsigned bucket)
{
    return row->first_us << (row->step_bits * bucket);
}

void
metrics_observe(enum metric_histogram h, uint64_t us)
{
    const struct histogram_row *row = &HISTOGRAMS[h];
    unsigned b = 0;
    while (b < row->buckets && us > bound_us(row, b))
        b++;
    bump(&metrics.own->histogram[h].bucket[b], 1);
    bump(&metrics.own->histogram[h].sum_us, us);
}

/* ---- reading --------------------------------------------------------------- */

static uint64_t
load_at(unsigned slot, size_t offset)
{
    _Atomic uint64_t *v = (void *)((char *)(metrics.all + slot) + offset);
    return atomic_load_explicit(v, memory_order_relaxed);
}

static uint64_t
sum_at(size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics.count; i++)
        sum += load_at(i, offset);
    return sum;
}

static uint64_t
least_at(size_t offset)
{
    uint64_t least = 0;
    for (unsigned i = 0; i < metrics.count; i++) {
        uint64_t v = load_at(i, offset);
        if (v != 0 && (least == 0 || v < least))
            least = v;
    }
    return least;
}

uint64_t
metrics_total(enum metric m)
{
    return sum_at(offsetof(struct metrics_slot, value) + sizeof(uint64_t) * m);
}

uint64_t
metrics_gauge(enum metric_gauge g)
{
    size_t offset = offsetof(struct metrics_slot, gauge) + sizeof(uint64_t) * g;
    return GAUGES[g].join == SUM ? sum_at(offset) : least_at(offset);
}

static size_t
histogram_offset(enum metric_histogram h)
{
    return offsetof(struct metrics_slot, histogram) + sizeof(struct histogram) * h;
}

static uint64_t
bucket_total(enum metric_histogram h, unsigned bucket)
{
    return sum_at(histogram_offset(h) + offsetof(struct histogram, bucket) +
                  sizeof(uint64_t) * bucket);
}

/* ---- showing ---------------------------------------------------------------- */

static void
add_help(struct buf *out, const char *name, const char *help, const char *type)
{
    if (help[0] != '\0')
        buf_addf(out, "# HELP stagepost_%s %s\n# TYPE stagepost_%s %s\n", name, help, name, type);
}

static void
add_value(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    const char *open = labels[0] != '\0' ? "{" : "", *close = labels[0] != '\0' ? "}" : "";
    buf_addf(out, "stagepost_%s%s%s%s %" PRIu64 "\n", name, open, labels, close, value);
}

static void
add_seconds(struct buf *out, uint64_t us)
{
    buf_addf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void
render_histogram(struct buf *out, enum metric_histogram h)
{
    const struct histogram_row *row = &HISTOGRAMS[h];
    bool labelled = row->labels[0] != '\0';
    const char *comma = labelled ? "," : "", *open = labelled ? "{" : "",
               *end = labelled ? "}" : "";
    uint64_t sum = 0;
    add_help(out, row->name, row->help, "histogram");
    for (unsigned b = 0; b < row->buckets; b++) {
        sum += bucket_total(h, b);
        buf_addf(out, "stagepost_%s_bucket{%s%sle=\"", row->name, row->labels, comma);
        add_seconds(out, bound_us(row, b));
        buf_addf(out, "\"} %" PRIu64 "\n", sum);
    }
    sum += bucket_total(h, row->buckets);
    buf_addf(out, "stagepost_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", row->name, row->labels,
             comma, sum);
    buf_addf(out, "stagepost_%s_sum%s%s%s ", row->name, open, row->labels, end);
    add_seconds(out, sum_at(histogram_offset(h) + offsetof(struct histogram, sum_us)));
    buf_addf(out, "\nstagepost_%s_count%s%s%s %" PRIu64 "\n", row->name, open, row->labels, end,
             sum);
}

void
metrics_render(struct buf *out)
{
    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        add_help(out, TABLE[m].name, TABLE[m].help, "counter");
        add_value(out, TABLE[m].name, TABLE[m].labels, metrics_total((enum metric)m));
    }
    for (unsigned g = 0; g < GAUGE_COUNT; g++) {
        add_help(out, GAUGES[g].name, GAUGES[g].help, "gauge");
        add_value(out, GAUGES[g].name, GAUGES[g].labels, metrics_gauge((enum metric_gauge)g));
    }
    for (unsigned h = 0; h < HISTOGRAM_COUNT; h++)
        render_histogram(out, (enum metric_histogram)h);
}
