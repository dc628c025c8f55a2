/*
 * What a sender may wish for a message besides its content: when it is sent, until
 * when, as what, and under which words it is found again. One set of rules for both
 * doors: members of JSON (api/draft_delivery.c) and header fields
 * (relay/accept/control.c). Pure.
 */
#ifndef STAGEPOST_ACCEPT_WISHES_H
#define STAGEPOST_ACCEPT_WISHES_H

#include "relay/accept/submit.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/limits.h"

enum wish_fault {
    WISH_FINE,
    WISH_EMPTY,
    WISH_UNSAFE, /* control characters, line breaks, no UTF-8 */
    WISH_TOO_LONG,
    WISH_TOO_MANY,
    WISH_DUPLICATE,
    WISH_LABELS_TOO_LONG, /* all of one kind together */
    WISH_TIME,
    WISH_TOO_FAR,
    WISH_TOO_EARLY,
    WISH_TTL,
    WISH_TTL_AND_TIME,
    WISH_CLASS,
    WISH_BUDGET, /* the arena is used up */
    WISH_FAULTS,
};
const char *wish_fault_code(enum wish_fault f); /* stable, "too_far" */
const char *wish_fault_text(enum wish_fault f); /* "more than 30 days from now" */

struct wish_pair {
    struct slice name, value;
};

struct wishes {
    int64_t now_unix_ms;     /* in: the schedule clock; 0: not known, no time is too early or far */
    int64_t send_at_unix_ms; /* 0: now */
    int64_t expires_unix_ms; /* 0: as configured */
    unsigned ttl_s;          /* until wishes_close() */
    enum submit_class klass;
    struct slice tags, metadata; /* by wishes_close(): JSON, a list and an object; empty: none */
    /* What is collected for it; the text is borrowed. */
    struct slice tag_list[WISH_TAGS_MAX];
    struct wish_pair pairs[WISH_METADATA_MAX];
    unsigned tag_count, pair_count;
};

/* Each leaves *w alone when it answers a fault. */
enum wish_fault wishes_send_at(struct wishes *w, int64_t unix_ms); /* a time that has passed: now */
enum wish_fault wishes_ttl(struct wishes *w, uint64_t seconds);    /* from when it is sent */
enum wish_fault wishes_class(struct wishes *w, struct slice name);
enum wish_fault wishes_tag(struct wishes *w, struct slice text);
enum wish_fault wishes_metadata(struct wishes *w, struct slice name, struct slice value);

/* When all is said: whether the times agree; and the labels as they are kept. */
enum wish_fault wishes_close_times(struct wishes *w);
enum wish_fault wishes_close_tags(struct wishes *w, struct arena *arena);
enum wish_fault wishes_close_metadata(struct wishes *w, struct arena *arena);

#endif
