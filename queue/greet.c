#include "queue/greet.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

enum {
    BULK_BYTES_LEAST = 64 << 20, /* above MESSAGE_BYTES_MAX with its frame */
    VERSION_LEAST = 7,           /* scripts and append-only files as we use them */
};

/* Without these an acknowledged message can be lost or evicted, or the largest
 * cannot be stored. */
static const struct {
    const char *name, *value;
    int64_t least; /* when there is no value */
    const char *trouble;
} SETTINGS[] = {
    {"appendonly", "yes", 0, "Redis: appendonly must be yes"},
    {"appendfsync", "always", 0, "Redis: appendfsync must be always"},
    {"no-appendfsync-on-rewrite", "no", 0, "Redis: no-appendfsync-on-rewrite must be no"},
    {"maxmemory-policy", "noeviction", 0, "Redis: maxmemory-policy must be noeviction"},
    {"proto-max-bulk-len", NULL, BULK_BYTES_LEAST,
     "Redis: proto-max-bulk-len must be 64mb or more"},
};

enum {
    GREET_AUTH,
    GREET_NAME,
    GREET_DATASET,
    GREET_CLOCK,
    GREET_SETTINGS,
    GREET_SERVER,
    GREET_REPLICATION,
    GREET_SCRIPTS
};
enum { GREET_COMMANDS = GREET_SCRIPTS + SCRIPT_COUNT };

struct greeting;
struct greet_cmd {
    struct link_cmd cmd;
    struct greeting *owner;
};

struct greeting {
    struct queue *q;
    unsigned link, pending;
    const char *trouble; /* why this Redis will not do */
    bool not_ready;      /* loading, busy or gone: will pass */
    struct greet_cmd cmds[GREET_COMMANDS];
};

static void
set_trouble(struct queue *q, const char *trouble)
{
    if (trouble == q->trouble)
        return;
    q->trouble = trouble;
    if (trouble != NULL)
        LOG(LOG_ERROR, "queue.redis.unfit", LF_STR("why", trouble));
    else
        LOG0(LOG_NOTICE, "queue.redis.fit");
}

void
greet_take_clock(struct queue *q, int64_t offset_ms)
{
    if (offset_ms <= clock_sched_offset_ms())
        return;
    clock_sched_set_offset_ms(offset_ms);
    LOG(LOG_NOTICE, "queue.clock.advanced", LF_U("offset_ms", offset_ms));
    schedule_scan_all(q);
}

/* ---- judging --------------------------------------------------------------- */

static const char *
judge_dataset(struct queue *q, const struct redisReply *r)
{
    struct slice uuid = resp_text(resp_at(r, 0));
    if (slice_eq(uuid, SLICE("GONE")))
        return "the dataset of this queue is gone from Redis: bring it back, or remove the file "
               "`dataset` in the state directory and start again with an empty queue";
    if (slice_eq(uuid, SLICE("FOREIGN")))
        return "the Redis database holds keys of another program";
    if (resp_int(resp_at(r, 1), 0) != GREET_SCHEMA)
        return "the dataset has another schema";
    if (resp_int(resp_at(r, 2), 0) != QUEUE_PARTITIONS || uuid.n != DATASET_BYTES)
        return "the dataset has another number of partitions";
    if (q->dataset[0] != '\0' && !slice_eq(uuid, slice_str(q->dataset)))
        return "Redis holds another dataset than before: bring ours back, or remove the file "
               "`dataset` in the state directory and start again";
    if (q->dataset[0] == '\0')
        memcpy(q->dataset, uuid.p, uuid.n);
    return NULL;
}

static bool
setting_fits(size_t s, const struct redisReply *value)
{
    if (SETTINGS[s].value != NULL)
        return resp_is(value, SETTINGS[s].value);
    return resp_int(value, SETTINGS[s].least) >= SETTINGS[s].least;
}

/* The value behind "NAME:" on a line of INFO; empty: there is none. */
static struct slice
info_field(const struct redisReply *r, const char *name)
{
    for (struct slice all = resp_text(r); all.n > 0;) {
        struct slice line = slice_trim(slice_cut_at(&all, '\n'));
        if (slice_eq(slice_cut_at(&line, ':'), slice_str(name)))
            return line;
    }
    return SLICE_NONE;
}

static const char *
judge_server(const struct redisReply *r)
{
    struct slice version = info_field(r, "redis_version");
    uint64_t major;
    if (slice_to_u64(slice_cut_at(&version, '.'), &major) && major < VERSION_LEAST)
        return "Redis is older than 7.0";
    if (slice_eq(info_field(r, "redis_mode"), SLICE("cluster")))
        return "Redis is a cluster: a single server is needed";
    return NULL;
}

static const char *
judge_replication(const struct redisReply *r)
{
    if (slice_eq(info_field(r, "role"), SLICE("slave")))
        return "Redis is a replica: queue.redis must name its primary";
    return NULL;
}

