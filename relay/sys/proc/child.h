/*
 * What the supervisor and its children agree on: how a child is started and
 * what stands on which descriptor. A child is this program with the arguments
 * "child ROLE NUMBER OWNER AS DATASET" (AS: rights.h); standard error is the
 * log. DATASET is the uuid of the queue's dataset, "-" while it is not known.
 */
#ifndef STAGEPOST_PROC_CHILD_H
#define STAGEPOST_PROC_CHILD_H

#include <stdbool.h>

#include "queue/queue.h"
#include "relay/sys/base/slice.h"

enum child_fd {
    CHILD_FD_CONTROL = 3, /* socket to the supervisor; its end means: drain and exit */
    CHILD_FD_CONFIG,      /* sealed snapshot of the configuration */
    CHILD_FD_METRICS,     /* shared counters */
    CHILD_FD_LOCK,        /* held open: children.lock */
    CHILD_FD_LIFE,        /* workers: write end, keeper: read end; see keeper.h */
    CHILD_FD_ROLE,        /* the first descriptor that belongs to the role */
};

/* A worker has the operators' control socket, which all workers share, and one
 * for each of config->listeners, in that order. */
enum worker_fd { WORKER_FD_OPERATORS = CHILD_FD_ROLE, WORKER_FD_LISTEN };
enum signer_fd { SIGNER_FD_LISTEN = CHILD_FD_ROLE, SIGNER_FD_END };
/* The checker gets nothing but this, its control socket, the lock and standard error:
 * no configuration. */
enum checker_fd { CHECKER_FD_LISTEN = CHILD_FD_ROLE, CHECKER_FD_END };
enum sandbox_fd {
    SANDBOX_FD_DNS_UDP = CHILD_FD_ROLE,
    SANDBOX_FD_DNS_TCP,
    SANDBOX_FD_MX,
    SANDBOX_FD_END
};

/* Lines on the control socket (relay/sys/net/control.h). To a worker: "drain",
 * and "died HEX", naming the queue owner of a dead worker. From a worker:
 * "ready", and "dataset UUID" before it. With workers and signers those of a reload,
 * relay/sys/config/follow.h. */
#define CONTROL_DRAIN "drain"
#define CONTROL_DIED "died "
#define CONTROL_READY "ready"
#define CONTROL_DATASET "dataset "
enum { OWNER_HEX_BYTES = 2 * QUEUE_OWNER_BYTES };

/* How long children may take to end once their supervisor is gone. */
enum { ORPHAN_DRAIN_MS = 6000 };

void owner_to_hex(const uint8_t owner[QUEUE_OWNER_BYTES], char out[OWNER_HEX_BYTES + 1]);
bool owner_from_hex(struct slice hex, uint8_t owner[QUEUE_OWNER_BYTES]);

/* main() of every child: argv behind "child". Returns the exit code. */
int child_main(int argc, char **argv);

#endif
