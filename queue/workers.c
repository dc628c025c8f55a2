#include "queue/workers.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "queue/greet.h"
#include "relay/sys/base/clock.h"

enum { FORGET_AFTER_LEASES = 60 };

struct worker_watch {
    struct owner owner;
    int64_t counter;
    uint64_t changed_ms; /* first seen or last seen to move */
    uint64_t listed_ms;  /* last seen on the roll */
    bool moved;
    UT_hash_handle hh;
};

struct strike {
    struct link_cmd cmd;
};

static void
on_struck(struct link_cmd *c)
{
    free(container_of(c, struct strike, cmd)); /* otherwise somebody else does it */
}

void
workers_strike(struct queue *q, const struct owner *gone)
{
    struct strike *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    link_cmd_init(&s->cmd, q->links, LINK_ANY, on_struck);
    link_cmd_plain(&s->cmd, "HDEL");
    link_arg_str(&s->cmd, "sp:workers");
    link_arg_str(&s->cmd, gone->hex);
    link_cmd_start(&s->cmd);
}

static struct worker_watch *
watch_get(struct queue *q, struct slice name, uint64_t now)
{
    struct worker_watch *w = NULL;
    HASH_FIND(hh, q->workers, name.p, name.n, w);
    if (w != NULL)
        return w;
    w = calloc(1, sizeof *w);
    BUG_ON(w == NULL);
    memcpy(w->owner.hex, name.p, name.n);
    w->counter = -1;
    w->changed_ms = now;
    HASH_ADD(hh, q->workers, owner.hex, name.n, w);
    return w;
}

static void
take_roll(struct queue *q, const struct redisReply *r, uint64_t now)
{
    for (size_t i = 0; i + 1 < resp_count(r); i += 2) {
        struct slice name = resp_text(resp_at(r, i));
        int64_t counter = resp_int(resp_at(r, i + 1), 0);
        if (name.n != OWNER_HEX_BYTES)
            continue;
        struct worker_watch *w = watch_get(q, name, now);
        w->listed_ms = now;
        if (w->counter == counter)
            continue;
        w->moved = w->counter >= 0; /* the first sight proves nothing */
        w->counter = counter;
        w->changed_ms = now;
    }
}

/* Still there, or is it struck off, or to be struck off? */
static bool
stays_on_roll(struct queue *q, const struct worker_watch *w, uint64_t now)
{
    if (w->listed_ms != now)
        return false;
    if (now - w->changed_ms < FORGET_AFTER_LEASES * q->cfg.lease_ms)
        return true;
    workers_strike(q, &w->owner);
    return false;
}

static void
on_roll(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct queue, roll_cmd);
    if (c->outcome != LINK_ANSWERED || q->closing)
        return;
    uint64_t now = clock_mono_ms(), lease_ms = q->cfg.lease_ms;
    struct worker_watch *w, *next;
    unsigned live = 1;
    take_roll(q, c->reply, now);
    /* The analyser does not see that HASH_DELETE has moved on.
     * NOLINTBEGIN(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    HASH_ITER(hh, q->workers, w, next)
    {
        bool me = strcmp(w->owner.hex, q->me.hex) == 0;
        if (stays_on_roll(q, w, now)) {
            if (!me && w->moved && now - w->changed_ms < lease_ms)
                live++;
            continue;
        }
        HASH_DELETE(hh, q->workers, w);
        free(w);
    }
    /* NOLINTEND(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    q->live_workers = live;
}

static void
on_clock(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct queue, clock_cmd);
    if (c->outcome == LINK_ANSWERED && !q->closing)
        greet_take_clock(q, resp_int(c->reply, 0));
}

static void
on_beat(struct link_cmd *c)
{
    (void)c; /* the next one comes soon */
}

void
workers_beat(struct queue *q)
{
    if (link_cmd_active(&q->beat_cmd) || link_cmd_active(&q->roll_cmd) ||
        link_cmd_active(&q->clock_cmd) || !link_any_up(q->links))
        return;
    link_cmd_init(&q->beat_cmd, q->links, LINK_ANY, on_beat);
    link_cmd_plain(&q->beat_cmd, q->draining ? "HDEL" : "HINCRBY");
    link_arg_str(&q->beat_cmd, "sp:workers");
    link_arg_str(&q->beat_cmd, q->me.hex);
    if (!q->draining)
        link_arg_int(&q->beat_cmd, 1);
    link_cmd_start(&q->beat_cmd);
    link_cmd_init(&q->roll_cmd, q->links, LINK_ANY, on_roll);
    link_cmd_plain(&q->roll_cmd, "HGETALL");
    link_arg_str(&q->roll_cmd, "sp:workers");
    link_cmd_start(&q->roll_cmd);
    link_cmd_init(&q->clock_cmd, q->links, LINK_ANY, on_clock);
    link_cmd_plain(&q->clock_cmd, "GET");
    link_arg_str(&q->clock_cmd, "sp:clock");
    link_cmd_start(&q->clock_cmd);
}

unsigned
workers_share(const struct queue *q)
{
    unsigned live = q->live_workers > 0 ? q->live_workers : 1;
    return (QUEUE_PARTITIONS + live - 1) / live;
}

void
workers_fini(struct queue *q)
{
    struct worker_watch *w, *next;
    /* The analyser does not see that HASH_DELETE has moved on.
     * NOLINTBEGIN(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
    HASH_ITER(hh, q->workers, w, next)
    {
        HASH_DELETE(hh, q->workers, w);
        free(w);
    }
    /* NOLINTEND(clang-analyzer-unix.Malloc,clang-analyzer-core.NullDereference) */
}
