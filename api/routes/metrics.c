/*
 * GET /metrics, in Prometheus' text format: the counters of all workers, and
 * the depth of the queue as the queue says it. While the queue is away its
 * gauges are left out: no number is better than an old one.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "queue/queue.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/base/version.h"

struct scrape {
    struct http_request *request;
    struct queue_depth_op depth;
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

static void
on_depth(struct queue_depth_op *op)
{
    struct scrape *s = container_of(op, struct scrape, depth);
    const struct api *a = s->request->app;
    enum queue_status status = queue_status(a->parts.queue);
    struct buf body;
    buf_init(&body, API_ANSWER_MAX);
    add_gauge(&body, "build_info", "Always 1; the version is in the label");
    buf_addf(&body, "stagepost_build_info{version=\"%s\"} 1\n", STAGEPOST_VERSION);
    add_gauge(&body, "up", "1 when the queue can be reached");
    buf_addf(&body, "stagepost_up %d\n", status == QUEUE_UP || status == QUEUE_FULL_NOW);
    if (op->err.code == ERR_NONE)
        add_depth(&body, &op->depth);
    metrics_render(&body);
    BUG_ON(body.overflowed);
    http_respond(s->request,
                 &(struct http_reply){.status = 200,
                                      .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                      .body = buf_slice(&body)});
    buf_fini(&body);
    free(s);
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
    r->state = s;
    r->on_gone = on_gone;
    queue_depth_start(&s->depth, a->parts.queue);
}
