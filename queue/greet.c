#include "queue/greet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/schedule.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

/* Without these an acknowledged message can be lost or evicted. */
static const struct {
    const char *name, *value, *trouble;
} SETTINGS[] = {
    {"appendonly", "yes", "Redis: appendonly must be yes"},
    {"appendfsync", "always", "Redis: appendfsync must be always"},
    {"no-appendfsync-on-rewrite", "no", "Redis: no-appendfsync-on-rewrite must be no"},
    {"maxmemory-policy", "noeviction", "Redis: maxmemory-policy must be noeviction"},
};

enum { GREET_NAME, GREET_DATASET, GREET_CLOCK, GREET_SETTINGS, GREET_SCRIPTS };
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
        return "the dataset of this queue is gone from Redis";
    if (slice_eq(uuid, SLICE("FOREIGN")))
        return "the Redis database holds keys of another program";
    if (resp_int(resp_at(r, 1), 0) != GREET_SCHEMA)
        return "the dataset has another schema";
    if (resp_int(resp_at(r, 2), 0) != QUEUE_PARTITIONS || uuid.n != DATASET_BYTES)
        return "the dataset has another number of partitions";
    if (q->dataset[0] != '\0' && !slice_eq(uuid, slice_str(q->dataset)))
        return "Redis holds another dataset than before";
    if (q->dataset[0] == '\0')
        memcpy(q->dataset, uuid.p, uuid.n);
    return NULL;
}

/* r: names and values in turn. */
static const char *
judge_settings(const struct redisReply *r)
{
    for (size_t i = 0; i + 1 < resp_count(r); i += 2)
        for (size_t s = 0; s < ARRAY_LEN(SETTINGS); s++)
            if (resp_is(resp_at(r, i), SETTINGS[s].name) &&
                !resp_is(resp_at(r, i + 1), SETTINGS[s].value))
                return SETTINGS[s].trouble;
    return NULL;
}

static const char *
judge(struct greeting *g, unsigned which, const struct link_cmd *c)
{
    bool config_denied = which == GREET_SETTINGS && c->outcome == LINK_REFUSED &&
                         (c->class == RESP_FORBIDDEN || c->class == RESP_UNEXPECTED);
    if (config_denied)
        LOG0(LOG_WARN, "queue.redis.settings-unknown");
    if (which == GREET_NAME || config_denied)
        return NULL;
    if (c->outcome == LINK_REFUSED && c->class == RESP_FORBIDDEN)
        return "Redis denies access";
    if (c->outcome != LINK_ANSWERED) {
        g->not_ready = true;
        return NULL;
    }
    if (which == GREET_DATASET)
        return judge_dataset(g->q, c->reply);
    if (which == GREET_SETTINGS)
        return judge_settings(c->reply);
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
}

static void
add_greeting(struct greeting *g, unsigned which)
{
    struct link_cmd *c = &g->cmds[which].cmd;
    switch (which) {
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

void
greet_link(struct queue *q, unsigned link)
{
    struct greeting *g = calloc(1, sizeof *g);
    BUG_ON(g == NULL);
    g->q = q;
    g->link = link;
    if (link == link_count(q->links)) {
        g->cmds[0].owner = g;
        link_cmd_init(&g->cmds[0].cmd, q->links, link, on_subscribed);
        link_cmd_plain(&g->cmds[0].cmd, "SUBSCRIBE");
        link_arg_str(&g->cmds[0].cmd, "sp:hint");
        link_greet_send(&g->cmds[0].cmd);
        return;
    }
    g->pending = GREET_COMMANDS;
    for (unsigned i = 0; i < GREET_COMMANDS; i++) {
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
    if (c->outcome != LINK_ANSWERED || q->closing)
        return;
    const char *trouble = judge_settings(c->reply);
    set_trouble(q, q->dataset_trouble != NULL ? q->dataset_trouble : trouble);
}

static void
on_dataset_checked(struct link_cmd *c)
{
    struct queue *q = container_of(c, struct queue, dataset_cmd);
    if (c->outcome == LINK_ANSWERED && !q->closing)
        q->dataset_trouble = judge_dataset(q, c->reply);
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
