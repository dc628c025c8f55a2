/*
 * News that a descriptor is readable: for what is not a stream (a UDP socket,
 * the end of file of a control pipe). The owner reads by itself, without
 * blocking; the descriptor stays the owner's.
 */
#ifndef STAGEPOST_NET_FD_WATCH_H
#define STAGEPOST_NET_FD_WATCH_H

#include "relay/sys/base/err.h"
#include "relay/sys/net/loop.h"

struct fd_watch;

/* Sets the descriptor non-blocking. on_readable comes again as long as there is
 * something to read (or the end of file, or an error). One watch per
 * descriptor. */
struct fd_watch *fd_watch_open(struct loop *l, int fd, void (*on_readable)(void *owner, int fd),
                               void *owner, struct err *err);
/* Before the descriptor is closed. No callback comes after it. NULL is fine. */
void fd_watch_close(struct fd_watch *w);

#endif
