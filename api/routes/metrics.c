/*
 * GET /metrics, in Prometheus' text format: the counters of all workers, and
 * the depth of the queue as the queue says it. While the queue is away its
 * gauges are left out: no number is better than an old one. How old the oldest
 * delivery is comes from the summary that operators see (GET /v1/queues).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/base/version.h"

struct scrape {
    struct http_request *request;
    struct queue_depth_op depth;
    struct queue_summary_op summary;
    struct arena arena; /* of the summary */
};

static void
add_gauge(struct buf *out, const char *name, const char *help)
{
    buf_addf(out, "# HELP stagepost_%s %s\n# TYPE stagepost_%s gauge\n", name, help, name);
}

static void
add_depth(struct buf *out, const struct queue_depth *d)
{
    const struct {
        const char *state;
        uint64_t n;
    } rows[] = {{"live", d->live_messages},
                {"scheduled", d->scheduled},
                {"inflight", d->inflight},
                {"held", d->held},
                {"notices", d->notices}};
    add_gauge(out, "queue_messages",
              "live: messages accepted and not finished; scheduled, inflight, held: deliveries; "
              "notices: reports owed");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        buf_addf(out, "stagepost_queue_messages{state=\"%s\"} %" PRIu64 "\n", rows[i].state,
                 rows[i].n);
}

/* The longest wait among the rows that were looked at. */
static void
add_oldest(struct buf *out, const struct queue_summary_op *op)
{
    int64_t now_unix_ms = clock_sched_unix_ms(), oldest_unix_ms = now_unix_ms;
    for (unsigned i = 0; i < op->count; i++) {
        int64_t t = op->rows[i].oldest_unix_ms;
        if (t > 0 && t < oldest_unix_ms)
            oldest_unix_ms = t;
    }
    add_gauge(out, "queue_oldest_age_seconds",
              "Since the oldest waiting message was accepted; of long queues only some are looked "
              "at");
    buf_addf(out, "stagepost_queue_oldest_age_seconds %" PRId64 "\n",
             (now_unix_ms - oldest_unix_ms) / 1000);
}

static void
add_status(struct buf *out, enum queue_status status)
{
    add_gauge(out, "build_info", "Always 1; the version is in the label");
    buf_addf(out, "stagepost_build_info{version=\"%s\"} 1\n", STAGEPOST_VERSION);
    add_gauge(out, "up", "1 when the queue can be reached");
    buf_addf(out, "stagepost_up %d\n", status == QUEUE_UP || status == QUEUE_FULL_NOW);
    add_gauge(out, "queue_full", "1 while nothing is accepted for want of memory or disk");
    buf_addf(out, "stagepost_queue_full %d\n", status == QUEUE_FULL_NOW);
}

static void
answer(struct scrape *s)
{
    const struct api *a = s->request->app;
    struct buf body;
    buf_init(&body, API_ANSWER_MAX);
    add_status(&body, queue_status(a->parts.queue));
    if (s->depth.err.code == ERR_NONE)
        add_depth(&body, &s->depth.depth);
    if (s->depth.err.code == ERR_NONE && s->summary.err.code == ERR_NONE)
        add_oldest(&body, &s->summary);
    metrics_render(&body);
    BUG_ON(body.overflowed);
    http_respond(s->request,
                 &(struct http_reply){.status = 200,
                                      .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                      .body = buf_slice(&body)});
    buf_fini(&body);
    arena_fini(&s->arena);
    free(s);
}

static void
on_summary(struct queue_summary_op *op)
{
    answer(container_of(op, struct scrape, summary));
}

static void
on_summary_gone(struct http_request *r)
{
    struct scrape *s = r->state;
    queue_summary_cancel(&s->summary);
}

static void
on_depth(struct queue_depth_op *op)
{
    struct scrape *s = container_of(op, struct scrape, depth);
    const struct api *a = s->request->app;
    if (op->err.code != ERR_NONE) {
        answer(s);
        return;
    }
    s->summary = (struct queue_summary_op){
        .done = on_summary, .limit = QUEUE_SUMMARY_ROWS_MAX, .arena = &s->arena};
    s->request->on_gone = on_summary_gone;
    queue_summary_start(&s->summary, a->parts.queue);
}

static void
on_gone(struct http_request *r)
{
    struct scrape *s = r->state;
    queue_depth_cancel(&s->depth);
}

void
metrics_get(struct http_request *r)
{
    const struct api *a = r->app;
    struct scrape *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->request = r;
    s->depth.done = on_depth;
    arena_init(&s->arena, API_MESSAGE_ARENA_MAX);
    r->state = s;
    r->on_gone = on_gone;
    queue_depth_start(&s->depth, a->parts.queue);
}
