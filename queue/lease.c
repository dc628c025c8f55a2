/*
 * Every quarter of L each partition has one command under way: a renewal where
 * the lease is held here, a look at it where it is not; a look may be followed
 * by a take, a surplus partition that is idle is released.
 *
 * Ways a lease is lost: a renewal answers LOST (somebody replaced us), or we
 * release it. Losing the link loses no lease: while nobody replaces us, the
 * next renewal continues it; only claims and dots stop after L/2.
 */
#include "queue/lease.h"

#include <string.h>

#include "queue/disk.h"
#include "queue/event.h"
#include "queue/greet.h"
#include "queue/gather.h"
#include "queue/history.h"
#include "queue/notice.h"
#include "queue/recover.h"
#include "queue/schedule.h"
#include "queue/workers.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum {
    RELEASES_PER_TICK = 16, /* surplus goes gradually */
    LEAVING_MAX = 16,       /* busy partitions that finish up to be released */
    CHECK_TICKS = 4,        /* settings are looked at once in L */
};

static void start_watch(struct partition *p);
static void release_last(struct partition *p, bool link_works);

bool
lease_is_fresh(const struct partition *p)
{
    return p->held && clock_mono_ms() - p->renewed_ms < p->q->cfg.lease_ms / 2;
}

bool
lease_owner_is_dead(const struct queue *q, const struct owner *o)
{
    for (unsigned i = 0; i < DEAD_OWNERS_MAX; i++)
        if (q->dead[i].hex[0] != '\0' && strcmp(q->dead[i].hex, o->hex) == 0)
            return true;
    return false;
}

void
queue_owner_died(struct queue *q, const uint8_t owner[QUEUE_OWNER_BYTES])
{
    struct owner gone = owner_from_bytes(owner);
    q->dead[q->dead_next++ % DEAD_OWNERS_MAX] = gone;
    workers_strike(q, &gone);
    lease_tick_soon(q);
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) /* its attempts in what is ours already */
        if (q->partitions[i].held)
            recover_start(&q->partitions[i]);
}

/* ---- taking ---------------------------------------------------------------- */

static void
lease_won(struct partition *p, uint64_t epoch)
{
    struct queue *q = p->q;
    bool taken_over = p->seen.owner.hex[0] != '\0' && strcmp(p->seen.owner.hex, q->me.hex) != 0;
    p->held = true;
    p->leaving = false;
    p->epoch = epoch;
    p->renewed_ms = p->lease_cmd.sent_ms;
    p->taken_ms = clock_mono_ms();
    p->scan_at_unix_ms = NEVER_UNIX_MS;
    q->held++;
    if (taken_over) {
        metrics_add(METRIC_LEASES_TAKEN, 1);
        q->taken_over++;
        LOG(LOG_DEBUG, "queue.lease.taken-over", LF_U("partition", p->number),
            LF_STR("from", p->seen.owner.hex));
        FAILPOINT("takeover.lease");
    }
    p->seen = (struct lease_view){0};
    recover_start(p);
    event_read_left(p);
    notice_sweep(p);
    schedule_scan_soon(p);
}

static void
on_taken(struct link_cmd *c)
{
    struct partition *p = container_of(c, struct partition, lease_cmd);
    if (c->outcome != LINK_ANSWERED || p->q->closing)
        return;
    if (resp_is(resp_at(c->reply, 0), "OK")) {
        p->changes = resp_int(resp_at(c->reply, 2), 0);
        lease_won(p, (uint64_t)resp_int(resp_at(c->reply, 1), 0));
    } else if (resp_is(resp_at(c->reply, 0), "OTHER")) {
        LOG(LOG_ERROR, "queue.dataset.mixed", LF_U("partition", p->number));
    }
}

static void
start_take(struct partition *p)
{
    static const enum key_part KEYS[] = {KEY_LEASE, KEY_DUE,  KEY_INFLIGHT, KEY_NDR,
                                         KEY_HIST,  KEY_STAT, KEY_LANES,    KEY_HELD};
    struct link_cmd *c = &p->lease_cmd;
    queue_cmd_init(c, p->q, p->number, on_taken);
    link_cmd_script(c, SCRIPT_CALL_LEASE_TAKE, ARRAY_LEN(KEYS));
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        struct key k = key_of_part(p->number, KEYS[i]);
        link_arg(c, key_slice(&k));
    }
    link_arg_str(c, p->q->me.hex);
    link_arg_str(c, p->q->dataset);
    link_arg_str(c, p->seen.owner.hex);
    link_arg_int(c, (int64_t)p->seen.epoch);
    link_arg_int(c, (int64_t)p->seen.counter);
    link_cmd_start(c);
}

/* ---- watching -------------------------------------------------------------- */

