/*
 * From the bytes a client gave to the one canonical form that is stored, signed
 * and sent: checked, with Received, and with Date and Message-ID where they were
 * missing (RFC 6409 8), without Bcc, Return-Path and control fields. Pure.
 *
 * Only the header section is written anew; the body is never copied. What is
 * wrong is refused, never repaired.
 */
#ifndef STAGEPOST_ACCEPT_PREPARE_H
#define STAGEPOST_ACCEPT_PREPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/accept/control.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/blob.h"
#include "relay/sys/base/id.h"
#include "relay/wire/reply.h"

struct prepare_input {
    struct blob *message;     /* borrowed; header section, empty line, body; CRLF lines */
    struct msg_id id;         /* stands in Received, and in a Message-ID of ours */
    int64_t now_unix_ms;      /* schedule clock; 0: not known, times are not judged */
    int64_t date_unix_ms;     /* for a Date of ours; 0: now */
    const char *hostname;     /* ours, `by` */
    const char *protocol;     /* RFC 3848, `with` */
    struct slice client_name; /* EHLO argument; empty: none */
    struct slice client_ip;   /* text without brackets; empty: none */
    struct slice recipient;   /* the only recipient, for `for`; empty: several */
    bool smtputf8;            /* 8-bit header fields are allowed (RFC 6531) */
};

/* The slices are in the arena. */
struct prepared {
    struct content content; /* the caller's reference: content_unref() */
    /* Each mailbox in From, Sender, Resent-From and Resent-Sender, canonical,
     * and its domain; the first mailbox of From comes first and names the
     * signing domain. 1 to HEADER_SENDERS_MAX. */
    struct slice *senders, *sender_domains;
    unsigned sender_count;
    struct slice header_from; /* first mailbox of From, canonical */
    struct slice subject;     /* unfolded, safe, at most ENVELOPE_SUBJECT_MAX bytes */
    struct slice message_id;  /* without brackets */
    struct controls controls; /* what its control fields said */
    bool eight_bit;           /* an octet above 127, in header section or body */
    bool header_eight_bit;    /* in the header section: only for a peer with SMTPUTF8 */
};

/* PARSE_OK with *out, or PARSE_BAD with what to say: 550 5.6.0, 552 5.3.4 (the
 * header section is too large), 554 5.4.6 (loop), or 452 4.3.1 (the arena is
 * used up). */
enum parse prepare_message(const struct prepare_input *in, struct arena *arena,
                           struct prepared *out, struct reply_text *refusal);

#endif
