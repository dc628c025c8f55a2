#include "queue/history.h"

#include <stdlib.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

/* For its size, down to bytes_max, or for its age, all that is old enough. */
struct trim {
    struct partition *p;
    struct link_cmd cmd;
    int64_t bytes_max, before_unix_ms;
    struct msg_id first; /* of the last batch */
    bool full;           /* that batch: there may be more */
};

static void trim_read(struct trim *t);

/* A commit whose outcome is unknown may still be asked for: nothing younger
 * than that is forgotten. */
static int64_t
youngest(const struct queue *q)
{
    uint64_t ms = 2 * (q->cfg.commit_timeout_ms + q->cfg.unknown_timeout_ms);
    return clock_sched_unix_ms() - (int64_t)ms;
}

static void
trim_end(struct trim *t)
{
    t->p->trimming = false;
    free(t);
}

static void
on_trimmed(struct link_cmd *c)
{
    struct trim *t = container_of(c, struct trim, cmd);
    if (c->outcome == LINK_ANSWERED && t->p->held && t->full &&
        resp_int(c->reply, 0) > t->bytes_max)
        trim_read(t);
    else
        trim_end(t);
}

static void
trim_send(struct trim *t, const struct redisReply *ids)
{
    struct partition *p = t->p;
    static const enum key_part PARTS[] = {KEY_HIST, KEY_STAT, KEY_IDX};
    struct msg_id id[QUEUE_TRIM_BATCH];
    unsigned n = 0;
    for (size_t i = 0; i < resp_count(ids) && n < QUEUE_TRIM_BATCH; i++)
        if (id_parse(resp_text(resp_at(ids, i)), &id[n]))
            n++;
    if (n == 0 || id_eq(id[0], t->first)) { /* nothing, or it does not go */
        trim_end(t);
        return;
    }
    t->first = id[0];
    t->full = n == QUEUE_TRIM_BATCH;
    queue_cmd_init(&t->cmd, p->q, p->number, on_trimmed);
    link_cmd_script(&t->cmd, SCRIPT_CALL_TRIM, (unsigned)ARRAY_LEN(PARTS) + n);
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        struct key k = key_of_part(p->number, PARTS[i]);
        link_arg(&t->cmd, key_slice(&k));
    }
    for (unsigned i = 0; i < n; i++) {
        struct key m = key_of_message(id[i]);
        link_arg(&t->cmd, key_slice(&m));
    }
    for (unsigned i = 0; i < n; i++) {
        char text[ID_TEXT_BYTES + 1];
        id_format(id[i], text);
        link_arg_str(&t->cmd, text);
    }
    link_cmd_start(&t->cmd);
}

static void
on_oldest(struct link_cmd *c)
{
    struct trim *t = container_of(c, struct trim, cmd);
    if (c->outcome == LINK_ANSWERED && t->p->held)
        trim_send(t, c->reply);
    else
        trim_end(t);
}

static void
trim_read(struct trim *t)
{
    struct key hist = key_of_part(t->p->number, KEY_HIST);
    queue_cmd_init(&t->cmd, t->p->q, t->p->number, on_oldest);
    link_cmd_plain(&t->cmd, "ZRANGEBYSCORE");
    link_arg(&t->cmd, key_slice(&hist));
    link_arg_str(&t->cmd, "-inf");
    link_arg_int(&t->cmd, t->before_unix_ms);
    link_arg_str(&t->cmd, "LIMIT");
    link_arg_int(&t->cmd, 0);
    link_arg_int(&t->cmd, QUEUE_TRIM_BATCH);
    link_cmd_start(&t->cmd);
}

static void
trim_start(struct partition *p, int64_t bytes_max, int64_t before_unix_ms)
{
    if (p->trimming || !p->held)
        return;
    struct trim *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    t->p = p;
    t->bytes_max = bytes_max;
    t->before_unix_ms = before_unix_ms;
    p->trimming = true;
    trim_read(t);
}

void
history_note(struct partition *p, int64_t bytes)
{
    int64_t max = (int64_t)(p->q->cfg.history_bytes / QUEUE_PARTITIONS);
    if (bytes > max)
        trim_start(p, max, youngest(p->q));
}

void
history_tick(struct queue *q)
{
    struct partition *p = &q->partitions[q->ticks % QUEUE_PARTITIONS];
    int64_t before = clock_sched_unix_ms() - (int64_t)q->cfg.history_age_ms;
    int64_t latest = youngest(q);
    trim_start(p, -1, before < latest ? before : latest);
}
