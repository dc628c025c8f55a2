/*
 * Connections to Redis. A pool keeps `count` links and one for pub/sub; each
 * connects by itself, greets (greet.h: dataset, settings, scripts), and comes
 * back after a loss with jitter. Commands of one link are answered in order;
 * partition P always uses link P modulo count, so its commands keep theirs.
 *
 * A command is embedded in its owner. done comes exactly once, on a later turn,
 * and from then on the memory is the owner's. `outcome` says what is known:
 * LINK_UNSENT was never written to a socket, LINK_LOST was and nobody knows.
 * A sticky command must be idempotent: it is sent again, on every new link,
 * until it is answered; errors that pass by themselves (loading, full) count
 * as no answer.
 */
#ifndef STAGEPOST_QUEUE_LINK_H
#define STAGEPOST_QUEUE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/resp.h"
#include "queue/scripts.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/list.h"
#include "relay/sys/net/stream.h"

struct link_pool;
struct tls_context;
struct redisReply;

enum { LINKS_MAX = 8, LINK_ANY = LINKS_MAX + 1 };

enum link_outcome {
    LINK_ANSWERED, /* reply is set and is not an error */
    LINK_REFUSED,  /* reply is an error, `class` says which */
    LINK_UNSENT,
    LINK_LOST,
};

struct link_cmd {
    void (*done)(struct link_cmd *c);
    enum link_outcome outcome;
    enum resp_class class;
    const struct redisReply *reply; /* valid inside done only */
    uint64_t sent_ms, sent_us;      /* when it was last handed to a link, monotonic */
    bool sticky;

    /* The queue's links only. */
    struct link_pool *pool;
    unsigned link;             /* index, or LINK_ANY */
    const struct script *call; /* EVALSHA of it; NULL: a plain command */
    bool as_source;            /* EVAL after NOSCRIPT */
    unsigned args;
    struct buf text;        /* the arguments in RESP */
    struct slice pieces[2]; /* one more argument, borrowed, in two pieces */
    bool has_pieces;
    enum { CMD_IDLE, CMD_FAILING, CMD_WAITING, CMD_BACKLOG, CMD_SENT } place;
    struct list_node node;
};

/* Begins a command; arguments follow. */
void link_cmd_init(struct link_cmd *c, struct link_pool *p, unsigned link,
                   void (*done)(struct link_cmd *c));
void link_cmd_plain(struct link_cmd *c, const char *name);
/* Keys follow, then arguments. */
void link_cmd_script(struct link_cmd *c, enum script_name name, unsigned keys);
void link_arg(struct link_cmd *c, struct slice s);
void link_arg_str(struct link_cmd *c, const char *s);
void link_arg_int(struct link_cmd *c, int64_t v);
/* The last argument, borrowed until done: copied only when it is sent, so that
 * what waits for its turn costs nothing. */
void link_arg_borrowed(struct link_cmd *c, struct slice first, struct slice second);
void link_cmd_start(struct link_cmd *c);
/* A sticky command gives up: done comes soon, LINK_UNSENT when it was waiting,
 * otherwise with whatever its link says next. */
void link_cmd_unstick(struct link_cmd *c);
bool link_cmd_active(const struct link_cmd *c);
/* Redis refused it before it began: nothing was done. Any other error may come
 * from the middle of a script. */
bool link_cmd_was_refused(const struct link_cmd *c);
/* "OOM command not allowed ...", "link lost", for an err. */
void link_cmd_explain(const struct link_cmd *c, struct err *err);

struct link_pool_user {
    /* A link is up: greeted and usable. */
    void (*on_up)(struct link_pool_user *u, unsigned link);
    void (*on_down)(struct link_pool_user *u, unsigned link);
    /* A message of the pub/sub channel. */
    void (*on_hint)(struct link_pool_user *u, struct slice payload);
    /* The link is connected: send its greeting with link_greet_send(); when
     * that is answered, link_greeted() or link_refuse(). */
    void (*on_connected)(struct link_pool_user *u, unsigned link);
};

struct link_pool_config {
    struct net_address redis;
    struct tls_context *tls; /* borrowed; its certificate must name the address; NULL: none */
    unsigned count;
    uint64_t timeout_ms; /* for connecting, for a handshake, and for each reply */
};

struct link_pool *link_pool_open(struct loop *l, const struct link_pool_config *cfg,
                                 struct link_pool_user *user);
/* Ends all links. Every command pending gets its done (sticky ones too) before
 * this returns, so call it from the loop only. No callback comes afterwards. */
void link_pool_close(struct link_pool *p);
/* After that: false while a connection that was being made is still ending. */
bool link_pool_try_free(struct link_pool *p);

unsigned link_count(const struct link_pool *p);
bool link_is_up(const struct link_pool *p, unsigned link);
bool link_any_up(const struct link_pool *p);
unsigned link_up(const struct link_pool *p); /* one that is; LINK_ANY: none */
bool link_all_up(const struct link_pool *p);
/* `preferred` when it is up, else one that is, else `preferred`: for questions,
 * whose order does not matter. */
unsigned link_up_near(const struct link_pool *p, unsigned preferred);
const struct scripts *link_scripts(const struct link_pool *p);

/* For the greeting: sends on a link that is connected and not yet up. */
void link_greet_send(struct link_cmd *c);
void link_greeted(struct link_pool *p, unsigned link);
void link_refuse(struct link_pool *p, unsigned link, const char *why);

#endif
