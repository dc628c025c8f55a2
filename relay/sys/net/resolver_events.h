/*
 * For resolver.c only: libunbound's pluggable event base (unbound-event.h) on
 * our loop.
 */
#ifndef STAGEPOST_NET_RESOLVER_EVENTS_H
#define STAGEPOST_NET_RESOLVER_EVENTS_H

#include <stddef.h>
#include <unbound-event.h>

#include "relay/sys/net/loop.h"

struct ub_event_base *resolver_events_new(struct loop *l);
/* After ub_ctx_delete(), which frees the events themselves. */
void resolver_events_free(struct ub_event_base *base);

#endif
