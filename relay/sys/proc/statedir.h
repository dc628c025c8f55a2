/*
 * The state directory: where a Stagepost keeps its dataset, keys and sockets,
 * and the locks that say who is alive.
 *
 *   supervisor.lock  held by the supervisor alone: a second start refuses
 *   children.lock    inherited by its children: a start after kill -9 waits
 *                    until the children of the dead supervisor have ended
 *   redis.lock       inherited by redis-server alone (keeper.h)
 */
#ifndef STAGEPOST_PROC_STATEDIR_H
#define STAGEPOST_PROC_STATEDIR_H

#include <stdbool.h>

#include "relay/sys/base/err.h"

struct statedir {
    char path[200];    /* absolute */
    char run[216];     /* path/run: sockets */
    char keys[216];    /* path/keys: DKIM */
    char tls[216];     /* path/tls */
    char redis[216];   /* path/redis: the dataset */
    char sandbox[216]; /* path/sandbox: captures */
    int supervisor_lock_fd, children_lock_fd;
};

/* Makes the directories (0700) and takes both locks. ERR_REFUSED: a live
 * supervisor holds it; ERR_TIMEOUT: children of a dead one did not end. */
int statedir_open(struct statedir *s, const char *path, struct err *err);
/* Marks the directory as that of a development or a production gateway;
 * ERR_CONFIG when it is already the other's: development keys, passwords and
 * mail never get into production, nor production mail into a sandbox. */
int statedir_claim(const struct statedir *s, bool development, struct err *err);
void statedir_close(struct statedir *s);

/* Opens (and makes) a lock file and tries to lock it; the descriptor, -1 with
 * ERR_REFUSED when somebody holds it. Not inherited. */
int statedir_try_lock(const char *path, struct err *err);

#endif
