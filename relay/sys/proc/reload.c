/*
 * Happy path: begin: "prepare N" to all that run; the last "prepared N": "commit
 * N" to all, done(ok).
 * Ways it ends else: a refusal, no answer in RELOAD_ANSWER_MS, cancel: "forget N"
 * to all, done(not ok).
 */
#include "relay/sys/proc/reload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/config/follow.h"

/* Reading keys and certificates takes milliseconds, on a machine that swaps
 * some seconds. */
enum { RELOAD_ANSWER_MS = 20000, WHY_MAX = 400 };

static void
tell(const struct reload *r, struct reload_part *p, const char *word, int with_fd)
{
    char line[CONTROL_LINE_MAX];
    int n = snprintf(line, sizeof line, "%s%" PRIu64 "\n", word, r->generation);
    if (p->control_fd >= 0 && !control_send(p->control_fd, slice_from(line, (size_t)n), with_fd))
        LOG(LOG_WARN, "reload.control-lost", LF_STR("child", p->name), LF_U("number", p->number));
}

static void
finish(struct reload *r, bool ok, const char *why)
{
    timer_cancel(&r->limit);
    LIST_EACH(&r->parts, n)
    {
        struct reload_part *p = container_of(n, struct reload_part, node);
        p->asked = false;
        tell(r, p, ok ? FOLLOW_COMMIT : FOLLOW_FORGET, -1);
    }
    r->generation = 0;
    r->done(r, ok, why);
}

static void
finish_when_all_are_prepared(struct reload *r)
{
    if (r->generation == 0)
        return;
    LIST_EACH(&r->parts, n)
    {
        if (container_of(n, struct reload_part, node)->asked)
            return;
    }
    finish(r, true, "");
}

static void
refuse(struct reload *r, const struct reload_part *p, struct slice why)
{
    char text[WHY_MAX];
    snprintf(text, sizeof text, "%s %u: %.*s", p->name, p->number, SLICE_FMT(why));
    finish(r, false, text);
}

static void
on_limit(struct timer *t)
{
    struct reload *r = container_of(t, struct reload, limit);
    LIST_EACH(&r->parts, n)
    {
        const struct reload_part *p = container_of(n, struct reload_part, node);
        if (p->asked) {
            refuse(r, p, SLICE("no answer in time"));
            return;
        }
    }
}

static void
ask(struct reload *r, struct reload_part *p)
{
    p->asked = p->control_fd >= 0;
    if (p->asked)
        tell(r, p, FOLLOW_PREPARE, p->snapshot_fd);
}

void
reload_init(struct reload *r, struct loop *l,
            void (*done)(struct reload *r, bool ok, const char *why))
{
    *r = (struct reload){.done = done};
    list_init(&r->parts);
    timer_init(&r->limit, l, on_limit);
}

void
reload_add(struct reload *r, struct reload_part *p)
{
    p->control_fd = p->snapshot_fd = -1;
    p->asked = false;
    list_node_init(&p->node);
    list_push(&r->parts, &p->node);
}

void
reload_begin(struct reload *r, uint64_t generation)
{
    BUG_ON(r->generation != 0 || generation == 0);
    r->generation = generation;
    timer_start(&r->limit, clock_scaled_ms(RELOAD_ANSWER_MS));
    LIST_EACH(&r->parts, n)
    ask(r, container_of(n, struct reload_part, node));
    LOG(LOG_INFO, "reload.asked", LF_U("generation", generation));
    finish_when_all_are_prepared(r);
}

void
reload_part_started(struct reload *r, struct reload_part *p, int control_fd)
{
    p->control_fd = control_fd;
    if (r->generation != 0)
        ask(r, p);
}

void
reload_part_ended(struct reload *r, struct reload_part *p)
{
    (void)r; /* the limit runs */
    p->control_fd = -1;
}

bool
reload_part_said(struct reload *r, struct reload_part *p, struct slice line)
{
    bool ok = slice_starts(line, SLICE(FOLLOW_PREPARED));
    uint64_t generation;
    if (!ok && !slice_starts(line, SLICE(FOLLOW_REFUSED)))
        return false;
    line = slice_skip(line, ok ? sizeof FOLLOW_PREPARED - 1 : sizeof FOLLOW_REFUSED - 1);
    if (!slice_to_u64(slice_cut_at(&line, ' '), &generation) || generation != r->generation ||
        !p->asked)
        return true; /* of a reload that is over */
    p->asked = false;
    if (ok)
        finish_when_all_are_prepared(r);
    else
        refuse(r, p, line);
    return true;
}

void
reload_cancel(struct reload *r)
{
    if (r->generation != 0)
        finish(r, false, "the gateway stops");
}
