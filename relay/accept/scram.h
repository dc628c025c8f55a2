/*
 * The server's side of one SCRAM-SHA-256 or SCRAM-SHA-256-PLUS exchange (RFC 5802,
 * RFC 7677), pure: no I/O, no credentials, no waiting. libgsasl does the protocol;
 * here is what it leaves open: who the user is before its first step, which of two
 * keys a proof was made with, and what it must never see.
 *
 *   scram_new()            what the connection offers and what the client chose
 *   scram_take_first()     client-first-message; user is known then
 *   scram_answer()         server-first-message: the salt of that user, or a false one
 *   scram_take_final()     client-final-message; right: server-final-message
 *
 * Messages are decoded octets; base64 is the caller's. After anything but
 * SCRAM_GO_ON (and SCRAM_RIGHT) the exchange is good for scram_free() only.
 */
#ifndef STAGEPOST_ACCEPT_SCRAM_H
#define STAGEPOST_ACCEPT_SCRAM_H

#include "relay/sys/base/buf.h"
#include "relay/sys/config/scram_key.h"
#include "relay/sys/net/stream.h"

enum { SCRAM_KEYS_MAX = 2 }; /* passwords that are live at once */

enum scram_outcome {
    SCRAM_GO_ON,
    SCRAM_RIGHT,
    SCRAM_WRONG,      /* the proof, the nonce, the channel binding, an authzid */
    SCRAM_DOWNGRADED, /* the client was not told of -PLUS, which we offer (RFC 5802 6) */
    SCRAM_MALFORMED,
};

struct scram;

/* binding: of the connection, borrowed for the call; NULL: it has none, and -PLUS is
 * not offered there. plus: the client chose -PLUS, binding != NULL then. */
struct scram *scram_new(const struct stream_binding *binding, bool plus);
void scram_free(struct scram *x); /* wipes; NULL is fine */

enum scram_outcome scram_take_first(struct scram *x, struct slice message);
/* Decoded, without NUL; lives as long as x. */
struct slice scram_user(const struct scram *x);

/* What the client is told to salt its password with. Appends to `out`. */
enum scram_outcome scram_answer(struct scram *x, const struct scram_key *key, struct buf *out);

/* keys: all that may be right now, of one salt. When right `which` is the index of
 * the one that was, and the last message is appended to `out`. */
enum scram_outcome scram_take_final(struct scram *x, struct slice message,
                                    const struct scram_key keys[], unsigned count, unsigned *which,
                                    struct buf *out);

/* Keys of a password, of SCRAM_ITERATIONS with a salt of its own, or with both of
 * `like`. Slow: for the work pool. False: no password that a client could send
 * (RFC 4013: empty, control characters, not UTF-8; or longer than SCRAM_PASSWORD_MAX). */
bool scram_key_make(struct slice password, const struct scram_key *like, struct scram_key *out);

#endif
