/*
 * Recipients that rehearse failures, at any domain; case and a "+tag" are
 * ignored:
 *   bounce          550 5.1.1
 *   full            452 4.2.2, always
 *   defer           451 4.3.0, always
 *   greylist        451 4.7.1 at the first attempt of a sender, then accepted
 *   slow            accepted, SANDBOX_MX_SLOW_MS before each reply from here on
 *   drop-after-dot  the message is kept and the connection closed without a
 *                   reply to the final dot, always
 */
#ifndef STAGEPOST_SANDBOX_MX_MAGIC_H
#define STAGEPOST_SANDBOX_MX_MAGIC_H

#include "relay/sys/base/slice.h"
#include "relay/wire/reply.h"

enum magic {
    MAGIC_NONE,
    MAGIC_BOUNCE,
    MAGIC_FULL,
    MAGIC_DEFER,
    MAGIC_GREYLIST,
    MAGIC_SLOW,
    MAGIC_DROP_AFTER_DOT,
    MAGIC_COUNT,
};

enum magic magic_of(struct slice local_part);
/* What refuses the recipient; code 0 for those that are accepted. For
 * MAGIC_GREYLIST: the first attempt's. */
struct reply_text magic_refusal(enum magic m);

/* Pairs of sender and recipient that were refused once; in memory only, at most
 * SANDBOX_GREYLIST_MAX, then all are forgotten. */
struct greylist;
struct greylist *greylist_new(void);
void greylist_free(struct greylist *g);
/* true: seen before. The pair is known from now on. */
bool greylist_pass(struct greylist *g, struct slice from, struct slice to);

#endif
