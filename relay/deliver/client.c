/*
 * Happy path: client_open() connects; greeting, EHLO, STARTTLS where offered,
 * EHLO again, READY (client_open.c). client_send_start() runs MAIL, RCPT, DATA,
 * the text, the dot, the final reply (client_send.c), then READY again.
 * client_quit() says QUIT and the client frees itself.
 *
 * Ways it ends: client_drop() with a finding, from any state: a timer of the
 * table, the stream's end, a reply that means the end, a peer out of step, the
 * owner's withdrawal. A transaction under way gets its results there. The user
 * hears on_closed on a later turn, and frees the client.
 */
#include "relay/deliver/client_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

#define MINUTES(n) (60000ull * (n))

#define CLOSED SM_TO(CLIENT_CLOSED)

static const struct sm_row rows[CLIENT_STATES] = {
    /* connect_start() has the time limit. */
    [CLIENT_CONNECTING] = {"connecting", "connecting", SM_TO(CLIENT_GREETING) | CLOSED, 0, false},
    /* RFC 5321 4.5.3.2.1: 5 minutes. */
    [CLIENT_GREETING] = {"greeting", "waiting for the greeting", SM_TO(CLIENT_EHLO) | CLOSED,
                         MINUTES(5), false},
    /* 4.5.3.2.2 gives 5 minutes for MAIL and none for EHLO: the same. */
    [CLIENT_EHLO] = {"ehlo", "waiting for the reply to EHLO",
                     SM_TO(CLIENT_HELO) | SM_TO(CLIENT_STARTTLS) | SM_TO(CLIENT_READY) | CLOSED,
                     MINUTES(5), false},
    [CLIENT_HELO] = {"helo", "waiting for the reply to HELO", SM_TO(CLIENT_READY) | CLOSED,
                     MINUTES(5), false},
    [CLIENT_STARTTLS] = {"starttls", "waiting for the reply to STARTTLS",
                         SM_TO(CLIENT_HANDSHAKE) | SM_TO(CLIENT_READY) | CLOSED, MINUTES(2), false},
    /* stream_start_tls() has the time limit. */
    [CLIENT_HANDSHAKE] = {"handshake", "performing the TLS handshake",
                          SM_TO(CLIENT_EHLO_TLS) | CLOSED, 0, false},
    [CLIENT_EHLO_TLS] = {"ehlo-tls", "waiting for the reply to EHLO under TLS",
                         SM_TO(CLIENT_HELO) | SM_TO(CLIENT_READY) | CLOSED, MINUTES(5), false},
    /* The pool limits how long. */
    [CLIENT_READY] = {"ready", "idle",
                      SM_TO(CLIENT_MAIL) | SM_TO(CLIENT_READY) | SM_TO(CLIENT_QUIT) | CLOSED, 0,
                      false},
    /* 4.5.3.2.2: 5 minutes. */
    [CLIENT_MAIL] = {"mail", "waiting for the reply to MAIL",
                     SM_TO(CLIENT_RCPT) | SM_TO(CLIENT_READY) | CLOSED, MINUTES(5), false},
    /* 4.5.3.2.3: 5 minutes, for each reply. */
    [CLIENT_RCPT] = {"rcpt", "waiting for the reply to RCPT",
                     SM_TO(CLIENT_DATA) | SM_TO(CLIENT_RSET) | CLOSED, MINUTES(5), false},
    /* 4.5.3.2.4: 2 minutes. */
    [CLIENT_DATA] = {"data", "waiting for the reply to DATA",
                     SM_TO(CLIENT_BODY) | SM_TO(CLIENT_RSET) | CLOSED, MINUTES(2), false},
    /* 4.5.3.2.5: 3 minutes, for each block. */
    [CLIENT_BODY] = {"body", "sending the message text", SM_TO(CLIENT_DOT) | CLOSED, MINUTES(3),
                     false},
    [CLIENT_DOT] = {"dot", "holding the final dot back", SM_TO(CLIENT_FINAL) | CLOSED,
                    CLIENT_DOT_WITHHELD_MS, false},
    /* 4.5.3.2.6: 10 minutes. */
    [CLIENT_FINAL] = {"final", "waiting for the reply to the end of data",
                      SM_TO(CLIENT_READY) | CLOSED, MINUTES(10), true},
    [CLIENT_RSET] = {"rset", "waiting for the reply to RSET", SM_TO(CLIENT_READY) | CLOSED,
                     MINUTES(5), false},
    [CLIENT_QUIT] = {"quit", "waiting for the reply to QUIT", CLOSED, CLIENT_QUIT_MS, false},
    [CLIENT_CLOSED] = {"closed", "closed", 0, 0, false},
};

