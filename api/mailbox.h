/*
 * A mailbox that a client named, as the envelope wants it: canonical, and not
 * an address literal. Every route reads addresses here.
 */
#ifndef STAGEPOST_API_MAILBOX_H
#define STAGEPOST_API_MAILBOX_H

#include <stdbool.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/slice.h"

struct api_mailbox {
    struct slice address, domain; /* domain points into address; in the arena */
};

/* The whole of `text` is one mailbox. False: `why` is a sentence for people. */
bool mailbox_read(struct slice text, struct arena *arena, struct api_mailbox *out,
                  const char **why);

#endif
