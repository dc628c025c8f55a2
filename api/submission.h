/*
 * One message on its way from a request to the door: what POST /v1/messages
 * and POST /v1/messages/raw have in common.
 *
 * Happy path: compile the body (on the loop, or on the work pool when it is
 * large), give the message to the door, answer 202 when it is committed.
 * Ways it ends: the body is refused (the kind answers), the door refuses (the
 * table in submission.c answers), or the client goes away: then nothing is
 * started any more, and what the door has committed stays.
 */
#ifndef STAGEPOST_API_SUBMISSION_H
#define STAGEPOST_API_SUBMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "api/api_internal.h"
#include "relay/accept/submit.h"
#include "relay/sys/net/work.h"

struct message;
struct submission;

struct submission_kind {
    /* Off the loop perhaps: reads the request's body, touches only its own
     * struct. */
    void (*compile)(struct submission *s);
    /* On the loop: true when the submit members below are filled; else it has
     * answered the request. */
    bool (*finish)(struct submission *s);
    void (*free)(struct submission *s);
};

struct submission { /* the first member of the kind's own struct */
    const struct submission_kind *kind;
    struct http_request *request;
    struct api *api;
    bool gone, submitting;
    struct slice key; /* Idempotency-Key; empty: none */
    uint8_t digest[32];
    char peer_ip[64];
    struct work_op work;
    /* By finish(): message is given over, the rest borrowed. credential,
     * source, protocol, addresses and idempotency are filled here. */
    struct submit_op submit;
};

/* Takes `s` (zeroed but for what the kind needs) over, and answers the request
 * in any case. */
void submission_start(struct submission *s, const struct submission_kind *kind,
                      struct http_request *r);

/* For routes that give several messages to the door: the parts of the above. */

/* The value of Idempotency-Key (or of a member that means the same): quoted or
 * bare, into the request's arena. False: not 1 to 256 visible ASCII characters. */
bool submission_read_key(struct http_request *r, struct slice text, struct slice *out);
/* run and done at once for a small body; for a large one on the work pool, as
 * work_start() does. False: answered 503, neither is called. */
bool submission_offload(struct http_request *r, struct work_op *op, void (*run)(struct work_op *),
                        void (*done)(struct work_op *));
/* Answers 400, 422 or 413: a draft that is not MESSAGE_OK. */
void submission_refuse_draft(struct http_request *r, const struct message *m);
/* credential, source, client_address, protocol. peer_ip: kept until done. */
void submission_fill(struct submit_op *op, struct http_request *r,
                     const struct config_credential *credential, char peer_ip[64]);
bool submission_is_accepted(const struct submit_op *op);
struct slice submission_status(const struct submit_op *op); /* "queued" or "scheduled" */
/* What the door said, when it did not accept. Strings are constant or the op's. */
void submission_problem(const struct submit_op *op, struct problem *out);

#endif