static const struct {
    enum phase phase;
    void (*judge)(struct client *c, const struct reply *r); /* NULL: no reply is owed there */
} judges[CLIENT_STATES] = {
    [CLIENT_CONNECTING] = {PHASE_CONNECT, NULL},
    [CLIENT_GREETING] = {PHASE_GREETING, client_judge_greeting},
    [CLIENT_EHLO] = {PHASE_EHLO, client_judge_ehlo},
    [CLIENT_HELO] = {PHASE_EHLO, client_judge_helo},
    [CLIENT_STARTTLS] = {PHASE_STARTTLS, client_judge_starttls},
    [CLIENT_HANDSHAKE] = {PHASE_TLS, NULL},
    [CLIENT_EHLO_TLS] = {PHASE_EHLO, client_judge_ehlo},
    [CLIENT_READY] = {PHASE_MAIL, NULL},
    [CLIENT_MAIL] = {PHASE_MAIL, client_judge_mail},
    [CLIENT_RCPT] = {PHASE_RCPT, client_judge_rcpt},
    [CLIENT_DATA] = {PHASE_DATA, client_judge_data},
    [CLIENT_BODY] = {PHASE_BODY, NULL},
    [CLIENT_DOT] = {PHASE_DOT, NULL},
    [CLIENT_FINAL] = {PHASE_FINAL, client_judge_final},
    [CLIENT_RSET] = {PHASE_MAIL, client_judge_rset},
    [CLIENT_QUIT] = {PHASE_MAIL, NULL},
    [CLIENT_CLOSED] = {PHASE_MAIL, NULL},
};

/* ---- states ------------------------------------------------------------- */

static void
check_invariant(const struct client *c)
{
    unsigned s = c->sm.state;
    bool in_mail = s >= CLIENT_MAIL && s <= CLIENT_FINAL;
    BUG_ON(in_mail != (c->mail.op != NULL));
    BUG_ON(s == CLIENT_READY && c->owed != 0);
    BUG_ON((s == CLIENT_BODY || s == CLIENT_DOT) && c->owed != 0);
    BUG_ON((s == CLIENT_CONNECTING || s == CLIENT_CLOSED) != (c->stream == NULL));
}

/* The part of an attempt that a state belongs to; HISTOGRAM_COUNT: none. */
static enum metric_histogram
stage_of(unsigned state)
{
    if (state == CLIENT_CONNECTING)
        return HISTOGRAM_STAGE_CONNECT;
    if (state >= CLIENT_GREETING && state <= CLIENT_STARTTLS)
        return HISTOGRAM_STAGE_GREETING;
    if (state == CLIENT_HANDSHAKE || state == CLIENT_EHLO_TLS)
        return HISTOGRAM_STAGE_TLS;
    if (state >= CLIENT_MAIL && state <= CLIENT_DATA)
        return HISTOGRAM_STAGE_MAIL;
    return state >= CLIENT_BODY && state <= CLIENT_FINAL ? HISTOGRAM_STAGE_DATA : HISTOGRAM_COUNT;
}