/* What Redis says about who we are: RDS-09. */
static const char *
judge_denial(unsigned which, const struct link_cmd *c)
{
    struct slice text = slice_from(c->reply->str, c->reply->len);
    if (slice_starts(text, SLICE("NOAUTH")))
        return "Redis wants a password: queue.redis_password_file";
    if (slice_starts(text, SLICE("WRONGPASS")) || slice_starts(text, SLICE("ERR invalid password")))
        return "Redis refuses queue.redis_user with the password of queue.redis_password_file";
    if (which == GREET_AUTH)
        return "Redis has no password: queue.redis_password_file must not be given";
    return "Redis denies what the queue needs: the ACL of queue.redis_user must allow the keys "
           "sp:*, the channel sp:hint and all commands but @dangerous";
}

/* Not wrong, but it ends badly. */
static void
advise(const struct redisReply *r)
{
    for (size_t i = 0; i + 1 < resp_count(r); i += 2)
        if (resp_is(resp_at(r, i), "maxmemory") && resp_is(resp_at(r, i + 1), "0"))
            LOG(LOG_WARN, "queue.redis.advice",
                LF_STR("text", "maxmemory is not set: a full queue ends with the kernel killing "
                               "Redis instead of a refusal"));
}

/* r: names and values in turn. */
static const char *
judge_settings(const struct redisReply *r)
{
    for (size_t i = 0; i + 1 < resp_count(r); i += 2)
        for (size_t s = 0; s < ARRAY_LEN(SETTINGS); s++)
            if (resp_is(resp_at(r, i), SETTINGS[s].name) && !setting_fits(s, resp_at(r, i + 1)))
                return SETTINGS[s].trouble;
    return NULL;
}

static bool
wants_password(const struct link_cmd *c)
{
    return slice_starts(slice_from(c->reply->str, c->reply->len), SLICE("NOAUTH"));
}

static const char *
judge(struct greeting *g, unsigned which, const struct link_cmd *c)
{
    bool told_no =
        c->outcome == LINK_REFUSED && (c->class == RESP_FORBIDDEN || c->class == RESP_UNEXPECTED);
    bool may_be_denied = which >= GREET_SETTINGS && which <= GREET_REPLICATION;
    if (told_no && may_be_denied && !wants_password(c))
        LOG(LOG_WARN, "queue.redis.settings-unknown",
            LF_S("text", slice_from(c->reply->str, c->reply->len)));
    if (which == GREET_NAME || (told_no && may_be_denied))
        return NULL;
    if (told_no && (c->class == RESP_FORBIDDEN || which == GREET_AUTH))
        return judge_denial(which, c);
    if (c->outcome != LINK_ANSWERED) {
        g->not_ready = true;
        return NULL;
    }
    if (which == GREET_DATASET)
        return judge_dataset(g->q, c->reply);
    if (which == GREET_SETTINGS) {
        if (g->link == 0)
            advise(c->reply);
        return judge_settings(c->reply);
    }
    if (which == GREET_SERVER)
        return judge_server(c->reply);
    if (which == GREET_REPLICATION)
        return judge_replication(c->reply);
    if (which == GREET_CLOCK)
        greet_take_clock(g->q, resp_int(c->reply, 0));
    return NULL;
}

static void
greet_end(struct greeting *g)
{
    struct queue *q = g->q;
    unsigned link = g->link;
    const char *trouble = g->trouble;
    bool not_ready = g->not_ready;
    free(g);
    if (q->closing)
        return;
    if (trouble == NULL && not_ready) {
        link_refuse(q->links, link, "Redis is not ready");
        return;
    }
    set_trouble(q, trouble);
    if (trouble == NULL)
        link_greeted(q->links, link);
    else
        link_refuse(q->links, link, trouble);
}

static void
on_greeted(struct link_cmd *c)
{
    struct greet_cmd *gc = container_of(c, struct greet_cmd, cmd);
    struct greeting *g = gc->owner;
    const char *trouble = judge(g, (unsigned)(gc - g->cmds), c);
    if (g->trouble == NULL)
        g->trouble = trouble;
    if (--g->pending == 0)
        greet_end(g);
}

/* ---- asking ---------------------------------------------------------------- */

static void
add_dataset(struct link_cmd *c, struct queue *q)
{
    char uuid[DATASET_BYTES + 1] = "";
    uint8_t bytes[DATASET_BYTES / 2];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; q->dataset[0] == '\0' && i < sizeof bytes; i++)
        snprintf(uuid + 2 * i, 3, "%02x", bytes[i]);
    link_cmd_script(c, SCRIPT_CALL_DATASET, 1);
    c->as_source = true; /* nothing is loaded yet */
    link_arg_str(c, "sp:dataset");
    link_arg_str(c, uuid);
    link_arg_int(c, GREET_SCHEMA);
    link_arg_int(c, QUEUE_PARTITIONS);
}

static void
add_settings(struct link_cmd *c)
{
    link_cmd_plain(c, "CONFIG");
    link_arg_str(c, "GET");
    for (size_t i = 0; i < ARRAY_LEN(SETTINGS); i++)
        link_arg_str(c, SETTINGS[i].name);
    link_arg_str(c, "maxmemory");
}

