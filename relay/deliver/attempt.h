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
#include "relay/sys/config/config.h"

struct attempt;

/* What attempts share. */
struct attempt_env {
    struct loop *loop;
    const struct config *config;
    struct queue *queue;
    unsigned live; /* attempts that exist */
    /* One is gone: its job was given back. */
    void (*on_gone)(struct attempt_env *env);
};

/* Who runs an attempt on a connection: a site. */
struct attempt_runner {
    /* Needs another connection (host failed, or the peer had closed an idle
     * one): put it first among those that wait. */
    void (*on_move)(struct attempt_runner *r, struct attempt *a);
    /* Its transactions are over; the runner forgets it. The connection follows
     * with its own on_ready or on_closed (never before). */
    void (*on_over)(struct attempt_runner *r, struct attempt *a);
};

/* Takes the job over. NULL: the job could not be read, or its time was over; it
 * was finished. */
struct attempt *attempt_new(struct attempt_env *env, struct queue_job *job);
struct list_node *attempt_node(struct attempt *a);
struct attempt *attempt_from_node(struct list_node *n);
struct slice attempt_next_hop(const struct attempt *a);

/* On a connection that is CLIENT_READY: after attempt_new(), after on_move, and
 * for each on_ready of the connection while the attempt is not over. */
void attempt_run(struct attempt *a, struct client *c, struct attempt_runner *r);
/* The connection closed outside of a transaction (while content was loaded):
 * on_move follows from here. */
void attempt_lost_client(struct attempt *a);

/* Ends an attempt that is on no connection: all open recipients get this. */
void attempt_end(struct attempt *a, const struct finding *f, struct slice mx);
/* Gives the job back unchanged, where nothing has been decided yet; otherwise
 * ends it as a temporary failure. */
void attempt_give_back(struct attempt *a, uint64_t delay_ms);

#endif
