/*
 * Happy path: greeting, EHLO, (STARTTLS, EHLO,) MAIL, RCPT, DATA, the message,
 * saved, 250, QUIT.
 * Ways it ends: QUIT; the client's end or silence; SMTP_ERRORS_HARD mistakes; a
 * line that is none; bytes sent along with STARTTLS; TLS that fails;
 * drop-after-dot@; the sandbox's end. A message at the store is saved also when
 * its session is gone: that client did not get a 250 and will come again.
 */
#include "relay/sandbox/mx_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

static const struct sm_row rows[MX_STATE_COUNT] = {
    [MX_COMMAND] = {.name = "command",
                    .doing = "waiting for a command",
                    .next = SM_TO(MX_DATA) | SM_TO(MX_DELAYING) | SM_TO(MX_SECURING),
                    .timeout_ms = SANDBOX_MX_TIMEOUT_MS}, /* RFC 5321 4.5.3.2.7 */
    [MX_DATA] = {.name = "data",
                 .doing = "receiving a message",
                 .next = SM_TO(MX_SAVING) | SM_TO(MX_COMMAND) | SM_TO(MX_DELAYING),
                 .timeout_ms = SANDBOX_MX_TIMEOUT_MS}, /* RFC 5321 4.5.3.2.5: 3 minutes */
    [MX_SAVING] = {.name = "saving",
                   .doing = "saving a message",
                   .next = SM_TO(MX_COMMAND) | SM_TO(MX_DELAYING),
                   .may_be_delivered = true},
    [MX_DELAYING] = {.name = "delaying",
                     .doing = "delaying a reply for slow@",
                     .next = SM_TO(MX_COMMAND) | SM_TO(MX_DATA),
                     .timeout_ms = SANDBOX_MX_SLOW_MS},
    [MX_SECURING] = {.name = "securing",
                     .doing = "negotiating TLS",
                     .next = SM_TO(MX_COMMAND),
                     .timeout_ms = SANDBOX_MX_TIMEOUT_MS},
};

struct mx_put {
    struct store_put put;
    struct mx_session *session; /* NULL: it is gone */
};

static void session_run(struct mx_session *s);

/* ---- replies ---- */

static void
send_out(struct mx_session *s)
{
    stream_send(s->stream, buf_slice(&s->out));
    buf_clear(&s->out);
}

static void
move(struct mx_session *s, enum mx_state to)
{
    if (s->sm.state != to)
        sm_move(&s->sm, to);
}

enum mx_step
mx_say(struct mx_session *s, enum mx_state next)
{
    if (s->tx.slow) {
        s->after_delay = next;
        sm_move(&s->sm, MX_DELAYING);
        return MX_WAIT;
    }
    send_out(s);
    move(s, next);
    return MX_AGAIN;
}

enum mx_step
mx_reply(struct mx_session *s, unsigned code, const char *enhanced, const char *text)
{
    reply_add(&s->out, &(struct reply_text){code, enhanced, text});
    return mx_say(s, MX_COMMAND);
}

enum mx_step
mx_refuse(struct mx_session *s, const struct reply_text *r)
{
    if (++s->errors >= SMTP_ERRORS_HARD) {
        reply_addf(&s->out, 421, "4.7.0", "Too many errors");
        return MX_END;
    }
    reply_add(&s->out, r);
    return mx_say(s, MX_COMMAND);
}

/* ---- the message ---- */

static void
count_body(struct mx_session *s, size_t bytes)
{
    s->mx->unsaved_bytes += bytes;
    s->mx->unsaved_bytes -= s->counted_bytes;
    s->counted_bytes = bytes;
}

void
mx_transaction_reset(struct mx_session *s)
{
    arena_reset(&s->arena);
    buf_clear(&s->body);
    buf_shrink(&s->body, 0);
    count_body(s, 0);
    s->tx.open = s->tx.smtputf8 = s->tx.slow = s->tx.drop_after_dot = false;
    s->tx.to_count = 0;
}

