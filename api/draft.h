/*
 * A message that was asked for, validated and not yet built: what
 * draft_read.c makes of the JSON and mime.c makes a message of. Slices point
 * into the JSON tree or the arena.
 */
#ifndef STAGEPOST_API_DRAFT_H
#define STAGEPOST_API_DRAFT_H

#include <jansson.h>
#include <stdbool.h>

#include "api/problem.h"
#include "relay/accept/submit.h"
#include "relay/accept/wishes.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"

struct draft_mailbox {
    struct slice name;    /* display name, UTF-8; empty: none */
    struct slice address; /* canonical; ASCII, or UTF-8 in the local part */
    struct slice domain;  /* of it */
};

struct draft_list {
    struct draft_mailbox *v;
    unsigned count;
};

struct draft_pair {
    struct slice name, value;
};

struct draft_attachment {
    struct slice filename;
    struct slice type, subtype;
    struct draft_pair parameters[API_TYPE_PARAMETERS_MAX];
    unsigned parameter_count;
    struct slice content_id; /* without brackets; empty: none */
    struct buf content;      /* decoded */
};

enum draft_list_kind { DRAFT_FROM, DRAFT_TO, DRAFT_CC, DRAFT_BCC, DRAFT_REPLY_TO, DRAFT_LISTS };

struct draft {
    struct arena *arena;
    struct field_errors *errors;
    struct draft_list lists[DRAFT_LISTS];
    bool has_subject, has_text, has_html;
    struct slice subject, text, html;
    struct draft_pair headers[API_HEADERS_MAX];
    unsigned header_count;
    struct draft_attachment attachments[API_ATTACHMENTS_MAX];
    unsigned attachment_count;
    struct draft_unsubscribe {
        struct slice url, mailto; /* mailto without its scheme; empty: none */
        bool https, one_click;
    } unsubscribe;
    struct wishes wishes; /* now_unix_ms: in */
    /* To, Cc and Bcc, each address once. */
    struct submit_recipient *recipients;
    unsigned recipient_count;
    bool smtputf8; /* one of the addresses is not ASCII */
    bool no_room;  /* the arena is used up */
};

/* Appends an error with a pointer made from the format; returns false. */
bool draft_fail(struct draft *d, const char *code, const char *detail, const char *pointer, ...)
    __attribute__((format(printf, 4, 5)));

enum { DRAFT_POINTER_MAX = 256 };
/* "<parent>/<key>" with the key escaped (RFC 6901 3) and cut: it may be anything. */
void draft_pointer(char out[DRAFT_POINTER_MAX], const char *parent, const char *key);

/* One line of text that is bound for a header field: no control characters, no
 * line separators, no bidirectional overrides, at most `max` bytes. */
bool draft_check_line(struct draft *d, struct slice text, size_t max, const char *pointer);

/* Reads all members of the object; wrong ones end up in d->errors. Takes the
 * contents of attachments out of the tree, so that they are not held twice. */
void draft_read(struct draft *d, json_t *object);
void draft_fini(struct draft *d);

/* draft_address.c: "user@example.org", "Name <user@example.org>",
 * {"email","name"}, or with `many` a list of these. */
bool draft_read_list(struct draft *d, json_t *v, const char *pointer, struct draft_list *out);

/* The members of an object: those of `rows` (the last one has no name) are read,
 * others are unknown_field, null is as if it were absent. */
struct draft_member {
    const char *name;
    bool (*read)(struct draft *d, json_t *v);
};
void draft_read_members(struct draft *d, json_t *object, const char *pointer,
                        const struct draft_member *rows);

/* draft_unsubscribe.c */
bool draft_read_unsubscribe(struct draft *d, json_t *v);

/* draft_delivery.c */
bool draft_read_send_at(struct draft *d, json_t *v);
bool draft_read_expires_at(struct draft *d, json_t *v);
bool draft_read_ttl(struct draft *d, json_t *v);
bool draft_check_times(struct draft *d); /* when all three are read */
bool draft_read_class(struct draft *d, json_t *v);
bool draft_read_tags(struct draft *d, json_t *v);
bool draft_read_metadata(struct draft *d, json_t *v);

/* draft_header.c: custom header fields. */
bool draft_read_headers(struct draft *d, json_t *v);

/* draft_attachment.c */
bool draft_read_attachments(struct draft *d, json_t *v);

#endif
