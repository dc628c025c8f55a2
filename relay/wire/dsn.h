/*
 * Delivery status notifications (RFC 3464, RFC 6522, RFC 6533): a whole
 * message with CRLF line ends out of a struct. Text for people, then the status,
 * then the original. Which forms it has depends on the sender's address alone:
 *
 *                      ASCII: passes any relay    UTF-8: needs SMTPUTF8 anyway
 *   status             delivery-status            global-delivery-status
 *   a UTF-8 address    utf-8; j\x{FC}@a.example    utf-8; in UTF-8
 *   original, 7-bit    message/rfc822             message/rfc822
 *   original, 8-bit    message/global in QP       message/global, 8bit
 *   header, 7-bit      text/rfc822-headers        text/rfc822-headers
 *   header, 8-bit      message/global-headers     message/global-headers, 8bit
 *                      in quoted-printable
 *
 * (message/rfc822 may not be encoded, message/global may: RFC 6532 3.7.)
 * Everything that a stranger wrote is sanitised; it cannot begin a line,
 * a field or a MIME part.
 */
#ifndef STAGEPOST_WIRE_DSN_H
#define STAGEPOST_WIRE_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"
#include "relay/wire/reply.h"
#include "relay/wire/xtext.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };

struct dsn_recipient {
    struct slice address; /* as in RCPT, canonical; may be UTF-8 */
    struct orcpt orcpt;   /* type.n == 0: not given */
    enum dsn_action action;
    struct enhanced status;       /* our verdict, 5.4.7 for expired; class_ 0: the reply's.
                                     The class is made to agree with the action */
    struct enhanced reply_status; /* what stood in the reply; class_ 0: none */
    struct slice remote_mta;      /* host name or address literal; empty: none was reached */
    unsigned reply_code;          /* 0: no SMTP reply (our own decision; `text` explains) */
    struct slice text;            /* the remote's text or our reason; lines by '\n' */
    int64_t last_attempt_unix_ms; /* 0: none */
    int64_t retry_until_unix_ms;  /* DSN_DELAYED only; 0: not told */
};

struct dsn_report {
    struct slice reporting_mta; /* host name */
    struct slice from;          /* mailer-daemon@..., an address */
    struct slice to;            /* the original sender, an address */
    struct slice message_id;    /* of the report, without angle brackets */
    struct slice gateway_id;    /* of the original in our queue */
    struct slice envid;         /* decoded; empty: none */
    int64_t date_unix_ms;
    int64_t arrival_unix_ms;
    const struct dsn_recipient *recipients;
    size_t recipient_count; /* at least 1 */
    /* The original as content_pieces() gives it. */
    const struct slice *original;
    size_t original_pieces;
    bool full;            /* RET=FULL; else, or above DSN_RETURN_MAX, the header section only */
    bool utf8;            /* the sender's address is not ASCII: RFC 6533's UTF-8 forms */
    const char *boundary; /* NULL: random; else the one that is tried first, at most 40
                             octets: for tests that compare bytes */
};

/* Appends the report. False (with `out` as it was) when it does not fit. */
bool dsn_build(const struct dsn_report *report, struct buf *out);

#endif
