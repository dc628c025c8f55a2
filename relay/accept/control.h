/*
 * Control fields: header fields by which a message says what JSON has members for
 * (tags, metadata, times, class, idempotency key), under our names and under those that
 * clients of other services send already. What is understood is applied, and none of
 * them leaves. control.c has the table; relay/accept/README.md says it for people.
 *
 * A field of ours that is not in the table is refused, so that a slip of the pen is
 * not silent; one of another service that asks for something which does not exist
 * here is left out and reported, or refused where leaving it out would do harm. Pure.
 */
#ifndef STAGEPOST_ACCEPT_CONTROL_H
#define STAGEPOST_ACCEPT_CONTROL_H

#include <stdbool.h>

#include "relay/accept/wishes.h"

/* What the control fields of a message said; slices are in the arena. */
struct controls {
    struct wishes wishes; /* closed; now_unix_ms: in */
    struct slice idempotency_key;
    struct slice ignored; /* the name of the first one without effect */
    unsigned ignored_count;
};

/* Whether a field of this name is one: it is not passed on. */
bool control_is_one(struct slice name);

/* Reads those of a section that passed header_check(). False: why says which field
 * and what is wrong with it, or is NULL because the arena is used up. */
bool control_read(struct slice section, struct arena *arena, struct controls *out,
                  const char **why);

#endif
