#include <inttypes.h>

#include "api/http/server_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/wire/date.h"

enum { RESPONSE_HEAD_MAX = 8192 };

static const struct {
    unsigned status;
    const char *text;
} STATUS[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *
http_status_text(unsigned status)
{
    for (size_t i = 0; i < ARRAY_LEN(STATUS); i++)
        if (STATUS[i].status == status)
            return STATUS[i].text;
    return "";
}

static bool
only_reads(const struct http_request *r)
{
    return slice_eq(r->head.method, SLICE("GET")) || slice_eq(r->head.method, SLICE("HEAD"));
}

/* What operators change, and which of them, whether they wait for the answer or
 * not. */
static void
log_operator(const struct http_request *r, unsigned status)
{
    if (r->admin && !only_reads(r))
        LOG(LOG_NOTICE, "http.operator", LF_STR("request", r->id), LF_U("uid", r->peer_uid),
            LF_S("method", r->head.method), LF_S("path", r->head.path),
            LF_S("query", r->head.query), LF_U("status", status));
}

/* The first row of the counters that this request belongs to: by the table of
 * routes, never by what the client wrote. */
static enum metric
route_metric(const struct http_request *r)
{
    static const struct {
        const char *prefix;
        enum metric first;
    } GROUPS[] = {{"/v1/messages", METRIC_HTTP_MESSAGES_2XX},
                  {"/v1/queues", METRIC_HTTP_QUEUES_2XX},
                  {"/v1/suppressions", METRIC_HTTP_SUPPRESSIONS_2XX},
                  {"/v1/credentials", METRIC_HTTP_CREDENTIALS_2XX},
                  {"/console/", METRIC_HTTP_CONSOLE_2XX},
                  {"/metrics", METRIC_HTTP_WATCH_2XX},
                  {"/healthz", METRIC_HTTP_WATCH_2XX},
                  {"/readyz", METRIC_HTTP_WATCH_2XX},
                  {"/sandbox/", METRIC_HTTP_SANDBOX_2XX}};
    struct slice path = slice_str(r->route != NULL ? r->route->path : "");
    for (size_t i = 0; i < ARRAY_LEN(GROUPS); i++)
        if (slice_starts(path, slice_str(GROUPS[i].prefix)))
            return GROUPS[i].first;
    return slice_eq(path, SLICE("/")) ? METRIC_HTTP_CONSOLE_2XX : METRIC_HTTP_OTHER_2XX;
}

static void
count(const struct http_request *r, unsigned status)
{
    static const unsigned BY_CLASS[] = {[2] = 0, [4] = 1, [5] = 2};
    if (status / 100 == 2 || status / 100 == 4 || status / 100 == 5)
        metrics_add((enum metric)(route_metric(r) + BY_CLASS[status / 100]), 1);
    if (status == 401)
        metrics_add(METRIC_HTTP_AUTH_FAILED, 1);
    metrics_observe(HISTOGRAM_HTTP, clock_mono_us() - r->started_us);
    /* Polling (health, metrics, a status) would drown everything else. */
    bool reads = only_reads(r);
    LOG(reads && status < 400 ? LOG_DEBUG : LOG_INFO, "http.request", LF_STR("request", r->id),
        LF_S("method", r->head.method), LF_S("path", r->head.path), LF_U("status", status),
        LF_U("us", clock_mono_us() - r->started_us));
}

/* RFC 9110 5.6.7: as the date of a message, but in the zone "GMT". */
static void
add_date(struct buf *out)
{
    char text[DATE_TEXT_BYTES + 1];
    date_format(clock_sched_unix_ms(), text);
    struct slice date = slice_from(text, DATE_TEXT_BYTES - sizeof "+0000" + 1);
    buf_addf(out, "Date: %.*sGMT\r\n", SLICE_FMT(date));
}

static void
add_head(struct buf *out, const struct http_request *r, const struct http_reply *p, bool keep)
{
    buf_addf(out, "HTTP/1.1 %u %s\r\n", p->status, http_status_text(p->status));
    add_date(out);
    if (p->content_type != NULL)
        buf_addf(out, "Content-Type: %s\r\n", p->content_type);
    if (p->status != 204)
        buf_addf(out, "Content-Length: %zu\r\n", p->body.n);
    buf_addf(out, "X-Request-Id: %s\r\n", r->id);
    buf_add_str(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (p->status == 405)
        buf_addf(out, "Allow: %s\r\n", r->allow_text);
    for (unsigned i = 0; i < p->extra_count; i++)
        buf_addf(out, "%.*s: %.*s\r\n", SLICE_FMT(p->extra[i].name), SLICE_FMT(p->extra[i].value));
    if (!keep)
        buf_add_str(out, "Connection: close\r\n");
    else if (r->head.minor == 0)
        buf_add_str(out, "Connection: keep-alive\r\n");
    buf_add_str(out, "\r\n");
}

void
http_respond(struct http_request *r, const struct http_reply *reply)
{
    struct http_connection *c = r->connection;
    BUG_ON(reply->extra_count > ARRAY_LEN(reply->extra));
    log_operator(r, reply->status);
    if (c == NULL) {
        LOG(LOG_INFO, "http.client-gone", LF_STR("request", r->id), LF_S("path", r->head.path));
        request_free(r);
        return;
    }
    count(r, reply->status);
    /* An answer before the whole request was read ends the connection: where
     * the next request begins is not known. */
    bool keep = c->sm.state == CONN_WORK && r->head.keep_alive && !r->server->draining &&
                connection_has_more(c);
    struct buf head;
    buf_init(&head, RESPONSE_HEAD_MAX);
    add_head(&head, r, reply, keep);
    BUG_ON(head.overflowed);
    stream_send(c->stream, buf_slice(&head));
    buf_fini(&head);
    if (!slice_eq(r->head.method, SLICE("HEAD")))
        stream_send(c->stream, reply->body);
    request_free(r);
    connection_answered(c, keep);
}
