/*
 * For relay/sys/net/ only: the libuv loop behind a struct loop.
 */
#ifndef STAGEPOST_NET_LOOP_INTERNAL_H
#define STAGEPOST_NET_LOOP_INTERNAL_H

#include <uv.h>

#include "relay/sys/net/loop.h"

uv_loop_t *loop_uv(struct loop *l);

#endif