static void
observe_stage(struct client *c, unsigned from, unsigned to)
{
    enum metric_histogram before = stage_of(from);
    if (before == stage_of(to))
        return;
    uint64_t now_us = clock_mono_us();
    if (before != HISTOGRAM_COUNT)
        metrics_observe(before, now_us - c->stage_since_us);
    c->stage_since_us = now_us;
}

static void
on_move(struct sm *sm, unsigned from)
{
    struct client *c = container_of(sm, struct client, sm);
    observe_stage(c, from, sm->state);
    uint64_t limit_ms = sm_row(sm)->timeout_ms;
    if (limit_ms != 0)
        timer_start(&c->timer, clock_scaled_ms(limit_ms));
    else
        timer_cancel(&c->timer);
    timer_cancel(&c->ask);
    check_invariant(c);
    if (c->env->tracer != NULL)
        c->env->tracer->on_state(c->env->tracer, (enum client_state)sm->state);
}

void
client_move(struct client *c, enum client_state to)
{
    sm_move(&c->sm, to);
}

enum phase
client_phase(const struct client *c)
{
    return judges[c->sm.state].phase;
}

void
client_schedule(struct client *c)
{
    deferred_schedule_end_of_turn(&c->later);
}

void
client_become_ready(struct client *c)
{
    c->ready_due = true;
    buf_shrink(&c->out, CLIENT_KEPT_BYTES);
    client_move(c, CLIENT_READY);
    client_schedule(c);
}

/* ---- the way out -------------------------------------------------------- */

static void
destroy(struct client *c)
{
    timer_cancel(&c->timer);
    timer_cancel(&c->ask);
    deferred_cancel(&c->later);
    if (c->stream != NULL)
        stream_abort(c->stream);
    buf_fini(&c->text);
    buf_fini(&c->out);
    list_remove(&c->node);
    free(c);
}

void
client_drop(struct client *c, const struct finding *f)
{
    if (c->sm.state == CLIENT_CLOSED)
        return;
    c->failure = *f;
    if (c->mail.op != NULL)
        client_mail_fail(c, f);
    if (c->stream != NULL)
        stream_abort(c->stream);
    c->stream = NULL;
    c->owed = 0;
    if (c->connect_pending)
        connect_cancel(&c->connect);
    client_move(c, CLIENT_CLOSED);
    client_schedule(c);
}

void
client_drop_broken(struct client *c, const char *what)
{
    struct finding f;
    finding_from_us(&f, client_phase(c), SEEN_BROKEN, "protocol error while %s: %s",
                    sm_row(&c->sm)->doing, what);
    client_drop(c, &f);
}

static void
drop_lost(struct client *c, const struct err *why)
{
    struct finding f;
    enum seen seen = why->code == ERR_TIMEOUT ? SEEN_TIMEOUT : SEEN_LOST;
    if (seen == SEEN_TIMEOUT)
        finding_from_us(&f, client_phase(c), seen, "timed out while %s", sm_row(&c->sm)->doing);
    else
        finding_from_us(&f, client_phase(c), seen, "lost connection while %s: %s",
                        sm_row(&c->sm)->doing, why->text);
    client_drop(c, &f);
}

static void
on_timer(struct timer *t)
{
    struct client *c = container_of(t, struct client, timer);
    struct err why = {.code = ERR_TIMEOUT};
    drop_lost(c, &why);
}

static void
on_ask(struct timer *t)
{
    struct client *c = container_of(t, struct client, ask);
    if (c->sm.state == CLIENT_FINAL)
        FAILPOINT("deliver.dot-sent");
    client_try_dot(c);
}

/* Callbacks of the user, last of all that happens here. */
static void
on_later(struct deferred *d)
{
    struct client *c = container_of(d, struct client, later);
    struct client_send_op *op = c->finished;
    c->finished = NULL;
    if (op != NULL)
        op->done(op);
    if (c->sm.state == CLIENT_CLOSED) {
        if (c->user != NULL)
            c->user->on_closed(c->user);
        else if (!c->connect_pending)
            destroy(c);
    } else if (c->ready_due && c->user != NULL) {
        c->ready_due = false;
        c->user->on_ready(c->user);
    }
}

