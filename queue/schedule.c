/*
 * Happy path of a scan: read the index (which lanes are due, when the next one
 * will be) -> read those lanes -> read the records of what is new -> offer jobs;
 * then the next page of the index, if there was more.
 *
 * Ways it ends: all read; a command failed (tried again soon); the lease was
 * lost (what was read is dropped by intend.lua at the latest).
 */
#include "queue/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "queue/job.h"
#include "queue/quarantine.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

enum {
    SCAN_LANES = 32,       /* lanes of the index read at once */
    SCAN_RETRY_MS = 500,   /* after a failed one */
    TIMER_MOST_MS = 60000, /* the wall clock may jump: look again */
};

struct scan_lane {
    struct scan *scan;
    struct link_cmd due, later;
    struct key name;
    unsigned limit;
};

struct scan_read {
    struct link_cmd cmd;
    struct scan *scan;
    struct msg_id id;
    unsigned index, lane;
};

/* A page of a sorted set. */
struct range {
    struct slice key;
    unsigned offset, count;
};

struct scan {
    struct partition *p;
    struct link_cmd due, later;
    struct scan_lane lanes[SCAN_LANES];
    unsigned lane_count;
    struct scan_read reads[QUEUE_SCAN_PAGE];
    unsigned read_count;
    unsigned pending; /* commands of the present step */
    unsigned offset;  /* of the index's page */
    int64_t now_unix_ms, next_unix_ms;
    bool failed, more_lanes, again;
};

static void scan_page(struct scan *s);
static void scan_read_lanes(struct scan *s);
static void scan_read_records(struct scan *s);
static void scan_end(struct scan *s);

/* ---- when ------------------------------------------------------------------ */

static bool
wants_scan(const struct partition *p)
{
    return p->held && !p->leaving && p->scan == NULL && p->scan_at_unix_ms != NEVER_UNIX_MS;
}

static void
scan_start(struct partition *p)
{
    struct scan *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->p = p;
    p->scan = s;
    p->scan_again = false;
    p->q->scans++;
    s->now_unix_ms = clock_sched_unix_ms();
    s->next_unix_ms = NEVER_UNIX_MS;
    p->scan_at_unix_ms = NEVER_UNIX_MS; /* what is noted meanwhile counts */
    scan_page(s);
}

/* Starts what is due and sets the timer for the next. */
static void
rearm(struct deferred *d)
{
    struct queue *q = container_of(d, struct queue, rearm_call);
    int64_t now = clock_sched_unix_ms(), next = NEVER_UNIX_MS;
    if (q->draining)
        return;
    unsigned first = random_below(QUEUE_PARTITIONS); /* none is always the last */
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        struct partition *p = &q->partitions[(first + i) % QUEUE_PARTITIONS];
        if (!wants_scan(p))
            continue;
        if (p->scan_at_unix_ms > now)
            next = p->scan_at_unix_ms < next ? p->scan_at_unix_ms : next;
        else if (q->scans < QUEUE_SCANS_MAX)
            scan_start(p);
    }
    if (next == NEVER_UNIX_MS)
        return;
    int64_t delay = next - now < TIMER_MOST_MS ? next - now : TIMER_MOST_MS;
    timer_start(&q->scan_timer, (uint64_t)delay);
}

static void
on_timer(struct timer *t)
{
    deferred_schedule(&container_of(t, struct queue, scan_timer)->rearm_call);
}

void
schedule_note_due(struct partition *p, int64_t due_unix_ms)
{
    if (due_unix_ms >= p->scan_at_unix_ms)
        return;
    p->scan_at_unix_ms = due_unix_ms;
    deferred_schedule(&p->q->rearm_call);
}

void
schedule_scan_soon(struct partition *p)
{
    if (p->scan != NULL)
        p->scan_again = true;
    else
        schedule_note_due(p, 0);
}

void
schedule_scan_all(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++)
        if (q->partitions[i].held)
            schedule_scan_soon(&q->partitions[i]);
}

void
schedule_tick(struct queue *q)
{
    uint64_t now = clock_mono_ms();
    for (unsigned i = 0; i < QUEUE_PARTITIONS; i++) {
        struct partition *p = &q->partitions[i];
        if (p->held && p->scan == NULL && now - p->scanned_ms > SCHEDULE_BACKSTOP_MS)
            schedule_scan_soon(p);
    }
    deferred_schedule(&q->rearm_call);
}

void
schedule_open(struct queue *q)
{
    timer_init(&q->scan_timer, q->loop, on_timer);
    deferred_init(&q->rearm_call, q->loop, rearm);
}

void
schedule_close(struct queue *q)
{
    timer_cancel(&q->scan_timer);
    deferred_cancel(&q->rearm_call);
}

