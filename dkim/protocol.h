/*
 * What worker and signer say to each other, on frames (relay/sys/net/frame.h)
 * over a unix socket. The signer says READY when it has accepted a connection:
 * the socket outlives a signer, so that connecting to it is no sign of life.
 *
 * A request is one BEGIN and then PIECEs until the number
 * of bytes that BEGIN promised has come; the last byte is the signal to sign.
 * Pieces of several requests may be interleaved, so that a short message
 * overtakes a long one; every request is answered once, in order of
 * completion, and an answer may come before the last piece (a refusal): the
 * pieces that still follow are dropped. ABANDON ends a request without answer.
 *
 * A breach of this protocol is a bug of ours: the connection is closed.
 *
 *   BEGIN    u32 message_bytes | u32 n | domain (n bytes)
 *   PIECE    1 to SIGN_PIECE_BYTES bytes of the message, in order
 *   ABANDON  empty
 *   READY    empty; request 0
 *   SIGNED   the DKIM-Signature fields, ready to stand before the message
 *   REFUSED  text: this message would be signed wrongly (permanent)
 *   NO_KEY   empty: no key for this domain
 *   FAILED   text: the signer could not sign now (temporary)
 */
#ifndef STAGEPOST_DKIM_PROTOCOL_H
#define STAGEPOST_DKIM_PROTOCOL_H

#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/frame.h"

enum {
    SIGN_REQUEST_FRAME_MAX = FRAME_HEADER_BYTES + SIGN_PIECE_BYTES,
    SIGN_FIELDS_BYTES_MAX = KEYS_PER_DOMAIN_MAX * SIGNATURE_BYTES_MAX, /* in SIGNED */
};

enum sign_frame {
    SIGN_FRAME_BEGIN = 1,
    SIGN_FRAME_PIECE = 2,
    SIGN_FRAME_ABANDON = 3,
    SIGN_FRAME_READY = 16,
    SIGN_FRAME_SIGNED = 17,
    SIGN_FRAME_REFUSED = 18,
    SIGN_FRAME_NO_KEY = 19,
    SIGN_FRAME_FAILED = 20,
};

/* How a request to sign ends. */
enum sign_status {
    SIGN_OK,
    SIGN_REFUSED, /* permanent: the message would be signed wrongly; the text says why */
    SIGN_NO_KEY,  /* no key matches the domain */
    SIGN_AWAY,    /* temporary: no signer could do it */
};

/* One request frame, decoded and checked by itself (not against those before). */
struct sign_request {
    enum sign_frame type; /* BEGIN, PIECE or ABANDON */
    uint64_t request;
    uint32_t message_bytes; /* BEGIN: 1..MESSAGE_BYTES_MAX */
    struct slice domain;    /* BEGIN: 1..ADDRESS_DOMAIN_MAX bytes, otherwise unchecked */
    struct slice piece;     /* PIECE: 1..SIGN_PIECE_BYTES bytes */
};

/* Cuts one request frame from the front of `in`; slices point into it. PARSE_BAD
 * as soon as SIGN_REQUEST_FRAME_MAX bytes hold no whole frame. */
enum parse sign_request_cut(struct slice *in, struct sign_request *out);

/* Appends a BEGIN frame; false: no room. */
bool sign_request_add_begin(struct buf *b, uint64_t request, uint32_t message_bytes,
                            struct slice domain);

#endif
