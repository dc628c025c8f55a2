/*
 * GET /healthz: the process answers. GET /readyz: it can accept mail.
 */
#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "queue/queue.h"

enum { ANSWER_MAX = 256 };

static void
say(struct http_request *r, unsigned status, const char *text, const char *reason)
{
    struct buf body;
    struct writer w;
    buf_init(&body, ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_string(&w, "status", slice_str(text));
    if (reason != NULL)
        writer_string(&w, "reason", slice_str(reason));
    writer_close(&w, '}');
    api_respond_json(r, status, &body);
}

void
health_live(struct http_request *r)
{
    say(r, 200, "ok", NULL);
}

void
health_ready(struct http_request *r)
{
    static const char *const REASON[] = {
        [QUEUE_STARTING] = "the queue has not been reached yet",
        [QUEUE_UP] = NULL,
        [QUEUE_AWAY_NOW] = "the queue cannot be reached",
        [QUEUE_FULL_NOW] = "the queue has no room",
    };
    const struct api *a = r->app;
    const char *reason = a->draining ? "shutting down" : REASON[queue_status(a->parts.queue)];
    if (reason == NULL)
        say(r, 200, "ready", NULL);
    else
        say(r, 503, "not ready", reason);
}
