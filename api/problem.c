#include "api/problem.h"

#include <stdio.h>

#include "api/http/server.h"
#include "api/json/writer.h"
#include "relay/sys/base/limits.h"

enum { PROBLEM_BYTES_MAX = 64 << 10 }; /* API_ERRORS_MAX errors and the rest */

void
field_errors_init(struct field_errors *e, struct arena *arena)
{
    *e = (struct field_errors){.arena = arena};
}

bool
field_errors_add(struct field_errors *e, struct slice pointer, const char *code, const char *detail)
{
    e->total++;
    if (e->count == API_ERRORS_MAX)
        return false;
    if (e->v == NULL)
        e->v = arena_alloc(e->arena, sizeof *e->v * API_ERRORS_MAX);
    struct field_error add = {.code = code};
    if (e->v != NULL && arena_copy(e->arena, pointer, &add.pointer) &&
        arena_copy(e->arena, slice_str(detail), &add.detail))
        e->v[e->count++] = add;
    return false;
}

static void
write_errors(struct writer *w, const struct field_errors *e)
{
    writer_open(w, "errors", '[');
    for (unsigned i = 0; i < e->count; i++) {
        writer_open(w, NULL, '{');
        writer_string(w, "pointer", e->v[i].pointer);
        writer_string(w, "code", slice_str(e->v[i].code));
        writer_string(w, "detail", e->v[i].detail);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

/* draft-ietf-httpapi-ratelimit-headers-10, 5.1 */
static const struct slice QUOTA_EXCEEDED =
    SLICE("https://iana.org/assignments/http-problem-types#quota-exceeded");

static void
write_quota(struct writer *w, const char *quota)
{
    writer_open(w, "violated-policies", '[');
    writer_string(w, NULL, slice_str(quota));
    writer_close(w, ']');
}

static void
write_problem(struct buf *out, const struct http_request *r, const struct problem *p)
{
    struct writer w;
    writer_init(&w, out);
    writer_open(&w, NULL, '{');
    writer_string(&w, "type", p->quota != NULL ? QUOTA_EXCEEDED : SLICE("about:blank"));
    writer_string(&w, "title", slice_str(http_status_text(p->status)));
    writer_number(&w, "status", p->status);
    writer_string(&w, "code", slice_str(p->code));
    writer_string(&w, "detail", slice_str(p->detail));
    if (p->errors != NULL)
        write_errors(&w, p->errors);
    if (p->quota != NULL)
        write_quota(&w, p->quota);
    writer_string(&w, "request_id", slice_str(r->id));
    writer_close(&w, '}');
    buf_add_char(out, '\n');
}

void
problem_write(struct writer *w, const char *key, const struct problem *p)
{
    writer_open(w, key, '{');
    writer_number(w, "status", p->status);
    writer_string(w, "code", slice_str(p->code));
    writer_string(w, "detail", slice_str(p->detail));
    if (p->errors != NULL)
        write_errors(w, p->errors);
    if (p->retry_after_s > 0)
        writer_number(w, "retry_after", p->retry_after_s);
    writer_close(w, '}');
}

static void
add_field(struct http_reply *reply, struct slice name, struct slice value)
{
    reply->extra[reply->extra_count++] = (struct head_field){name, value};
}

void
problem_respond(struct http_request *r, const struct problem *p)
{
    struct buf body;
    buf_init(&body, PROBLEM_BYTES_MAX);
    write_problem(&body, r, p);
    struct http_reply reply = {
        .status = p->status,
        .content_type = "application/problem+json",
        .body = buf_slice(&body),
    };
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", p->retry_after_s);
    if (p->retry_after_s > 0)
        add_field(&reply, SLICE("Retry-After"), slice_str(seconds));
    if (p->status == 401)
        add_field(&reply, SLICE("WWW-Authenticate"), SLICE("Bearer realm=\"stagepost\""));
    for (unsigned i = 0; i < p->extra_count; i++)
        add_field(&reply, p->extra[i].name, p->extra[i].value);
    http_respond(r, &reply);
    buf_fini(&body);
}

void
problem_say(struct http_request *r, unsigned status, const char *code, const char *detail)
{
    problem_respond(r, &(struct problem){.status = status, .code = code, .detail = detail});
}
