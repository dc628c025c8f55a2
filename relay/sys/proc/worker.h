/*
 * A worker: one loop with SMTP in, HTTP in, the queue and delivery. Workers
 * share nothing but Redis.
 */
#ifndef STAGEPOST_PROC_WORKER_H
#define STAGEPOST_PROC_WORKER_H

#include "queue/queue.h"
#include "relay/sys/config/config.h"

struct worker_config {
    const struct config *config;
    unsigned number;
    uint8_t owner[QUEUE_OWNER_BYTES];
    const char *dataset; /* queue_config.dataset */
};

/* Runs until told to drain or until the supervisor is gone; an exit code. */
int worker_run(const struct worker_config *cfg);

#endif
