/*
 * Non-delivery reports (RFC 3464, RFC 5321 6.1, 3.6.3): from a notice that the
 * queue owes to a message of its own, built, signed and committed together with
 * the end of the debt. Never for a message without a reverse-path and never for
 * one of our own reports.
 */
#ifndef STAGEPOST_DELIVER_BOUNCE_H
#define STAGEPOST_DELIVER_BOUNCE_H

#include "queue/queue.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct signer_client;

struct bounce_env {
    struct loop *loop;
    const struct config *config;
    struct queue *queue;
    struct signer_client *signers;
    unsigned live;
    bool draining; /* no signer is waited for any more */
};

/* Takes the notice over. */
void bounce_start(struct bounce_env *env, struct queue_notice *n);

#endif