static bool
same_lease(const struct lease_view *a, const struct lease_view *b)
{
    return strcmp(a->owner.hex, b->owner.hex) == 0 && a->epoch == b->epoch &&
           a->counter == b->counter;
}

/* Notes what was seen; returns for how long it has been seen unchanged while
 * Redis answered: a longer silence starts the watch again. */
static uint64_t
note_lease(struct partition *p, const struct lease_view *view)
{
    uint64_t now = clock_mono_ms();
    struct lease_view *seen = &p->seen;
    bool answered = seen->since_ms != 0 && now - seen->answered_ms <= p->q->cfg.lease_ms / 2;
    if (!answered || !same_lease(seen, view)) {
        *seen = *view;
        seen->since_ms = now;
    }
    seen->answered_ms = now;
    return now - seen->since_ms;
}

static bool
may_take(const struct partition *p, uint64_t unchanged_ms)
{
    const struct queue *q = p->q;
    const struct owner *o = &p->seen.owner;
    bool room = q->held < workers_share(q);
    if (q->draining || q->trouble != NULL)
        return false;
    if (strcmp(o->hex, q->me.hex) == 0 || lease_owner_is_dead(q, o))
        return true;
    if (o->hex[0] == '\0' && room)
        return true;
    /* Those below their share come first. */
    return unchanged_ms >= q->cfg.lease_ms + (room ? 0 : q->cfg.lease_ms / 2);
}

static void
on_watched(struct link_cmd *c)
{
    struct partition *p = container_of(c, struct partition, lease_cmd);
    if (c->outcome != LINK_ANSWERED || p->q->closing)
        return;
    struct lease_view view = {0};
    struct slice owner = resp_text(resp_at(c->reply, 0));
    if (owner.n == OWNER_HEX_BYTES)
        memcpy(view.owner.hex, owner.p, owner.n);
    view.epoch = (uint64_t)resp_int(resp_at(c->reply, 1), 0);
    view.counter = (uint64_t)resp_int(resp_at(c->reply, 2), 0);
    if (may_take(p, note_lease(p, &view)))
        start_take(p);
}

static void
start_watch(struct partition *p)
{
    struct key lease = key_of_part(p->number, KEY_LEASE);
    queue_cmd_init(&p->lease_cmd, p->q, p->number, on_watched);
    link_cmd_plain(&p->lease_cmd, "HMGET");
    link_arg(&p->lease_cmd, key_slice(&lease));
    link_arg_str(&p->lease_cmd, "o");
    link_arg_str(&p->lease_cmd, "e");
    link_arg_str(&p->lease_cmd, "c");
    link_cmd_start(&p->lease_cmd);
}

/* ---- holding --------------------------------------------------------------- */

static void
lease_gone(struct partition *p)
{
    p->held = p->leaving = false;
    p->q->held--;
    p->seen = (struct lease_view){0};
    timer_cancel(&p->recover_late);
}

static void
on_renewed(struct link_cmd *c)
{
    struct partition *p = container_of(c, struct partition, lease_cmd);
    if (p->release_next) {
        release_last(p, c->outcome == LINK_ANSWERED);
        return;
    }
    if (c->outcome != LINK_ANSWERED || !p->held)
        return;
    if (!resp_is(resp_at(c->reply, 0), "OK")) {
        LOG(LOG_WARN, "queue.lease.lost", LF_U("partition", p->number));
        lease_gone(p);
        return;
    }
    p->renewed_ms = c->sent_ms;
    int64_t changes = resp_int(resp_at(c->reply, 1), 0);
    if (changes == p->changes)
        return;
    p->changes = changes;
    schedule_scan_soon(p);
    notice_sweep(p);
}

static void
start_renewal(struct partition *p)
{
    struct key lease = key_of_part(p->number, KEY_LEASE), stat = key_of_part(p->number, KEY_STAT);
    queue_cmd_init(&p->lease_cmd, p->q, p->number, on_renewed);
    link_cmd_script(&p->lease_cmd, SCRIPT_CALL_LEASE_RENEW, 2);
    link_arg(&p->lease_cmd, key_slice(&lease));
    link_arg(&p->lease_cmd, key_slice(&stat));
    link_arg_str(&p->lease_cmd, p->q->me.hex);
    link_arg_int(&p->lease_cmd, (int64_t)p->epoch);
    link_cmd_start(&p->lease_cmd);
}

