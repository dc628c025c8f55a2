/*
 * What SMTP needs to know about a queued message, in the form the queue keeps:
 * the envelope of a message, the options of a recipient, and the last verdict
 * on it. Versioned, length-prefixed, validated on read. Pure.
 */
#ifndef STAGEPOST_WIRE_ENVELOPE_H
#define STAGEPOST_WIRE_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

enum dsn_ret { RET_UNSET, RET_FULL, RET_HDRS }; /* RFC 3461 4.3 */

struct envelope {
    struct slice reverse_path; /* canonical mailbox without brackets; empty: <> */
    struct slice envid;        /* decoded, RFC 3461 4.4; empty: none */
    enum dsn_ret ret;
    bool smtputf8;            /* RFC 6531: needs a peer that offers it */
    bool eightbit;            /* RFC 6152: needs a peer that offers 8BITMIME */
    bool is_ndr;              /* our own report: never answered by another */
    struct slice header_from; /* addr-spec of the header From */
    struct slice subject;     /* unfolded and cut to 256 bytes, for people */
    struct slice message_id;  /* without brackets */
    struct slice credential;  /* user name that submitted it */
    /* What the sender wants to find again: JSON, a list and an object, made by us;
     * empty: none. */
    struct slice tags, metadata;
    int64_t send_at_unix_ms; /* not before; 0: at once */
};

bool envelope_encode(const struct envelope *e, struct buf *out);
/* The slices of *out point into `record`. */
bool envelope_decode(struct slice record, struct envelope *out);

/* RFC 3461 4.1: no NOTIFY given means FAILURE (and DELAY). */
enum {
    NOTIFY_GIVEN = 1,
    NOTIFY_NEVER = 2,
    NOTIFY_SUCCESS = 4,
    NOTIFY_FAILURE = 8,
    NOTIFY_DELAY = 16
};

struct rcpt_options {
    unsigned notify;    /* NOTIFY_* bits */
    struct slice orcpt; /* "rfc822;addr" decoded; empty: none */
};

bool rcpt_options_encode(const struct rcpt_options *o, struct buf *out);
bool rcpt_options_decode(struct slice record, struct rcpt_options *out);
bool rcpt_options_wants_failure(const struct rcpt_options *o);
/* Whether DELAY was asked for by name. */
bool rcpt_options_asks_delay(const struct rcpt_options *o);

/* What became of one attempt at one recipient: what the remote said, or our own
 * finding in the same form. */
enum outcome {
    OUTCOME_DELIVERED,
    OUTCOME_TEMP,      /* try again */
    OUTCOME_PERM,      /* give up now */
    OUTCOME_UNCERTAIN, /* dot sent, reply not seen */
};

struct verdict {
    enum outcome outcome;
    unsigned code;        /* 200..599; 0 when nobody replied */
    uint16_t enhanced[3]; /* RFC 3463 class, subject, detail; class 0: none */
    struct slice text;    /* sanitised, one line, at most 1024 bytes */
    struct slice phase;   /* "connecting", "RCPT", "end of data" ... */
    struct slice mx;      /* host name that spoke, empty when none did */
    int64_t at_unix_ms;
};

bool verdict_encode(const struct verdict *v, struct buf *out);
bool verdict_decode(struct slice record, struct verdict *out);

#endif
