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

#include "queue/queue.h"

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

/* The uuid of the dataset that this gateway has kept its queue in, in the file
 * "dataset": an empty Redis, or another's, must not be taken for ours. "" when
 * none is remembered. ERR_CONFIG: the file has something else in it. */
int statedir_dataset(const struct statedir *s, char uuid[QUEUE_DATASET_BYTES + 1], struct err *err);
/* Durable when it returns 0. */
int statedir_remember_dataset(const struct statedir *s, const char *uuid, struct err *err);

/* Opens (and makes) a lock file and tries to lock it; the descriptor, -1 with
 * ERR_REFUSED when somebody holds it. Not inherited. */
int statedir_try_lock(const char *path, struct err *err);

#endif