static enum mx_step
finish_transaction(struct mx_session *s, unsigned code, const char *enhanced, const char *text)
{
    enum mx_step step = mx_reply(s, code, enhanced, text);
    mx_transaction_reset(s);
    return step;
}

static void session_finish_step(struct mx_session *s, enum mx_step step);

static enum mx_step
saved(struct mx_session *s, const struct store_put *put)
{
    char id[ID_TEXT_BYTES + 1], text[sizeof(id) + 32];
    if (put->err.code != ERR_NONE) {
        LOG(LOG_ERROR, "sandbox.save-failed", LF_ERR(&put->err));
        return finish_transaction(s, 451, "4.3.0", "The message could not be saved");
    }
    if (s->tx.drop_after_dot)
        return MX_DROP;
    id_format(put->id, id);
    snprintf(text, sizeof(text), "Ok: captured as %s", id);
    return finish_transaction(s, 250, "2.0.0", text);
}

static void
on_saved(struct store_put *put)
{
    struct mx_put *p = container_of(put, struct mx_put, put);
    struct mx_session *s = p->session;
    if (s != NULL) {
        s->put = NULL;
        session_finish_step(s, saved(s, put));
    }
    free(p);
}

static enum mx_step
save(struct mx_session *s)
{
    struct mx_put *p = calloc(1, sizeof(*p));
    BUG_ON(p == NULL);
    p->session = s;
    s->put = p;
    sm_move(&s->sm, MX_SAVING);
    store_put_start(&p->put, s->mx->store,
                    &(struct capture){.from = s->tx.from,
                                      .to = s->tx.to,
                                      .to_count = s->tx.to_count,
                                      .message = buf_slice(&s->body)},
                    on_saved);
    buf_clear(&s->body); /* the store has a copy; it stays counted until then */
    buf_shrink(&s->body, 0);
    return MX_WAIT;
}

static enum mx_step
data_ended(struct mx_session *s)
{
    if (s->dot.bare)
        return finish_transaction(s, 550, "5.5.2", "A bare CR, bare LF or NUL in the message");
    if (s->no_room)
        return finish_transaction(s, 452, "4.3.1", "Too much mail at a time");
    if (s->dot.over_size)
        return finish_transaction(s, 552, "5.3.4", "Message too large");
    return save(s);
}

static enum mx_step
data_step(struct mx_session *s)
{
    struct slice in = stream_input(s->stream);
    size_t before = in.n;
    if (before == 0)
        return MX_WAIT;
    enum parse p = dot_decode(&s->dot, &in, &s->body);
    stream_consume(s->stream, before - in.n);
    s->no_room |= s->mx->unsaved_bytes + s->body.len - s->counted_bytes > SANDBOX_MX_UNSAVED_MAX;
    if (s->no_room)
        buf_clear(&s->body);
    count_body(s, s->body.len);
    return p == PARSE_OK ? data_ended(s) : MX_WAIT;
}

/* ---- commands ---- */

/* RFC 5321 2.3.8: a line ends with CRLF and nothing else. */
static enum mx_step
command_step(struct mx_session *s)
{
    struct slice in = stream_input(s->stream);
    size_t end = slice_find(in, '\n');
    if (end == in.n && in.n < SMTP_COMMAND_LINE_MAX)
        return MX_WAIT;
    if (end >= SMTP_COMMAND_LINE_MAX || end == 0 || in.p[end - 1] != '\r') {
        reply_addf(&s->out, 500, "5.5.2", "Line too long, or not ended by CRLF");
        return MX_END;
    }
    char line[SMTP_COMMAND_LINE_MAX]; /* consuming frees the input for STARTTLS's check */
    memcpy(line, in.p, end - 1);
    stream_consume(s->stream, end + 1);
    return mx_command(s, slice_from(line, end - 1));
}

static void on_secured(struct tls_op *op);

/* After a step the session may be gone. */
static void
session_finish_step(struct mx_session *s, enum mx_step step)
{
    if (step == MX_END) {
        send_out(s);
        mx_session_end(s);
    } else if (step == MX_DROP) {
        stream_abort(s->stream);
        s->stream = NULL;
        mx_session_end(s);
    } else {
        session_run(s);
    }
}

