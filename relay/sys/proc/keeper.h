/*
 * The keeper of the embedded Redis: a small blocking process between the
 * supervisor and redis-server, so that Redis stops last and outlives nobody.
 *
 * It starts redis-server, or adopts one that still runs on the dataset:
 * redis-server alone inherits redis.lock, so that there are never two on one
 * directory (they would corrupt each other's file). The keeper ends Redis
 *   - when its control socket ends, after all workers have ended: they hold the
 *     write end of the life pipe, which the keeper reads;
 *   - at the latest ORPHAN_DRAIN_MS after its control socket ended.
 * It exits when Redis has ended; the supervisor then starts another keeper.
 */
#ifndef STAGEPOST_PROC_KEEPER_H
#define STAGEPOST_PROC_KEEPER_H

#include <stdint.h>

struct keeper_config {
    const char *dataset_dir; /* of Redis: append-only file, log, lock */
    const char *socket_path;
    uint64_t maxmemory_bytes;
    int control_fd, life_fd;
};

/* Returns an exit code of sysexits.h: 69 when there is no redis-server. */
int keeper_run(const struct keeper_config *cfg);

#endif
