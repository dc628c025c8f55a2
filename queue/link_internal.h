/*
 * Shared by link.c (connections: made, greeted, read, lost) and link_cmd.c (commands: built,
 * queued, sent, answered); nobody else includes it.
 *
 * Links and pool are owned by link.c. link_cmd.c keeps the lists of commands in them, and never
 * ends a link.
 */
#ifndef STAGEPOST_QUEUE_LINK_INTERNAL_H
#define STAGEPOST_QUEUE_LINK_INTERNAL_H

#include <hiredis/hiredis.h>

#include "queue/link.h"

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
    struct link_pool *pool;
    unsigned index;
    enum link_state state;
    struct connect_op connect;
    struct tls_op tls;
    struct stream *stream; /* NULL unless in a TLS handshake, greeting or up */
    struct stream_user user;
    redisReader *reader; /* as the stream */
    struct resp_guard guard;
    struct list sent;      /* CMD_SENT, in the order in which replies come */
    struct list backlog;   /* CMD_BACKLOG: no room in the pipeline yet */
    size_t sent_bytes;     /* of the commands in `sent` */
    struct timer deadline; /* of the oldest in `sent`; ends the link */
    struct timer retry;    /* while down */
    uint64_t retry_ms;     /* the next one waits so long, at most */
    char down_why[96];     /* as the log was told; "" while up */
};

struct link_pool {
    struct loop *loop;
    struct link_pool_config cfg;
    unsigned count; /* links[count] is the subscriber */
    uint64_t timeout_ms;
    char redis_ip[64]; /* what a certificate must name */
    struct link_pool_user *user;
    struct scripts *scripts;
    struct link links[LINKS_MAX + 1];
    unsigned next_any;   /* where the search for LINK_ANY begins */
    struct list waiting; /* CMD_WAITING: sticky, for a link or a better answer */
    struct list failing; /* CMD_FAILING: LINK_UNSENT on the next turn */
    struct deferred fail_call;
    struct timer sticky_retry; /* starts again what is in `waiting` */
    bool closing;
};

void link_cmds_init(struct link_pool *p);
/* With every link down and the pool closing: all that is left gets its done. */
void link_cmds_close(struct link_pool *p);
/* Sends from the backlog what the pipeline has room for. */
void link_cmds_flush(struct link *k);
/* The oldest command sent gets its reply, borrowed; false: there is none. Its done may end the
 * link. */
bool link_cmds_take_reply(struct link *k, struct redisReply *r);
/* Empties the list: done for each, but a sticky one waits for another link unless the pool
 * is closing. */
void link_cmds_settle(struct list *l, enum link_outcome outcome);
/* Starts again what waits for a link; soon: on a later turn. */
void link_cmds_release(struct link_pool *p);
void link_cmds_release_soon(struct link_pool *p);

#endif
