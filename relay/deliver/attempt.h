/*
 * One attempt at one job: content, intent, transactions, outcome. Its recipients
 * travel in one transaction, or in several one after the other where a peer
 * takes fewer at a time. The attempt survives the loss of a connection (another
 * host may follow within it) and ends in exactly one of
 *   queue_finish_start()  with a state for every recipient, or
 *   queue_job_release()   when the queue said that it is not ours or is away.
 */
#ifndef STAGEPOST_DELIVER_ATTEMPT_H
#define STAGEPOST_DELIVER_ATTEMPT_H

#include "queue/queue.h"
#include "relay/deliver/client.h"
#include "relay/deliver/room.h"
#include "relay/sys/config/config.h"

struct attempt;

/* What attempts share. */
struct attempt_env {
    struct loop *loop;
    const struct config *config;
    struct queue *queue;
    struct room room; /* for content that is not in memory */
    unsigned live;    /* attempts that exist */
};

/* Who runs an attempt: one of a site's connections. The attempt leaves the
 * connection with exactly one of these. */
struct attempt_runner {
    /* It needs another connection: put it first among those that wait. The
     * present one ends (its on_closed follows). host_failed: because of
     * something that its host did; else the peer had closed an idle one. */
    void (*on_move)(struct attempt_runner *r, struct attempt *a, bool host_failed);
    /* Its transactions are over; the runner forgets it. client_idle: it never
     * used the connection, which takes the next attempt; otherwise the
     * connection's own on_ready or on_closed follows. */
    void (*on_over)(struct attempt_runner *r, struct attempt *a, bool client_idle);
};

/* Takes the job over. NULL: the job could not be read, or its time was over; it
 * was finished. */
struct attempt *attempt_new(struct attempt_env *env, struct queue_job *job);
struct list_node *attempt_node(struct attempt *a);
struct attempt *attempt_from_node(struct list_node *n);
struct slice attempt_next_hop(const struct attempt *a);
enum queue_class attempt_class(const struct attempt *a);

/* On a connection that is CLIENT_READY: after attempt_new(), after on_move, and
 * for each on_ready of the connection that it has not left. */
void attempt_run(struct attempt *a, struct client *c, struct attempt_runner *r);
/* The connection closed between transactions or while content was loaded: the
 * attempt is off it, for the caller to put where it waits. */
void attempt_lost_client(struct attempt *a);

/* Ends the transaction under way unless its dot is out: a job without any
 * verdict goes back to the queue as if it had not been tried. Calls nobody back
 * before it returns. */
void attempt_withdraw(struct attempt *a);

/* Ends an attempt that is on no connection: all open recipients get this. */
void attempt_end(struct attempt *a, const struct finding *f, struct slice mx);
/* Gives the job back unchanged, where nothing has been decided yet; otherwise
 * ends it as a temporary failure. */
void attempt_give_back(struct attempt *a, uint64_t delay_ms);

#endif
