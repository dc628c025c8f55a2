/*
 * How much a credential may send: recipients in a time, in a day, and for the
 * first time. Asked by the door, before anything is signed; RCPT stops at what one
 * message can ever have. Pure: who counts is queue/allowance.h.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_ALLOWANCE_H
#define STAGEPOST_ACCEPT_POLICY_ALLOWANCE_H

#include "queue/allowance.h"
#include "relay/sys/config/config.h"

/* Whether there is any limit; *out are all of them. */
bool policy_allowance_of(const struct config_credential *cr, struct queue_allowance *out);

/* More recipients than that are never allowed in one message; UINT_MAX: no limit. */
unsigned policy_allowance_recipients_max(const struct config_credential *cr);

/* "rate", "daily" or "new": which limit it is over. */
const char *policy_allowance_name(enum queue_allow_result over);
/* "more than 100 recipients a minute: try again in 12 s" */
void policy_allowance_explain(const struct config_credential *cr, const struct queue_allow_op *op,
                              struct buf *out);

#endif
