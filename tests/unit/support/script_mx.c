#include "tests/unit/support/script_mx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/stream.h"

enum { FLOOD_BYTES = 1 << 20, KEPT_BYTES = 128 << 20 };

struct session {
    struct script_mx *mx;
    struct list_node node;
    struct stream *stream;
    struct stream_user user;
    const struct mx_step *at;
    struct tls_op tls;
    struct deferred go;
    size_t text_from; /* in mx->text, where this MX_TEXT began */
    bool in_tls, in_text;
};

static void
end(struct session *s)
{
    deferred_cancel(&s->go);
    list_remove(&s->node);
    s->mx->live--;
    free(s);
}

static void
fail(struct session *s, struct slice line)
{
    snprintf(s->mx->fault, sizeof s->mx->fault, "wanted '%s', heard '%.*s'", s->at->text,
             SLICE_FMT(line));
    stream_abort(s->stream);
    end(s);
}

/* One line from the input; false: not there yet. */
static bool
take_line(struct session *s, struct slice *line)
{
    struct slice in = stream_input(s->stream);
    size_t n = slice_find_slice(in, SLICE("\r\n"));
    if (n == in.n)
        return false;
    size_t from = s->mx->heard.len;
    BUG_ON(!buf_add(&s->mx->heard, slice_from(in.p, n)) || !buf_add_char(&s->mx->heard, '\n'));
    *line = slice_from(buf_slice(&s->mx->heard).p + from, n);
    stream_consume(s->stream, n + 2);
    return true;
}

static bool
text_is_over(const struct session *s)
{
    struct slice t = slice_skip(buf_slice(&s->mx->text), s->text_from);
    return slice_eq(t, SLICE(".\r\n")) || slice_ends_nocase(t, SLICE("\r\n.\r\n"));
}

/* Byte by byte: what follows the dot must stay in the input. */
static bool
take_text(struct session *s)
{
    if (!s->in_text)
        s->text_from = s->mx->text.len;
    s->in_text = true;
    struct slice in = stream_input(s->stream);
    for (size_t i = 0; i < in.n; i++) {
        BUG_ON(!buf_add_char(&s->mx->text, in.p[i]));
        if (in.p[i] == '\n' && text_is_over(s)) {
            stream_consume(s->stream, i + 1);
            s->in_text = false;
            s->mx->texts++;
            return true;
        }
    }
    stream_consume(s->stream, in.n);
    return false;
}

static void
on_tls(struct tls_op *op)
{
    struct session *s = container_of(op, struct session, tls);
    s->in_tls = false;
    if (op->err.code != ERR_NONE) {
        stream_abort(s->stream);
        end(s);
        return;
    }
    s->at++;
    deferred_schedule(&s->go);
}

static void
flood(struct session *s)
{
    struct slice text = slice_str(s->at->text);
    for (size_t n = 0; n < FLOOD_BYTES; n += text.n)
        stream_send(s->stream, text);
}

/* Plays what can be played now. */
static void
play(struct session *s)
{
    struct slice line;
    for (;; s->at++)
        switch (s->at->what) {
        case MX_END:
            stream_consume(s->stream, stream_input(s->stream).n);
            return;
        case MX_SAY:
            stream_send(s->stream, slice_str(s->at->text));
            break;
        case MX_FLOOD:
            flood(s);
            break;
        case MX_HEAR:
            if (!take_line(s, &line))
                return;
            if (slice_eq(line, SLICE("QUIT")) && slice_eq(slice_str(s->at->text), SLICE("MAIL"))) {
                stream_send(s->stream, SLICE("221 bye\r\n")); /* it may stop between messages */
                stream_close(s->stream);
                end(s);
                return;
            }
            if (!slice_starts_nocase(line, slice_str(s->at->text))) {
                fail(s, line);
                return;
            }
            break;
        case MX_TEXT:
            if (!take_text(s))
                return;
            break;
        case MX_TLS:
            if (!s->in_tls)
                stream_start_tls(s->stream, &s->tls, s->mx->tls, SLICE_NONE, 30000, on_tls);
            s->in_tls = true;
            return;
        case MX_DEAF:
            stream_pause_input(s->stream);
            return;
        case MX_HANG_UP:
            stream_close(s->stream);
            end(s);
            return;
        case MX_RESET:
            stream_abort(s->stream);
            end(s);
            return;
        }
}

static void
on_go(struct deferred *d)
{
    play(container_of(d, struct session, go));
}

static void
on_input(struct stream_user *u)
{
    play(container_of(u, struct session, user));
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    struct session *s = container_of(u, struct session, user);
    (void)why;
    stream_abort(s->stream);
    end(s);
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct script_mx *mx = owner;
    struct session *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL || mx->script_count == 0);
    unsigned n = mx->connections++;
    s->mx = mx;
    s->stream = stream;
    s->at = mx->scripts[n < mx->script_count ? n : mx->script_count - 1];
    s->user = (struct stream_user){on_input, on_end, NULL};
    list_node_init(&s->node);
    list_push(&mx->sessions, &s->node);
    mx->live++;
    deferred_init(&s->go, mx->loop, on_go);
    stream_set_user(stream, &s->user);
    play(s);
}

void
script_mx_open(struct script_mx *mx, struct loop *l)
{
    struct net_address any;
    struct err err = {0};
    *mx = (struct script_mx){.loop = l};
    list_init(&mx->sessions);
    buf_init(&mx->heard, KEPT_BYTES);
    buf_init(&mx->text, KEPT_BYTES);
    BUG_ON(!net_address_from_ip(SLICE("127.0.0.1"), 0, &any));
    int fd = net_listen(&any, false, false, &err);
    BUG_ON(fd < 0 || net_bound_address(fd, &mx->address, &err) != 0);
    mx->listener = listener_open(l, fd, 65536, on_accept, mx, &err);
    BUG_ON(mx->listener == NULL);
}

void
script_mx_add(struct script_mx *mx, const struct mx_step *steps)
{
    BUG_ON(mx->script_count == SCRIPT_MX_SCRIPTS);
    mx->scripts[mx->script_count++] = steps;
}

void
script_mx_reset(struct script_mx *mx)
{
    LIST_EACH(&mx->sessions, n)
    {
        struct session *s = container_of(n, struct session, node);
        stream_abort(s->stream);
        end(s);
    }
}

void
script_mx_close(struct script_mx *mx)
{
    listener_close(mx->listener);
    script_mx_reset(mx);
    buf_fini(&mx->heard);
    buf_fini(&mx->text);
}

bool
script_mx_heard(const struct script_mx *mx, const char *line)
{
    struct slice all = buf_slice(&mx->heard);
    while (all.n > 0)
        if (slice_eq(slice_cut_at(&all, '\n'), slice_str(line)))
            return true;
    return false;
}
