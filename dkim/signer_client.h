/*
 * The worker's side of the signer channel: connections to all signers, kept up
 * with back-off; each job goes to the signer with the fewest bytes before it.
 *
 * A job whose signer dies (or gives no sign of life for SIGN_SILENCE_MS) is
 * tried once more, alone on its connection, so that a message that kills
 * signers takes no other job down twice. A job that no signer takes within
 * SIGN_WAIT_MS ends as SIGN_AWAY. Message bytes are never copied.
 */
#ifndef STAGEPOST_DKIM_SIGNER_CLIENT_H
#define STAGEPOST_DKIM_SIGNER_CLIENT_H

#include "dkim/protocol.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"

struct signer_client;
struct signer_peer;

/* Copies the paths (unix sockets, 1 to SIGNERS_MAX) and begins to connect. */
struct signer_client *signer_client_new(struct loop *l, const char *const *socket_paths,
                                        unsigned count);
/* Every operation must be done. Memory goes when the loop has turned once more.
 * NULL is fine. */
void signer_client_free(struct signer_client *c);
/* Connections that are up now. */
unsigned signer_client_connected(const struct signer_client *c);

/*
 * One message to sign. The owner sets the members marked "in" and calls
 * buf_fini(&op->fields) after done; the rest is private.
 */
struct sign_op {
    void (*done)(struct sign_op *op); /* in */
    const struct content *message;    /* in: borrowed until done; 1..MESSAGE_BYTES_MAX bytes */
    struct slice domain;              /* in: d=; borrowed until done */
    struct buf fields;                /* out, SIGN_OK: the DKIM-Signature fields */
    enum sign_status status;          /* out */
    struct err err; /* out: why, unless SIGN_OK; ERR_CANCELLED (with SIGN_AWAY) after a cancel */

    struct signer_client *client;
    struct signer_peer *peer; /* where it was sent; NULL while it waits */
    enum sign_op_state {
        SIGN_OP_IDLE,
        SIGN_OP_WAITING,  /* for a signer that can take it */
        SIGN_OP_SENDING,  /* some of its bytes are not handed to the stream yet */
        SIGN_OP_SENT,     /* waiting for the answer */
        SIGN_OP_FINISHED, /* done comes on the next turn */
    } state;
    uint64_t request, started_us;
    size_t message_bytes, sent_bytes;
    unsigned tries; /* signers that died with it */
    struct list_node node;
    struct timer wait;
    struct deferred finish;
};

/* Cannot fail; done comes exactly once, on a later turn. */
void sign_start(struct sign_op *op, struct signer_client *c);
/* done comes soon with ERR_CANCELLED; no effect on an idle or finished one. */
void sign_cancel(struct sign_op *op);

#endif