/* Before anything else, on every connection. */
static void
add_auth(struct link_cmd *c, const struct queue *q)
{
    link_cmd_plain(c, "AUTH");
    if (q->cfg.redis_user[0] != '\0')
        link_arg_str(c, q->cfg.redis_user);
    link_arg_str(c, q->cfg.redis_password);
}

static bool
has_password(const struct queue *q)
{
    return q->cfg.redis_password != NULL && q->cfg.redis_password[0] != '\0';
}

static void
add_info(struct link_cmd *c, const char *section)
{
    link_cmd_plain(c, "INFO");
    link_arg_str(c, section);
}

static void
add_greeting(struct greeting *g, unsigned which)
{
    struct link_cmd *c = &g->cmds[which].cmd;
    switch (which) {
    case GREET_AUTH:
        add_auth(c, g->q);
        break;
    case GREET_SERVER:
        add_info(c, "server");
        break;
    case GREET_REPLICATION:
        add_info(c, "replication");
        break;
    case GREET_NAME:
        link_cmd_plain(c, "CLIENT");
        link_arg_str(c, "SETNAME");
        link_arg_str(c, "stagepost");
        break;
    case GREET_DATASET:
        add_dataset(c, g->q);
        break;
    case GREET_CLOCK:
        link_cmd_plain(c, "GET");
        link_arg_str(c, "sp:clock");
        break;
    case GREET_SETTINGS:
        add_settings(c);
        break;
    default:
        link_cmd_plain(c, "SCRIPT");
        link_arg_str(c, "LOAD");
        link_arg(c, link_scripts(g->q->links)->of[which - GREET_SCRIPTS].source);
    }
}

/* What it says shows in the answer to what follows. */
static void
on_subscriber_known(struct link_cmd *c)
{
    (void)c;
}

/* The subscriber asks for nothing else. */
static void
on_subscribed(struct link_cmd *c)
{
    struct greet_cmd *gc = container_of(c, struct greet_cmd, cmd);
    struct greeting *g = gc->owner;
    struct queue *q = g->q;
    unsigned link = g->link;
    bool ok = c->outcome == LINK_ANSWERED;
    free(g);
    if (q->closing)
        return;
    if (ok)
        link_greeted(q->links, link);
    else
        link_refuse(q->links, link, "cannot subscribe");
}

static void
greet_subscriber(struct greeting *g)
{
    struct queue *q = g->q;
    if (has_password(q)) {
        link_cmd_init(&g->cmds[GREET_AUTH].cmd, q->links, g->link, on_subscriber_known);
        add_auth(&g->cmds[GREET_AUTH].cmd, q);
        link_greet_send(&g->cmds[GREET_AUTH].cmd);
    }
    struct greet_cmd *gc = &g->cmds[GREET_NAME];
    gc->owner = g;
    link_cmd_init(&gc->cmd, q->links, g->link, on_subscribed);
    link_cmd_plain(&gc->cmd, "SUBSCRIBE");
    link_arg_str(&gc->cmd, "sp:hint");
    link_greet_send(&gc->cmd);
}

void
greet_link(struct queue *q, unsigned link)
{
    struct greeting *g = calloc(1, sizeof *g);
    BUG_ON(g == NULL);
    g->q = q;
    g->link = link;
    if (link == link_count(q->links)) {
        greet_subscriber(g);
        return;
    }
    unsigned first = has_password(q) ? GREET_AUTH : GREET_NAME;
    g->pending = GREET_COMMANDS - first;
    for (unsigned i = first; i < GREET_COMMANDS; i++) {
        g->cmds[i].owner = g;
        link_cmd_init(&g->cmds[i].cmd, q->links, link, on_greeted);
        add_greeting(g, i);
        link_greet_send(&g->cmds[i].cmd);
    }
}

/* The second of two commands on one link: both answers are known. */
static void
on_checked(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct queue, check_cmd);
    if ((c->outcome != LINK_ANSWERED && c->outcome != LINK_REFUSED) || q->closing)
        return;
    const char *trouble = c->outcome == LINK_ANSWERED ? judge_settings(c->reply) : NULL;
    set_trouble(q, q->dataset_trouble != NULL ? q->dataset_trouble : trouble);
}

static void
on_dataset_checked(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct queue, dataset_cmd);
    if (q->closing)
        return;
    if (c->outcome == LINK_ANSWERED)
        q->dataset_trouble = judge_dataset(q, c->reply);
    else if (c->outcome == LINK_REFUSED && c->class == RESP_FORBIDDEN)
        q->dataset_trouble = judge_denial(GREET_DATASET, c);
}

void
greet_check(struct queue *q)
{
    unsigned link = link_up(q->links);
    if (link_cmd_active(&q->check_cmd) || link_cmd_active(&q->dataset_cmd) || link == LINK_ANY)
        return;
    link_cmd_init(&q->dataset_cmd, q->links, link, on_dataset_checked);
    add_dataset(&q->dataset_cmd, q);
    q->dataset_cmd.as_source = false;
    link_cmd_start(&q->dataset_cmd);
    link_cmd_init(&q->check_cmd, q->links, link, on_checked);
    add_settings(&q->check_cmd);
    link_cmd_start(&q->check_cmd);
}