static void
session_run(struct mx_session *s)
{
    enum mx_step step = MX_AGAIN;
    while (step == MX_AGAIN && stream_unsent_bytes(s->stream) < stream_output_high_water()) {
        if (s->sm.state == MX_COMMAND)
            step = command_step(s);
        else if (s->sm.state == MX_DATA)
            step = data_step(s);
        else
            return;
    }
    if (step == MX_END || step == MX_DROP)
        session_finish_step(s, step);
    else if (s->sm.state == MX_COMMAND || s->sm.state == MX_DATA)
        timer_start(&s->timer, clock_scaled_ms(rows[s->sm.state].timeout_ms));
}

/* ---- events ---- */

/* Entering a state starts what it waits for. */
static void
on_move(struct sm *sm, unsigned from)
{
    struct mx_session *s = container_of(sm, struct mx_session, sm);
    uint64_t timeout_ms = sm_row(sm)->timeout_ms;
    (void)from;
    timer_cancel(&s->timer);
    if (sm->state == MX_SECURING)
        stream_start_tls(s->stream, &s->securing, s->mx->tls, SLICE_NONE,
                         clock_scaled_ms(timeout_ms), on_secured);
    else if (timeout_ms > 0)
        timer_start(&s->timer, clock_scaled_ms(timeout_ms));
}

static void
on_timer(struct timer *t)
{
    struct mx_session *s = container_of(t, struct mx_session, timer);
    if (s->sm.state == MX_DELAYING) {
        send_out(s);
        sm_move(&s->sm, s->after_delay);
        session_run(s);
        return;
    }
    reply_addf(&s->out, 421, "4.4.2", "Timeout");
    session_finish_step(s, MX_END);
}

/* RFC 3207 4.2: after the handshake nothing that was said before counts. */
static void
on_secured(struct tls_op *op)
{
    struct mx_session *s = container_of(op, struct mx_session, securing);
    if (op->err.code != ERR_NONE) {
        LOG(LOG_INFO, "sandbox.tls-failed", LF_ERR(&op->err));
        session_finish_step(s, MX_DROP);
        return;
    }
    s->greeted = false;
    mx_transaction_reset(s);
    sm_move(&s->sm, MX_COMMAND);
    session_run(s);
}

static void
on_input(struct stream_user *u)
{
    session_run(container_of(u, struct mx_session, user));
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    (void)why;
    mx_session_end(container_of(u, struct mx_session, user));
}

void
mx_session_open(struct sandbox_mx *mx, struct stream *stream)
{
    struct mx_session *s = calloc(1, sizeof(*s));
    BUG_ON(s == NULL);
    s->mx = mx;
    s->stream = stream;
    s->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_input};
    list_node_init(&s->node);
    list_push(&mx->sessions, &s->node);
    mx->session_count++;
    timer_init(&s->timer, mx->loop, on_timer);
    sm_init(&s->sm, rows, MX_STATE_COUNT, MX_COMMAND, on_move);
    arena_init(&s->arena, SMTP_TRANSACTION_ARENA_MAX);
    buf_init(&s->out, REPLY_BYTES_MAX);
    buf_init(&s->body, MESSAGE_BYTES_MAX);
    stream_set_user(stream, &s->user);
    mx_reply(s, 220, NULL, "sandbox.stagepost.example ESMTP Stagepost sandbox");
    timer_start(&s->timer, clock_scaled_ms(rows[MX_COMMAND].timeout_ms));
}

void
mx_session_end(struct mx_session *s)
{
    if (s->put != NULL)
        s->put->session = NULL;
    timer_cancel(&s->timer);
    list_remove(&s->node);
    s->mx->session_count--;
    count_body(s, 0);
    if (s->stream != NULL)
        stream_close(s->stream);
    arena_fini(&s->arena);
    buf_fini(&s->out);
    buf_fini(&s->body);
    free(s);
}
