/*
 * Development mode: what the sandbox has captured, and the schedule clock.
 * Captures are files written by another process; they are read on the work
 * pool.
 */
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/http/query.h"
#include "api/json/reader.h"
#include "api/routes/routes.h"
#include "queue/queue.h"
#include "relay/sandbox/store.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/work.h"

/* ---- captures ----------------------------------------------------------- */

enum { LIST_DEFAULT = 100, RAW_BYTES_MAX = MESSAGE_BYTES_MAX + HEADER_SECTION_MAX };

struct reading {
    struct http_request *request;
    struct work_op work;
    const char *dir;
    unsigned limit;
    struct msg_id id;
    struct buf out;
    struct err err;
    int result;
};

static struct reading *
reading_new(struct http_request *r, size_t bytes_max)
{
    const struct api *a = r->app;
    struct reading *g = calloc(1, sizeof *g);
    BUG_ON(g == NULL);
    g->request = r;
    g->dir = a->parts.config->sandbox_dir;
    buf_init(&g->out, bytes_max);
    return g;
}

static void
reading_start(struct reading *g, void (*run)(struct work_op *), void (*done)(struct work_op *))
{
    const struct api *a = g->request->app;
    work_start(&g->work, a->parts.loop, run, done);
}

static void
reading_free(struct reading *g)
{
    buf_fini(&g->out);
    free(g);
}

static void
say_failed(struct reading *g)
{
    if (g->err.code == ERR_NOT_FOUND)
        problem_say(g->request, 404, "not_found", "there is no such capture");
    else
        problem_say(g->request, 500, "capture_unreadable", g->err.text);
}

static void
run_list(struct work_op *op)
{
    struct reading *g = container_of(op, struct reading, work);
    g->result = store_list(g->dir, g->limit, &g->out, &g->err);
}

static void
on_listed(struct work_op *op)
{
    struct reading *g = container_of(op, struct reading, work);
    if (g->result != 0) {
        say_failed(g);
    } else {
        struct buf body;
        struct writer w;
        buf_init(&body, API_ANSWER_MAX);
        writer_init(&w, &body);
        writer_open(&w, NULL, '{');
        writer_raw(&w, "data", buf_slice(&g->out));
        writer_close(&w, '}');
        api_respond_json(g->request, 200, &body);
    }
    reading_free(g);
}

static bool
read_limit(struct http_request *r, unsigned *limit)
{
    struct query q;
    struct slice text;
    uint64_t n;
    *limit = LIST_DEFAULT;
    if (query_parse(r->head.query, &r->arena, &q) != PARSE_OK)
        return false;
    if (!query_find(&q, SLICE("limit"), &text))
        return true;
    if (!slice_to_u64(text, &n) || n == 0 || n > SANDBOX_LIST_MAX)
        return false;
    *limit = (unsigned)n;
    return true;
}

void
sandbox_list(struct http_request *r)
{
    unsigned limit;
    if (!read_limit(r, &limit)) {
        problem_say(r, 422, "invalid_limit", "limit must be a number from 1 to 10000");
        return;
    }
    struct reading *g = reading_new(r, API_ANSWER_MAX);
    g->limit = limit;
    reading_start(g, run_list, on_listed);
}

static void
run_raw(struct work_op *op)
{
    struct reading *g = container_of(op, struct reading, work);
    g->result = store_read_raw(g->dir, g->id, &g->out, &g->err);
}

static void
on_raw(struct work_op *op)
{
    struct reading *g = container_of(op, struct reading, work);
    if (g->result != 0)
        say_failed(g);
    else
        http_respond(g->request, &(struct http_reply){.status = 200,
                                                      .content_type = "message/rfc822",
                                                      .body = buf_slice(&g->out)});
    reading_free(g);
}