static void
start_release(struct partition *p, void (*done)(struct link_cmd *c))
{
    struct key lease = key_of_part(p->number, KEY_LEASE);
    queue_cmd_init(&p->lease_cmd, p->q, p->number, done);
    link_cmd_script(&p->lease_cmd, SCRIPT_CALL_LEASE_RELEASE, 1);
    link_arg(&p->lease_cmd, key_slice(&lease));
    link_arg_str(&p->lease_cmd, p->q->me.hex);
    link_arg_int(&p->lease_cmd, (int64_t)p->epoch);
    lease_gone(p); /* from now on nothing is claimed, whatever the answer */
    link_cmd_start(&p->lease_cmd);
}

static void
on_released(struct link_cmd *c)
{
    (void)c; /* a lease that stays ours in Redis is seen by the next watch */
}

/* Not while an attempt is waited for: its next owner would wait for L again. */
static bool
is_idle(const struct partition *p)
{
    return p->jobs == 0 && p->scan == NULL && p->recovery == NULL && p->recovering == 0 &&
           !timer_active(&p->recover_late) && !link_cmd_active(&p->lease_cmd);
}

/* Releases what is above the fair share: idle partitions at once, a few busy
 * ones when their jobs are done. */
static void
release_surplus(struct queue *q)
{
    unsigned share = workers_share(q), released = 0, leaving = 0;
    unsigned first = random_below(QUEUE_PARTITIONS);
    for (unsigned i = 0; i < QUEUE_PARTITIONS && q->held > share; i++) {
        struct partition *p = &q->partitions[(first + i) % QUEUE_PARTITIONS];
        if (!p->held)
            continue;
        if (is_idle(p) && released < RELEASES_PER_TICK) {
            start_release(p, on_released);
            released++;
        } else if (p->leaving || (p->jobs > 0 && leaving < LEAVING_MAX)) {
            p->leaving = true;
            leaving++;
        }
    }
    for (unsigned i = 0; i < QUEUE_PARTITIONS && q->held <= share; i++) {
        struct partition *p = &q->partitions[i];
        if (p->leaving) {
            p->leaving = false;
            schedule_scan_soon(p);
        }
    }
}

/* A worker that drains takes no new work, so others should have what it does not
 * need any more, long before its last transaction ends. */
static void
release_idle(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        if (q->partitions[i].held && is_idle(&q->partitions[i]))
            start_release(&q->partitions[i], on_released);
}

/* ---- ticking --------------------------------------------------------------- */

static void
tick_partition(struct partition *p)
{
    if (link_cmd_active(&p->lease_cmd) || !link_is_up(p->q->links, queue_link_of(p->q, p->number)))
        return;
    if (p->held)
        start_renewal(p);
    else if (!p->q->draining)
        start_watch(p);
    event_flush_acks(p);
    if (p->notices_wanted)
        notice_sweep(p);
}

static void
on_tick(struct timer *t)
{
    struct queue *q = container_of(t, struct queue, tick);
    timer_start(&q->tick, q->cfg.lease_ms / 4);
    workers_beat(q);
    disk_tick(q);
    if (q->draining)
        release_idle(q);
    else
        release_surplus(q);
    gather_tick(q);
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        tick_partition(&q->partitions[i]);
    if (q->taken_over > 0)
        LOG(LOG_NOTICE, "queue.leases.taken-over", LF_U("partitions", q->taken_over));
    q->taken_over = 0;
    if (++q->ticks % CHECK_TICKS == 0)
        greet_check(q);
    history_tick(q);
    schedule_tick(q);
}

void
lease_tick_soon(struct queue *q)
{
    timer_start(&q->tick, 0);
}

void
lease_init(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        struct partition *p = &q->partitions[i];
        p->q = q;
        p->number = i;
        p->scan_at_unix_ms = NEVER_UNIX_MS;
        buf_init(&p->acks, 4096);
        recover_init(p);
    }
    timer_init(&q->tick, q->loop, on_tick);
    timer_start(&q->tick, q->cfg.lease_ms / 4);
}

void
lease_fini(struct queue *q)
{
    timer_cancel(&q->tick);
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        timer_cancel(&q->partitions[i].recover_late);
        buf_fini(&q->partitions[i].acks);
    }
}

static void
on_released_last(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct partition, lease_cmd)->q;
    q->releasing--;
    q->each_released(q);
}

static void
release_last(struct partition *p, bool link_works)
{
    p->release_next = false;
    if (p->held && link_works) {
        start_release(p, on_released_last);
        return;
    }
    p->q->releasing--;
    p->q->each_released(p->q);
}

void
lease_release_all(struct queue *q, void (*each)(struct queue *q))
{
    q->each_released = each;
    timer_cancel(&q->tick);
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        struct partition *p = &q->partitions[i];
        if (!p->held)
            continue;
        q->releasing++;
        if (link_cmd_active(&p->lease_cmd))
            p->release_next = true; /* behind the renewal that is under way */
        else
            start_release(p, on_released_last);
    }
}
