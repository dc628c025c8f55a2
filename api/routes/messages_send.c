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
    if (m->result != MESSAGE_OK) {
        submission_refuse_draft(s->request, m);
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
