/*
 * The supervisor's side of a reload (relay/sys/config/follow.h is the child's):
 * every child that follows gets the next snapshot and makes it ready; when the
 * last has said so, all switch. One refusal, or no answer in time, and all stay
 * with what they have.
 *
 * A child that dies before it has answered is asked again in its successor, so
 * that a snapshot which kills children is refused in the end. A child that was
 * not running is not waited for: what keeps it from running may be what the
 * reload mends.
 */
#ifndef STAGEPOST_PROC_RELOAD_H
#define STAGEPOST_PROC_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/list.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/loop.h"

/* A child that follows; embedded in it. */
struct reload_part {
    struct list_node node;
    const char *name; /* in logs, with `number` */
    unsigned number;
    int control_fd;  /* -1: not running */
    int snapshot_fd; /* the owner's: what this child gets, from reload_begin() to done */
    bool asked;      /* and has not answered yet, nor has its successor */
};

struct reload {
    struct list parts;
    struct timer limit;
    uint64_t generation; /* being prepared; 0: no reload is under way */
    /* The owner's: exactly once for each reload_begin(), maybe inside it. ok:
     * the generation is in force; else `why` says who refused it and why. */
    void (*done)(struct reload *r, bool ok, const char *why);
};

void reload_init(struct reload *r, struct loop *l,
                 void (*done)(struct reload *r, bool ok, const char *why));
void reload_add(struct reload *r, struct reload_part *p); /* not running yet */
/* Not while one is under way. generation: above all before it. */
void reload_begin(struct reload *r, uint64_t generation);
void reload_part_started(struct reload *r, struct reload_part *p, int control_fd);
void reload_part_ended(struct reload *r, struct reload_part *p);
/* Whether the line was an answer of this protocol. */
bool reload_part_said(struct reload *r, struct reload_part *p, struct slice line);
/* No reload is wanted any more: done comes, not ok, when one is under way. */
void reload_cancel(struct reload *r);

#endif
