/*
 * From the JSON of POST /v1/messages to a message: parse, validate every
 * string, build MIME. One function that does no I/O and touches nothing but its
 * own struct, so that large bodies are compiled on the work pool.
 *
 * Nothing of a string that a client gave can become a header field, a line or a
 * MIME part of its own: header-bound text must be one line without control
 * characters, or the request is refused with a pointer to the field. What is
 * built is 7-bit clean, but for addresses in UTF-8 (RFC 6532), with CRLF line
 * ends, and has no Bcc field. Date and Message-ID are left to the door.
 */
#ifndef STAGEPOST_API_MESSAGE_H
#define STAGEPOST_API_MESSAGE_H

#include <jansson.h>
#include <stddef.h>

#include "api/problem.h"
#include "relay/accept/submit.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/* Once in a process, before the first message_compile(). */
void message_setup(void);

enum message_result {
    MESSAGE_OK,
    MESSAGE_NOT_JSON,  /* 400, `detail` says where */
    MESSAGE_INVALID,   /* 422, `errors` */
    MESSAGE_TOO_LARGE, /* 413, `detail` */
};

struct message {
    /* In. */
    struct slice json;
    size_t bytes_max;    /* of the MIME message */
    int64_t now_unix_ms; /* what send_at is measured by */
    /* Out, in `arena`, which message_init() makes and message_fini() frees. */
    struct arena arena;
    enum message_result result;
    char detail[200];
    struct field_errors errors;
    struct slice from, from_domain; /* canonical mailbox and its domain */
    struct submit_recipient *recipients;
    unsigned recipient_count;
    bool smtputf8; /* an address is not ASCII (RFC 6531) */
    struct buf mime;
    int64_t send_at_unix_ms, expires_unix_ms; /* 0: now; as configured */
    enum submit_class klass;
    struct slice tags, metadata; /* JSON; empty: none */
};

void message_init(struct message *m, struct slice json, size_t bytes_max);
void message_compile(struct message *m);
/* Fills what a message that is compiled says about its submission: all but what
 * submission_fill() does. The MIME bytes are given over. */
void message_fill(struct message *m, struct submit_op *op);
/* From JSON that is parsed already; what was made does not point into it.
 * Attachments are taken out of it. */
void message_compile_object(struct message *m, json_t *object);
void message_fini(struct message *m);

#endif
