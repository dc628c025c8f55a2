/* Shared by notice.c (from the debt to the consumer) and notice_pay.c (from there to
 * its end); nobody else includes it. */
#ifndef STAGEPOST_QUEUE_NOTICE_INTERNAL_H
#define STAGEPOST_QUEUE_NOTICE_INTERNAL_H

#include <uthash.h>

#include "queue/body.h"
#include "queue/notice.h"
#include "queue/record.h"

enum { DEBT_NAME_MAX = KEY_MEMBER_MAX + 24 };

/* A field in `ndr`. */
struct debt {
    struct list_node node;
    struct slice name, value;
};

struct queue_notice {
    struct partition *p;
    struct msg_id id;
    bool collecting; /* the sweep that found it goes on */
    bool more;       /* there are debts that came too late for it */
    struct arena debts_arena, arena;
    struct list debts;
    unsigned debt_count;
    struct queue_message message;
    struct record_body info;
    struct queue_notice_target *targets;
    unsigned target_count;
    struct content content;
    struct link_cmd cmd;
    struct body_load load;
    bool out; /* the consumer's, or being paid */
    UT_hash_handle hh;
};

/* Its partition is swept again when debts came too late for it. */
void notice_free(struct queue_notice *n);

#endif
