/*
 * A generation of the configuration as the children get it: one sealed memfd for
 * each kind of reader, which has only what that kind may know (config.h). All of
 * them or none.
 */
#ifndef STAGEPOST_PROC_SNAPSHOTS_H
#define STAGEPOST_PROC_SNAPSHOTS_H

#include "relay/sys/base/err.h"
#include "relay/sys/config/config.h"

struct snapshots {
    int fds[CONFIG_READER_COUNT]; /* close-on-exec; -1: none */
};

void snapshots_init(struct snapshots *s); /* with none open */
int snapshots_open(struct snapshots *s, const struct config *c, struct err *err);
/* What `from` has becomes `to`'s; what `to` had is closed. */
void snapshots_move(struct snapshots *to, struct snapshots *from);
void snapshots_close(struct snapshots *s); /* none is fine */

#endif