/* ---- input -------------------------------------------------------------- */

bool
client_in_step(struct client *c)
{
    if (c->owed > 0 || stream_input(c->stream).n == 0)
        return true;
    client_drop_broken(c, "a reply that was not asked for");
    return false;
}

/* One reply, if a whole one is there. */
static bool
judge_one(struct client *c)
{
    struct slice in = stream_input(c->stream);
    size_t before = in.n;
    struct reply r;
    buf_clear(&c->text);
    switch (reply_cut(&in, &c->text, &r)) {
    case PARSE_MORE:
        if (before >= CLIENT_INPUT_BYTES)
            client_drop_broken(c, "a reply without end");
        return false;
    case PARSE_BAD:
        client_drop_broken(c, "not an SMTP reply");
        return false;
    case PARSE_OK:
        break;
    }
    stream_consume(c->stream, before - in.n);
    c->owed--;
    c->mail.replies++;
    if (judges[c->sm.state].judge != NULL)
        judges[c->sm.state].judge(c, &r);
    else /* QUIT: whatever it says */
        client_drop_broken(c, "closed");
    return true;
}

static void
on_input(struct stream_user *u)
{
    struct client *c = container_of(u, struct client, stream_user);
    while (c->stream != NULL && stream_input(c->stream).n > 0) {
        if (c->owed > 0) {
            if (!judge_one(c))
                return;
        } else if (c->sm.state == CLIENT_BODY || c->sm.state == CLIENT_DOT) {
            client_judge_early(c);
        } else {
            client_in_step(c);
        }
    }
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    drop_lost(container_of(u, struct client, stream_user), why);
}

static void
on_drain(struct stream_user *u)
{
    struct client *c = container_of(u, struct client, stream_user);
    if (c->sm.state != CLIENT_BODY)
        return;
    timer_start(&c->timer, clock_scaled_ms(rows[CLIENT_BODY].timeout_ms));
    client_pump_text(c);
}

/* ---- output ------------------------------------------------------------- */

void
client_command(struct client *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    bool fits = buf_vaddf(&c->out, fmt, args) && buf_add(&c->out, SLICE("\r\n"));
    va_end(args);
    BUG_ON(!fits); /* addresses and options have limits of their own */
    c->owed++;
}

void
client_flush(struct client *c)
{
    if (c->out.len > 0)
        stream_send(c->stream, buf_slice(&c->out));
    buf_clear(&c->out);
}

/* ---- from open to close ------------------------------------------------- */

static void
on_connect(struct connect_op *op)
{
    struct client *c = container_of(op, struct client, connect);
    c->connect_pending = false;
    if (c->sm.state == CLIENT_CLOSED) { /* dropped or freed meanwhile */
        if (op->stream != NULL)
            stream_abort(op->stream);
        if (c->user == NULL) {
            c->env->connecting_dropped--;
            destroy(c);
        }
        return;
    }
    if (op->stream == NULL) {
        struct finding f;
        finding_from_us(&f, PHASE_CONNECT, op->err.code == ERR_TIMEOUT ? SEEN_TIMEOUT : SEEN_LOST,
                        "cannot connect: %s", op->err.text);
        f.enhanced = (struct enhanced){4, 4, 1}; /* no answer from host */
        client_drop(c, &f);
        return;
    }
    metrics_add(METRIC_MX_CONNECTIONS, 1);
    FAILPOINT("deliver.connected");
    c->stream = op->stream;
    stream_set_user(c->stream, &c->stream_user);
    c->owed = 1; /* the greeting */
    client_move(c, CLIENT_GREETING);
    if (c->user != NULL && c->user->on_connected != NULL)
        c->user->on_connected(c->user);
}

