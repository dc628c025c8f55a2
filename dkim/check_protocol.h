/*
 * What an asker (worker, command line) and the checker say to each other, on
 * frames (relay/sys/net/frame.h) over a unix socket. The checker says READY when it
 * has accepted a connection. A connection has one check at a time:
 *
 *   CHECK    ip | local part | domain | helo: texts, u32 length and bytes each
 *   ASK      u32 type | name      the checker needs an answer of DNS
 *   ANSWER   u32 status | records, u32 length and RDATA each
 *   VERDICT  u32 result | u32 lookups | u32 void lookups | u32 flags | text
 *   READY    empty; request 0
 *
 * Flags: 1 unsure, 2 by local part.
 * CHECK, then ASK and ANSWER in turn, then VERDICT, all with the CHECK's
 * request number. A breach of this protocol is a bug of ours: the connection
 * is closed.
 */
#ifndef STAGEPOST_DKIM_CHECK_PROTOCOL_H
#define STAGEPOST_DKIM_CHECK_PROTOCOL_H

#include "dkim/spf.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/net/frame.h"

enum check_frame {
    CHECK_FRAME_CHECK = 1,
    CHECK_FRAME_ANSWER = 2,
    CHECK_FRAME_READY = 16,
    CHECK_FRAME_ASK = 17,
    CHECK_FRAME_VERDICT = 18,
};

/* One frame of either side, decoded and checked by itself. */
struct check_message {
    enum check_frame type;
    uint64_t request;
    struct spf_mail mail;                  /* CHECK */
    enum dns_type ask_type;                /* ASK: A, AAAA, MX, PTR or TXT */
    char ask_name[ADDRESS_DOMAIN_MAX + 1]; /* ASK */
    enum dns_status status;                /* ANSWER */
    struct slice records;                  /* ANSWER: whole records */
    struct spf_verdict verdict;            /* VERDICT */
};

/* Cuts one frame from the front of `in`; `records` points into it. PARSE_BAD as soon as
 * CHECK_FRAME_MAX bytes hold no whole frame. */
enum parse check_message_cut(struct slice *in, struct check_message *out);

/* Append one frame; false: no room. */
bool check_add_check(struct buf *b, uint64_t request, const struct spf_mail *m);
bool check_add_ask(struct buf *b, uint64_t request, enum dns_type type, const char *name);
bool check_add_answer(struct buf *b, uint64_t request, enum dns_status status,
                      struct slice records);
bool check_add_verdict(struct buf *b, uint64_t request, const struct spf_verdict *v);

#endif
