/* POST /v1/messages: JSON. */
#include <stdlib.h>

#include "api/message.h"
#include "api/routes/routes.h"
#include "api/submission.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"

struct send {
    struct submission base;
    struct message message;
};

static void
compile(struct submission *s)
{
    message_compile(&((struct send *)s)->message);
}

static bool
finish(struct submission *s)
{
    struct message *m = &((struct send *)s)->message;
    static const struct {
        unsigned status;
        const char *code;
    } REFUSED[] = {
        [MESSAGE_NOT_JSON] = {400, "invalid_json"},
        [MESSAGE_INVALID] = {422, "invalid_fields"},
        [MESSAGE_TOO_LARGE] = {413, "too_large"},
    };
    if (m->result != MESSAGE_OK) {
        bool fields = m->result == MESSAGE_INVALID;
        problem_respond(s->request, &(struct problem){.status = REFUSED[m->result].status,
                                                      .code = REFUSED[m->result].code,
                                                      .detail = m->detail,
                                                      .errors = fields ? &m->errors : NULL});
        return false;
    }
    message_fill(m, &s->submit);
    buf_fini(&s->request->body); /* the JSON is not needed while the door works */
    return true;
}

static void
send_free(struct submission *s)
{
    struct send *p = (struct send *)s;
    message_fini(&p->message);
    free(p);
}

static const struct submission_kind KIND = {compile, finish, send_free};

bool
messages_send_admit(struct http_request *r)
{
    return api_admit_sender(r) && api_admit_type(r, "application/json");
}

void
messages_send(struct http_request *r)
{
    const struct api *a = r->app;
    struct send *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    message_init(&p->message, buf_slice(&r->body), a->parts.config->message_bytes_max);
    p->message.now_unix_ms = clock_sched_unix_ms();
    submission_start(&p->base, &KIND, r);
}
