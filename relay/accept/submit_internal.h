/*
 * Shared by submit.c (the door, a submission's beginning and its one end), submit_check.c
 * (what the worker judges by itself), submit_ask.c (what others are asked) and
 * submit_commit.c (the record, and what the queue said of it); nobody else includes it.
 *
 * The state is owned by submit.c: submit_start() makes it, submit_finish() frees it.
 * Each step fills the part of it that is named after the step, and later steps read that.
 * After submit_finish() the state is gone; a function that may have called it returns that,
 * or is the last that its caller does.
 */
#ifndef STAGEPOST_ACCEPT_SUBMIT_INTERNAL_H
#define STAGEPOST_ACCEPT_SUBMIT_INTERNAL_H

#include "dkim/signer_client.h"
#include "queue/allowance.h"
#include "queue/queue.h"
#include "relay/accept/policy/preflight.h"
#include "relay/accept/prepare.h"
#include "relay/accept/submit.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/sm.h"

enum { SUBMIT_DIGEST_BYTES = 32 };

/* All that it points to is borrowed. */
struct submit_door {
    struct loop *loop;
    const struct config *config;
    struct queue *queue;
    struct signer_client *signers;
    const struct credentials *credentials; /* NULL: not asked */
    struct preflight *preflight;           /* the same */
    struct list under_way;                 /* struct submit_state.node */
    unsigned pending;
};

enum submit_step { STEP_CHECK, STEP_ALLOW, STEP_ASK, STEP_COMMIT, STEP_COUNT };

/* One submission, from submit_start() to its done. */
struct submit_state {
    struct submit_op *op;
    struct submit_door *door;
    struct list_node node;
    struct sm sm;
    struct arena arena; /* goes with the state */
    struct deferred begin;
    bool cancelled;
    /* STEP_CHECK */
    struct msg_id id;
    int64_t now_unix_ms;
    struct slice key;                    /* idempotency; empty: none */
    uint8_t digest[SUBMIT_DIGEST_BYTES]; /* of the request, with a key */
    struct prepared prepared;            /* its content is ours; STEP_ASK signs it */
    /* STEP_ALLOW */
    struct slice *addresses; /* of the recipients; set without limits too */
    struct queue_allow_op allow;
    bool counted; /* to be settled */
    /* STEP_ASK */
    struct sign_op sign;
    struct queue_suppressed_op listed;
    struct preflight_op preflight;
    bool signing, listing, checking; /* not done yet */
    bool policy_asked;               /* its answer is in `preflight` */
    /* STEP_COMMIT */
    struct queue_message message;
    struct queue_commit_op commit;
};

/* submit.c. The one way out: tells log and metrics, gives back what was counted in vain, frees
 * the state, calls done. text: one line for the client. */
void submit_finish(struct submit_state *st, enum submit_result result, const char *text);

/* submit_check.c. Judges the message and goes on to count. May end the submission. */
void submit_check(struct submit_state *st);
/* A credential that is frozen, now or when the worker last heard of it, ends the submission:
 * true. */
bool submit_refuse_frozen(struct submit_state *st);

/* submit_ask.c. Counts the recipients when the credential has limits, and goes on to ask. Before
 * a replay is looked for: a client that sends too fast is told so whatever it
 * sends. A replay is given back, so it counts once. May end the submission. */
void submit_begin_allowing(struct submit_state *st);

/* submit_commit.c. When the first attempt is due. */
int64_t submit_first_due(const struct submit_state *st);
/* Hands the message to the queue, suppressed recipients as such; the queue's result is the
 * submission's. May end it at once. */
void submit_begin_commit(struct submit_state *st);

#endif