struct client *
client_open(struct client_env *env, const char *mx, const struct net_address *to, bool try_tls,
            struct client_user *user)
{
    struct client *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->env = env;
    c->user = user;
    c->address = *to;
    c->try_tls = try_tls && env->tls != NULL;
    BUG_ON(!slice_to_cstr(slice_str(mx), c->mx, sizeof c->mx));
    c->stream_user = (struct stream_user){on_input, on_end, on_drain};
    timer_init(&c->timer, env->loop, on_timer);
    timer_init(&c->ask, env->loop, on_ask);
    deferred_init(&c->later, env->loop, on_later);
    buf_init(&c->text, REPLY_BYTES_MAX);
    buf_init(&c->out, CLIENT_OUTPUT_MAX);
    list_node_init(&c->node);
    list_push(&env->clients, &c->node);
    c->stage_since_us = clock_mono_us();
    sm_init(&c->sm, rows, CLIENT_STATES, CLIENT_CONNECTING, on_move);
    if (env->tracer != NULL)
        env->tracer->on_state(env->tracer, CLIENT_CONNECTING);
    c->connect_pending = true;
    c->connect.done = on_connect;
    connect_start(&c->connect, env->loop, to, clock_scaled_ms(CLIENT_CONNECT_MS),
                  CLIENT_INPUT_BYTES);
    return c;
}

void
client_free(struct client *c)
{
    if (c == NULL)
        return;
    BUG_ON(c->mail.op != NULL || c->finished != NULL);
    c->user = NULL;
    if (!c->connect_pending) {
        destroy(c);
        return;
    }
    c->env->connecting_dropped++;
    deferred_cancel(&c->later);
    if (c->sm.state != CLIENT_CLOSED) {
        client_move(c, CLIENT_CLOSED);
        connect_cancel(&c->connect);
    }
}

void
client_quit(struct client *c)
{
    BUG_ON(c->sm.state != CLIENT_READY);
    c->user = NULL;
    c->ready_due = false;
    client_command(c, "QUIT");
    client_flush(c);
    client_move(c, CLIENT_QUIT);
}

void
client_withdraw(struct client *c, const char *why)
{
    if (c->mail.op == NULL || c->mail.op->dot_sent)
        return;
    struct finding f;
    finding_from_us(&f, client_phase(c), SEEN_OURS, "%s", why);
    client_drop(c, &f);
}

/* ---- what all clients share, and questions ------------------------------- */

void
client_env_init(struct client_env *env, struct loop *l, const char *hostname,
                struct tls_context *tls)
{
    *env = (struct client_env){.loop = l, .hostname = hostname, .tls = tls};
    list_init(&env->clients);
}

bool
client_env_busy(const struct client_env *env)
{
    return env->connecting_dropped > 0;
}

void
client_env_fini(struct client_env *env)
{
    BUG_ON(client_env_busy(env));
    LIST_EACH(&env->clients, n)
    {
        struct client *c = container_of(n, struct client, node);
        BUG_ON(c->user != NULL);
        destroy(c);
    }
}

void
client_set_user(struct client *c, struct client_user *user)
{
    c->user = user;
}

enum client_state
client_state(const struct client *c)
{
    return (enum client_state)c->sm.state;
}

const char *
client_mx(const struct client *c)
{
    return c->mx;
}

const struct net_address *
client_address(const struct client *c)
{
    return &c->address;
}

const struct finding *
client_failure(const struct client *c)
{
    return &c->failure;
}

bool
client_is_tls(const struct client *c)
{
    return c->is_tls;
}

unsigned
client_messages(const struct client *c)
{
    return c->messages;
}

unsigned
client_rcpt_max(const struct client *c)
{
    unsigned told = c->ehlo.rcpt_max;
    return told > 0 && told < RCPT_PER_TRANSACTION_MAX ? told : RCPT_PER_TRANSACTION_MAX;
}