/* ---- reading --------------------------------------------------------------- */

/* One command of a step is done; runs the next step when it was the last. */
static bool
step_done(struct scan *s, const struct link_cmd *c)
{
    if (c->outcome != LINK_ANSWERED)
        s->failed = true;
    if (--s->pending > 0)
        return false;
    bool go_on = !s->failed;
    if (!go_on)
        scan_end(s);
    return go_on;
}

/* ZRANGEBYSCORE key -inf now LIMIT offset count */
static void
add_range_due(struct link_cmd *c, const struct scan *s, const struct range *range)
{
    link_cmd_plain(c, "ZRANGEBYSCORE");
    link_arg(c, range->key);
    link_arg_str(c, "-inf");
    link_arg_int(c, s->now_unix_ms);
    link_arg_str(c, "LIMIT");
    link_arg_int(c, range->offset);
    link_arg_int(c, range->count);
}

/* ZRANGEBYSCORE key (now +inf WITHSCORES LIMIT 0 1 */
static void
add_range_later(struct link_cmd *c, const struct scan *s, struct slice key)
{
    struct buf from;
    buf_init(&from, 32);
    buf_addf(&from, "(%lld", (long long)s->now_unix_ms);
    link_cmd_plain(c, "ZRANGEBYSCORE");
    link_arg(c, key);
    link_arg(c, buf_slice(&from));
    link_arg_str(c, "+inf");
    link_arg_str(c, "WITHSCORES");
    link_arg_str(c, "LIMIT");
    link_arg_int(c, 0);
    link_arg_int(c, 1);
    buf_fini(&from);
}

static void
note_later(struct scan *s, const struct redisReply *r)
{
    int64_t at = resp_int(resp_at(r, 1), NEVER_UNIX_MS); /* "inf" is not a number */
    if (at < s->next_unix_ms)
        s->next_unix_ms = at;
}

static void
on_index_later(struct link_cmd *c)
{
    struct scan *s = container_of(c, struct scan, later);
    if (c->outcome == LINK_ANSWERED)
        note_later(s, c->reply);
    if (step_done(s, c))
        scan_read_lanes(s);
}

static void
on_index_due(struct link_cmd *c)
{
    struct scan *s = container_of(c, struct scan, due);
    s->lane_count = 0;
    size_t n = c->outcome == LINK_ANSWERED ? resp_count(c->reply) : 0;
    for (size_t i = 0; i < n && i < SCAN_LANES; i++) {
        struct slice name = resp_text(resp_at(c->reply, i));
        struct scan_lane *lane = &s->lanes[s->lane_count];
        if (name.n == 0 || name.n > KEY_LANE_MAX)
            continue;
        memcpy(lane->name.text, name.p, name.n);
        lane->name.n = name.n;
        s->lane_count++;
    }
    s->more_lanes = n >= SCAN_LANES;
    if (step_done(s, c))
        scan_read_lanes(s);
}

static void
scan_page(struct scan *s)
{
    struct partition *p = s->p;
    struct key due = key_of_part(p->number, KEY_DUE);
    s->pending = 2;
    s->read_count = 0;
    queue_cmd_init(&s->due, p->q, p->number, on_index_due);
    struct range page = {.key = key_slice(&due), .offset = s->offset, .count = SCAN_LANES};
    add_range_due(&s->due, s, &page);
    queue_cmd_init(&s->later, p->q, p->number, on_index_later);
    add_range_later(&s->later, s, key_slice(&due));
    link_cmd_start(&s->due);
    link_cmd_start(&s->later);
}

/* ---- lanes ----------------------------------------------------------------- */

static void
add_read(struct scan *s, unsigned lane, struct slice member)
{
    struct msg_id id;
    unsigned n;
    if (member.n > KEY_MEMBER_MAX || !key_member_parse(member, &id, &n)) {
        quarantine_entry(s->p, member, SLICE_NONE, key_slice(&s->lanes[lane].name));
        return;
    }
    struct scan_read *read = &s->reads[s->read_count++];
    read->scan = s;
    read->lane = lane;
    read->id = id;
    read->index = n;
}

static void
take_members(struct scan *s, unsigned lane, const struct redisReply *r)
{
    struct queue *q = s->p->q;
    struct slice name = key_slice(&s->lanes[lane].name);
    unsigned room = lane_room(q, name, NULL);
    for (size_t i = 0; i < resp_count(r); i++) {
        struct slice member = resp_text(resp_at(r, i));
        if (job_in_memory(q, member))
            continue;
        if (room == 0) {
            lane_set_aside(q, name, s->p->number);
            return;
        }
        if (s->read_count == QUEUE_SCAN_PAGE) {
            s->again = true;
            return;
        }
        add_read(s, lane, member);
        room--;
    }
    if (resp_count(r) >= s->lanes[lane].limit)
        s->again = true;
}

