/*
 * One signer as the client sees it: its connection, and the jobs that were
 * sent on it. Private to dkim/signer_client.c, which owns the jobs' fate: a
 * peer reports back with the signer_client_*() functions below.
 */
#ifndef STAGEPOST_DKIM_SIGNER_PEER_H
#define STAGEPOST_DKIM_SIGNER_PEER_H

#include "dkim/signer_client.h"
#include "relay/sys/base/sm.h"
#include "relay/sys/net/stream.h"

enum peer_state { PEER_RESTING, PEER_CONNECTING, PEER_GREETING, PEER_UP };

struct signer_peer {
    struct signer_client *client;
    struct loop *loop;
    struct net_address address;
    struct sm sm; /* enum peer_state */
    struct connect_op connect;
    struct stream *stream; /* GREETING and UP */
    struct stream_user user;
    struct timer rest, silence;
    unsigned failures; /* since it was last up */

    struct list sending; /* not handed to the stream as a whole yet; served in turn */
    struct list sent;
    unsigned jobs;
    size_t bytes;
    bool alone; /* its one job has killed a signer before */
};

void peer_init(struct signer_peer *p, struct signer_client *c, struct loop *l, const char *path);
/* No jobs may be left. False when a connect_op is still on its way: then
 * signer_client_peer_closed() comes on a later turn. */
bool peer_close(struct signer_peer *p);
bool peer_up(const struct signer_peer *p);

/* Whether the job may be given to this peer now. */
bool peer_can_take(const struct signer_peer *p, const struct sign_op *op);
void peer_take(struct signer_peer *p, struct sign_op *op, uint64_t request);
/* Takes the job back, whatever its state; what of it was not sent never is. */
void peer_drop(struct signer_peer *p, struct sign_op *op);

/* --- what a peer reports --- */

void signer_client_peer_up(struct signer_client *c);
void signer_client_peer_closed(struct signer_client *c);
/* The job is no longer with a peer. `text`: fields or reason. */
void signer_client_answered(struct signer_client *c, struct sign_op *op, enum sign_status status,
                            struct slice text);
/* Once per lost connection, with all its jobs, the longest waiting first. */
void signer_client_lost(struct signer_client *c, struct list *jobs, const struct err *why);

#endif
