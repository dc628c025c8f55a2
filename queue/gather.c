#include "queue/gather.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "queue/notice.h"
#include "queue/record.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

struct gather {
    struct msg_id id;
    struct partition *p;
    int64_t until_unix_ms;
    unsigned wake;         /* as many debts wake it earlier */
    unsigned sweep, debts; /* met in that sweep of the partition */
    bool woken;            /* its next notice goes out */
    UT_hash_handle hh;
};

/* ---- how long -------------------------------------------------------------- */

static int64_t
next_boundary(const struct queue_message *m, int64_t now_unix_ms)
{
    int64_t age = now_unix_ms - m->created_unix_ms, until = QUEUE_GATHER_MS;
    if (age < 0)
        age = 0;
    if (m->delivery_count <= QUEUE_GATHER_FEW && age >= until)
        return 0;
    while (until <= age)
        until *= 2;
    return m->created_unix_ms + until;
}

int64_t
gather_until(const struct queue_message *m, const bool *owing, int64_t now_unix_ms,
             unsigned *others)
{
    int64_t until = next_boundary(m, now_unix_ms);
    *others = 0;
    for (unsigned i = 0; i < m->delivery_count; i++) {
        const struct queue_delivery *d = &m->deliveries[i];
        if (!owing[i] && record_is_schedulable(d) && d->due_unix_ms <= until)
            (*others)++;
    }
    return *others > 0 ? until : 0;
}

/* ---- what waits ------------------------------------------------------------ */

static struct gather *
find(struct queue *q, struct msg_id id)
{
    struct gather *g = NULL;
    HASH_FIND(hh, q->gathers, &id, sizeof id, g);
    return g;
}

static void
wake(struct gather *g)
{
    g->woken = true;
    g->p->notices_wanted = true;
}

bool
gather_meets(struct partition *p, struct msg_id id)
{
    struct gather *g = find(p->q, id);
    if (g == NULL || g->woken)
        return false;
    if (g->sweep != p->sweeps) {
        g->sweep = p->sweeps;
        g->debts = 0;
    }
    if (++g->debts >= g->wake)
        wake(g); /* in the next sweep, so that the notice gets all of them */
    return true;
}

bool
gather_start(struct partition *p, struct msg_id id, int64_t until_unix_ms, unsigned debts)
{
    struct queue *q = p->q;
    struct gather *g = find(q, id);
    if (g != NULL || q->gather_count >= QUEUE_GATHERING_MAX)
        return false;
    g = calloc(1, sizeof *g);
    BUG_ON(g == NULL);
    *g = (struct gather){.id = id, .p = p, .until_unix_ms = until_unix_ms, .wake = debts};
    HASH_ADD(hh, q->gathers, id, sizeof g->id, g);
    q->gather_count++;
    return true;
}

static void
forget(struct queue *q, struct gather *g)
{
    /* The analyzer takes a walk over the hash for one over freed nodes. */
    HASH_DELETE(hh, q->gathers, g); /* NOLINT(clang-analyzer-unix.Malloc) */
    q->gather_count--;
    free(g);
}

void
gather_forget(struct queue *q, struct msg_id id)
{
    struct gather *g = find(q, id);
    if (g != NULL)
        forget(q, g);
}

void
gather_tick(struct queue *q)
{
    struct gather *g, *next;
    int64_t now = clock_sched_unix_ms();
    HASH_ITER(hh, q->gathers, g, next)
    {
        if (!g->p->held)
            forget(q, g); /* the next owner's */
        else if (!g->woken && now >= g->until_unix_ms)
            wake(g);
    }
}

void
gather_fini(struct queue *q)
{
    struct gather *g = q->gathers, *next;
    HASH_CLEAR(hh, q->gathers);
    for (; g != NULL; g = next) {
        next = g->hh.next;
        free(g);
    }
    q->gather_count = 0;
}
