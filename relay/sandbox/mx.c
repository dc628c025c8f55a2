#include "relay/sandbox/mx.h"

#include <stdlib.h>

#include "relay/sandbox/mx_session.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/listener.h"

static const struct reply_text too_many = {421, "4.3.2", "Too many sessions"};
static const struct reply_text shutting_down = {421, "4.3.2", "The sandbox ends"};

static void
say_last_words(struct stream *stream, const struct reply_text *words)
{
    struct buf out;
    buf_init(&out, REPLY_WRITTEN_LINE_MAX);
    reply_add(&out, words);
    stream_send(stream, buf_slice(&out));
    buf_fini(&out);
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct sandbox_mx *mx = owner;
    if (mx->session_count < SANDBOX_MX_SESSIONS_MAX) {
        mx_session_open(mx, stream);
        return;
    }
    say_last_words(stream, &too_many);
    stream_close(stream);
}

struct sandbox_mx *
sandbox_mx_open(struct loop *l, int fd, struct store *store, struct tls_context *tls,
                struct err *err)
{
    struct sandbox_mx *mx = calloc(1, sizeof(*mx));
    BUG_ON(mx == NULL);
    mx->loop = l;
    mx->store = store;
    mx->tls = tls;
    list_init(&mx->sessions);
    mx->listener = listener_open(l, fd, STREAM_READ_MAX, on_accept, mx, err);
    if (mx->listener == NULL) {
        err_context(err, "sandbox MX");
        free(mx);
        return NULL;
    }
    mx->greylist = greylist_new();
    return mx;
}

void
sandbox_mx_close(struct sandbox_mx *mx)
{
    if (mx == NULL)
        return;
    listener_close(mx->listener);
    LIST_EACH(&mx->sessions, node)
    {
        struct mx_session *s = container_of(node, struct mx_session, node);
        if (s->sm.state == MX_COMMAND)
            say_last_words(s->stream, &shutting_down);
        mx_session_end(s);
    }
    greylist_free(mx->greylist);
    free(mx);
}