void
sandbox_raw(struct http_request *r)
{
    struct msg_id id;
    if (!id_parse(r->path_arg, &id)) {
        problem_say(r, 404, "not_found", "there is no such capture");
        return;
    }
    struct reading *g = reading_new(r, RAW_BYTES_MAX);
    g->id = id;
    reading_start(g, run_raw, on_raw);
}

/* ---- the clock ---------------------------------------------------------- */

struct advance {
    struct http_request *request;
    struct queue_clock_op op;
};

/* "90s", "15m", "4h", "2d": one number and one unit. */
static bool
parse_duration(struct slice text, int64_t *ms)
{
    static const struct {
        char unit;
        uint64_t ms;
    } UNITS[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    const uint64_t most = API_CLOCK_ADVANCE_DAYS_MAX * UNITS[3].ms;
    uint64_t n;
    if (text.n < 2 || !slice_to_u64(slice_from(text.p, text.n - 1), &n))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(UNITS); i++)
        if (text.p[text.n - 1] == UNITS[i].unit && n <= most / UNITS[i].ms) {
            *ms = (int64_t)(n * UNITS[i].ms);
            return true;
        }
    return false;
}

static void
on_advanced(struct queue_clock_op *op)
{
    struct advance *a = container_of(op, struct advance, op);
    if (op->err.code != ERR_NONE) {
        problem_respond(a->request, &(struct problem){.status = 503,
                                                      .code = "queue_away",
                                                      .detail = "the queue cannot be reached",
                                                      .retry_after_s = 5});
    } else {
        struct buf body;
        struct writer w;
        buf_init(&body, 128);
        writer_init(&w, &body);
        writer_open(&w, NULL, '{');
        writer_time(&w, "now", clock_sched_unix_ms());
        writer_close(&w, '}');
        api_respond_json(a->request, 200, &body);
    }
    free(a);
}

/* 0, or the status to refuse with. */
static unsigned
read_advance(struct slice body, int64_t *ms, char *why, size_t why_bytes)
{
    json_t *root = reader_parse_object(body, why, why_bytes);
    if (root == NULL)
        return 400;
    json_t *v = json_object_get(root, "advance");
    bool ok =
        json_object_size(root) == 1 && json_is_string(v) && parse_duration(reader_string(v), ms);
    json_decref(root);
    return ok ? 0 : 422;
}

/* No key is asked for here, so a web page of somebody else could make its
 * reader's browser send this; browsers say so in Origin (Fetch 3.2). */
bool
sandbox_admit(struct http_request *r)
{
    struct slice origin;
    if (!head_find(&r->head, SLICE("origin"), &origin))
        return true;
    if (slice_starts_nocase(origin, SLICE("http://")) &&
        slice_eq_nocase(slice_skip(origin, 7), r->head.host))
        return true;
    problem_say(r, 403, "foreign_origin", "a page of another origin cannot do this");
    return false;
}

/* Dates have four digits for the year (RFC 3339 1, RFC 5322 3.3). What is due
 * some days later must have a date too. */
static bool
has_a_date(int64_t unix_ms)
{
    const int64_t end_of_9998_unix_ms = INT64_C(253370764800000);
    return unix_ms < end_of_9998_unix_ms;
}

void
sandbox_clock(struct http_request *r)
{
    const struct api *a = r->app;
    char why[200] = "the body must be {\"advance\":\"4h\"}, in whole s, m, h or d";
    int64_t ms;
    unsigned status = read_advance(buf_slice(&r->body), &ms, why, sizeof why);
    if (status != 0) {
        problem_say(r, status, status == 400 ? "invalid_json" : "invalid_fields", why);
        return;
    }
    if (!has_a_date(clock_sched_unix_ms() + ms)) {
        problem_say(r, 422, "invalid_fields", "the clock would pass the year 9998");
        return;
    }
    struct advance *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->request = r;
    p->op = (struct queue_clock_op){.done = on_advanced, .delta_ms = ms};
    queue_clock_advance_start(&p->op, a->parts.queue);
}