static void
on_lane_due(struct link_cmd *c)
{
    struct scan_lane *lane = container_of(c, struct scan_lane, due);
    struct scan *s = lane->scan;
    if (c->outcome == LINK_ANSWERED)
        take_members(s, (unsigned)(lane - s->lanes), c->reply);
    if (step_done(s, c))
        scan_read_records(s);
}

static void
on_lane_later(struct link_cmd *c)
{
    struct scan *s = container_of(c, struct scan_lane, later)->scan;
    if (c->outcome == LINK_ANSWERED)
        note_later(s, c->reply);
    if (step_done(s, c))
        scan_read_records(s);
}

static void
lane_start(struct scan *s, struct scan_lane *lane)
{
    struct partition *p = s->p;
    struct key key = key_of_queue(p->number, key_slice(&lane->name));
    struct range due = {.key = key_slice(&key), .count = lane->limit};
    queue_cmd_init(&lane->due, p->q, p->number, on_lane_due);
    add_range_due(&lane->due, s, &due);
    queue_cmd_init(&lane->later, p->q, p->number, on_lane_later);
    add_range_later(&lane->later, s, key_slice(&key));
    link_cmd_start(&lane->due);
    link_cmd_start(&lane->later);
}

static void
scan_read_lanes(struct scan *s)
{
    struct partition *p = s->p;
    for (unsigned i = 0; i < s->lane_count; i++) {
        struct scan_lane *lane = &s->lanes[i];
        unsigned jobs, room = lane_room(p->q, key_slice(&lane->name), &jobs);
        lane->scan = s;
        /* What is handed out and not yet attempted still stands in front. */
        lane->limit = room == 0 ? 0 : jobs + (room < QUEUE_SCAN_PAGE ? room : QUEUE_SCAN_PAGE);
        if (room == 0)
            lane_set_aside(p->q, key_slice(&lane->name), p->number);
        else
            s->pending += 2;
    }
    if (s->pending == 0) {
        scan_read_records(s);
        return;
    }
    for (unsigned i = 0; i < s->lane_count; i++)
        if (s->lanes[i].limit > 0)
            lane_start(s, &s->lanes[i]);
}

/* ---- records --------------------------------------------------------------- */

static void
take_record(struct scan_read *read, const struct redisReply *r)
{
    struct scan *s = read->scan;
    struct job_source src = {.id = read->id,
                             .index = read->index,
                             .message_record = resp_text(resp_at(r, 0)),
                             .delivery_record = resp_text(resp_at(r, 1))};
    struct slice lane = key_slice(&s->lanes[read->lane].name);
    if (!s->p->held || s->p->q->draining || job_offer(s->p->q, &src))
        return;
    char member[KEY_MEMBER_MAX + 1];
    size_t n = key_member(read->id, read->index, member);
    quarantine_entry(s->p, slice_from(member, n), src.delivery_record, lane);
}

static void
on_record(struct link_cmd *c)
{
    struct scan_read *read = container_of(c, struct scan_read, cmd);
    struct scan *s = read->scan;
    if (c->outcome == LINK_ANSWERED)
        take_record(read, c->reply);
    if (step_done(s, c))
        scan_end(s);
}

static void
scan_read_records(struct scan *s)
{
    if (s->read_count == 0) {
        scan_end(s);
        return;
    }
    s->pending = s->read_count;
    for (unsigned i = 0; i < s->read_count; i++) {
        struct scan_read *read = &s->reads[i];
        struct key message = key_of_message(read->id);
        char field[16];
        size_t n = key_field('d', read->index, field);
        queue_cmd_init(&read->cmd, s->p->q, s->p->number, on_record);
        link_cmd_plain(&read->cmd, "HMGET");
        link_arg(&read->cmd, key_slice(&message));
        link_arg_str(&read->cmd, "r");
        link_arg(&read->cmd, slice_from(field, n));
        link_cmd_start(&read->cmd);
    }
}

static void
scan_end(struct scan *s)
{
    struct partition *p = s->p;
    if (!s->failed && s->more_lanes) {
        s->again |= s->read_count > 0; /* pages shift when their lanes empty */
        s->offset += SCAN_LANES;
        scan_page(s);
        return;
    }
    int64_t at = s->failed                   ? clock_sched_unix_ms() + SCAN_RETRY_MS
                 : s->again || p->scan_again ? 0
                                             : s->next_unix_ms;
    p->scan = NULL;
    p->scanned_ms = clock_mono_ms();
    p->q->scans--;
    free(s);
    if (at < p->scan_at_unix_ms)
        p->scan_at_unix_ms = at;
    deferred_schedule(&p->q->rearm_call);
}
