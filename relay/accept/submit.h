/*
 * THE door: every message that enters, by SMTP or HTTP, passes submit_start().
 * In order: the sender belongs to the credential (envelope and header From);
 * prepare (one canonical form: Received, Date, Message-ID; control fields applied and out);
 * sign; ask the suppression list, and whether receivers would believe it; commit. Accepted means
 * committed.
 */
#ifndef STAGEPOST_ACCEPT_SUBMIT_H
#define STAGEPOST_ACCEPT_SUBMIT_H

#include "relay/sys/base/arena.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"
#include "relay/wire/envelope.h"

struct credentials;
struct preflight;
struct queue;
struct signer_client;
struct submit_door; /* one per worker */

struct submit_door *submit_door_new(struct loop *l, const struct config *c, struct queue *q,
                                    struct signer_client *signers);
/* Asks it about every message from now on (relay/accept/policy/preflight.h); without
 * one nothing is asked. Borrowed. */
void submit_door_set_preflight(struct submit_door *d, struct preflight *p);
/* Asks them from now on whether a credential is frozen: when its message comes, and
 * again before the commit, because an operator's sweep over what waits (queue/operate.h)
 * finds nothing that is committed later. Borrowed. */
void submit_door_set_credentials(struct submit_door *d, const struct credentials *cs);
void submit_door_free(struct submit_door *d); /* no operation may be under way */
unsigned submit_door_pending(const struct submit_door *d);

struct submit_recipient {
    struct slice address; /* canonical mailbox */
    struct slice domain;  /* of it, lower-case A-labels: the next hop */
    struct rcpt_options options;
    bool suppressed; /* out */
};

enum submit_result {
    SUBMIT_ACCEPTED,
    SUBMIT_REPLAYED,      /* accepted before under the same idempotency key */
    SUBMIT_SENDER,        /* not owned by the credential: 550 5.7.1 / 403 */
    SUBMIT_POLICY,        /* receivers would not believe it, and its domain is to be enforced:
                             550 with `enhanced` / 403 */
    SUBMIT_RECIPIENT,     /* one that the credential may not send to: 550 5.7.1 / 403 */
    SUBMIT_FROZEN,        /* the credential is: 550 5.7.1 / 403 */
    SUBMIT_RATE,          /* over a limit of the credential: 452 4.7.1 / 429 */
    SUBMIT_CONTENT,       /* the message cannot be accepted as it is: 550 5.6.0 / 422 */
    SUBMIT_TOO_LARGE,     /* 552 5.3.4 / 413 */
    SUBMIT_LOOP,          /* 554 5.4.6: too many Received fields */
    SUBMIT_KEY_CONFLICT,  /* 550 5.5.0 / 422 */
    SUBMIT_KEY_IN_FLIGHT, /* 451 4.5.0 / 409 */
    SUBMIT_NO_ROOM,       /* 452 4.3.1 / 503 */
    SUBMIT_AWAY,          /* 451 4.3.0 / 503: Redis or all signers */
    SUBMIT_UNKNOWN,       /* close without a reply / 504 */
};

struct submit_op {
    void (*done)(struct submit_op *op);
    /* In, borrowed until done. */
    const struct config_credential *credential;
    enum submit_source { SUBMIT_SMTP, SUBMIT_HTTP } source;
    struct envelope envelope;    /* reverse_path, envid, ret, smtputf8, send_at, tags and
                                    metadata are the caller's, and what control fields
                                    of the message say goes before them (send_at: out);
                                    the rest is filled here from the message */
    struct slice reverse_domain; /* of the reverse-path, lower-case A-labels */
    struct submit_recipient *recipients;
    unsigned recipient_count;    /* at least 1, no address twice */
    struct blob *message;        /* header section, empty line, body; CRLF lines only */
    struct slice client_name;    /* EHLO argument; empty over HTTP */
    struct slice client_address; /* IP text */
    const char *protocol;        /* RFC 3848: "ESMTPSA", "ESMTPA", ... or "HTTP" */
    int64_t expires_unix_ms;     /* given up then; 0, or later than configured: as configured */
    /* As what it is sent; bulk mail cannot become anything else (SUBMIT_CONTENT). */
    enum submit_class {
        SUBMIT_CLASS_OF_CREDENTIAL,
        SUBMIT_CLASS_TRANSACTIONAL,
        SUBMIT_CLASS_BULK,
    } klass;
    struct slice idempotency_key; /* of the request; the message's own field goes before it */
    /* What must be equal in a replay under the request's key: SHA-256 over the request.
     * Else, and with the message's own key, the door takes envelope and message. */
    bool has_digest;
    uint8_t digest[32];
    /* Out. */
    enum submit_result result;
    struct msg_id id;              /* when accepted or replayed */
    char text[PREFLIGHT_TEXT_MAX]; /* one line for the client, no line breaks */
    const char *enhanced;          /* RFC 3463, when the result has several; else NULL */
    /* What the credential may still have, for those of its limits that there are. */
    struct submit_allowance {
        bool known;
        unsigned rate_left, daily_left;
        uint64_t rate_full_s, daily_reset_s; /* until nothing of it is used */
        uint64_t retry_after_s;              /* with SUBMIT_RATE */
        const char *over;                    /* and which: "rate", "daily" or "new" */
    } allowance;
    struct submit_state *state;
};
void submit_start(struct submit_op *op, struct submit_door *d);
/* The client is gone. done comes soon; what was committed stays. */
void submit_cancel(struct submit_op *op);

#endif
