/*
 * Happy path: TLS (or a plain banner and STARTTLS), EHLO, AUTH, then MAIL, RCPT,
 * DATA or BDAT again and again, QUIT.
 *
 * Ways it ends: QUIT (221); 421 after a time limit, too many errors, a drain;
 * a closing refusal; dropped without a word (bytes behind STARTTLS, an unknown
 * outcome); the peer goes away. All lead through session_end(): the stream is
 * closed at once, and the memory goes when the last operation has ended. A
 * message whose final dot was seen is committed whether or not its client is
 * still there: had it gone a moment later, the 250 would have been lost as well.
 */
#include "relay/accept/smtp/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

#define TO_OVER SM_TO(SESSION_OVER)

static const struct sm_row ROWS[SESSION_STATES] = {
    [SESSION_HANDSHAKE] =
        {
            .name = "handshake",
            .doing = "performing the TLS handshake",
            .next = SM_TO(SESSION_COMMAND) | TO_OVER, /* the stream keeps the time */
        },
    [SESSION_COMMAND] =
        {
            .name = "command",
            .doing = "waiting for a command",
            .next = SM_TO(SESSION_HANDSHAKE) | SM_TO(SESSION_AUTH_LINE) |
                    SM_TO(SESSION_AUTH_CHECK) | SM_TO(SESSION_DATA) | SM_TO(SESSION_CHUNK) |
                    SM_TO(SESSION_LATE) | TO_OVER,
            .timeout_ms = SMTP_COMMAND_TIMEOUT_MS, /* RFC 5321 4.5.3.2.7 */
        },
    [SESSION_AUTH_LINE] =
        {
            .name = "auth-line",
            .doing = "waiting for an answer of AUTH",
            .next = SM_TO(SESSION_COMMAND) | SM_TO(SESSION_AUTH_CHECK) | TO_OVER,
            .timeout_ms = SMTP_COMMAND_TIMEOUT_MS,
        },
    [SESSION_AUTH_CHECK] =
        {
            .name = "auth-check",
            .doing = "checking a password",
            .next = SM_TO(SESSION_COMMAND) | SM_TO(SESSION_AUTH_LINE) | TO_OVER,
        },
    [SESSION_DATA] =
        {
            .name = "data",
            .doing = "receiving a message",
            .next = SM_TO(SESSION_COMMAND) | SM_TO(SESSION_SUBMIT) | TO_OVER,
            .timeout_ms = SMTP_DATA_TIMEOUT_MS, /* RFC 5321 4.5.3.2.5 */
        },
    [SESSION_CHUNK] =
        {
            .name = "chunk",
            .doing = "receiving a chunk",
            .next = SM_TO(SESSION_COMMAND) | SM_TO(SESSION_SUBMIT) | TO_OVER,
            .timeout_ms = SMTP_DATA_TIMEOUT_MS, /* for the message, and longer as it grows */
        },
    [SESSION_SUBMIT] =
        {
            .name = "submit",
            .doing = "committing a message",
            .next = SM_TO(SESSION_COMMAND) | TO_OVER, /* the queue keeps the time */
            .may_be_delivered = true,
        },
    [SESSION_LATE] =
        {
            .name = "late",
            .doing = "answering an error late",
            .next = SM_TO(SESSION_COMMAND) | TO_OVER,
            .timeout_ms = SMTP_ERROR_DELAY_MS,
        },
    [SESSION_OVER] = {.name = "over", .doing = "leaving"},
};

struct verb_row {
    void (*handle)(struct smtp_session *s, struct slice arg);
    bool junk; /* leads nowhere by itself */
    bool last; /* of a pipelined group: what may follow depends on the answer */
};

static const struct verb_row VERBS[CMD_COUNT] = {
    [CMD_UNKNOWN] = {verb_unknown, false, false}, [CMD_EHLO] = {verb_ehlo, true, true},
    [CMD_HELO] = {verb_helo, true, true},         [CMD_MAIL] = {verb_mail, false, false},
    [CMD_RCPT] = {verb_rcpt, false, false},       [CMD_DATA] = {verb_data, false, false},
    [CMD_BDAT] = {verb_bdat, false, false},       [CMD_RSET] = {verb_rset, true, false},
    [CMD_NOOP] = {verb_noop, true, false},        [CMD_QUIT] = {verb_quit, false, false},
    [CMD_VRFY] = {verb_vrfy, true, false},        [CMD_EXPN] = {verb_expn, true, false},
    [CMD_HELP] = {verb_help, true, false},        [CMD_STARTTLS] = {verb_starttls, false, false},
    [CMD_AUTH] = {verb_auth, false, true},        [CMD_HTTP] = {verb_http, false, false},
};

/* ---- the end -------------------------------------------------------------- */

static void
on_reap(struct deferred *d)
{
    struct smtp_session *s = container_of(d, struct smtp_session, reap);
    list_remove(&s->node);
    metrics_set(GAUGE_CONNECTIONS_SMTP, --s->server->session_count);
    timer_cancel(&s->timer);
    auth_forget(s);
    session_reset_transaction(s);
    session_set_credential(s, NULL);
    buf_fini(&s->late);
    free(s);
}

void
session_operation_ended(struct smtp_session *s)
{
    if (s->sm.state == SESSION_OVER && !s->auth.checking && !s->message.submitting)
        deferred_schedule(&s->reap);
}

/* The stream is closed. A commit under way keeps the session in its state. */
static void
session_end(struct smtp_session *s)
{
    s->stream = NULL;
    timer_cancel(&s->timer);
    if (s->sm.state == SESSION_SUBMIT && s->message.submitting)
        return;
    sm_move(&s->sm, SESSION_OVER);
    if (s->auth.checking)
        credential_check_cancel(&s->auth.check);
    session_operation_ended(s);
}

void
session_drop(struct smtp_session *s, const char *why)
{
    LOG(LOG_INFO, "smtp.dropped", LF_U("session", s->number), LF_STR("client", s->client_ip),
        LF_STR("state", sm_row(&s->sm)->name), LF_STR("why", why));
    s->reply_owed = false;
    stream_close(s->stream);
    session_end(s);
}

void
session_abort(struct smtp_session *s, const char *why)
{
    LOG(LOG_INFO, "smtp.aborted", LF_U("session", s->number), LF_STR("client", s->client_ip),
        LF_STR("state", sm_row(&s->sm)->name), LF_STR("why", why));
    s->reply_owed = false;
    stream_abort(s->stream);
    session_end(s);
}

void
session_close(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
    session_say(s, code, enhanced, "%s", text);
    LOG(LOG_DEBUG, "smtp.closed", LF_U("session", s->number), LF_U("code", code));
    stream_close(s->stream);
    session_end(s);
}

/* ---- replies --------------------------------------------------------------- */

static void
add_reply(struct buf *b, unsigned code, const char *enhanced, const char *text)
{
    const struct reply_text r = {code, enhanced, text};
    buf_init(b, SMTP_REPLY_MAX);
    BUG_ON(!reply_add(b, &r));
}

static void
send_reply(struct smtp_session *s, struct buf *b)
{
    stream_send(s->stream, buf_slice(b));
    buf_fini(b);
}

void
session_say(struct smtp_session *s, unsigned code, const char *enhanced, const char *fmt, ...)
{
    char text[SMTP_REPLY_MAX / 2];
    va_list args;
    struct buf b;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->reply_owed = false;
    add_reply(&b, code, enhanced, text);
    send_reply(s, &b);
}

void
session_refuse(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
    s->errors++;
    LOG(LOG_INFO, "smtp.error", LF_U("session", s->number), LF_STR("client", s->client_ip),
        LF_STR("user", s->credential != NULL ? s->credential->user : ""), LF_U("code", code),
        LF_STR("enhanced", enhanced), LF_STR("text", text));
    if (s->errors >= SMTP_ERRORS_HARD) {
        session_close(s, 421, "4.7.0", "Too many errors");
        return;
    }
    if (s->errors <= SMTP_ERRORS_SOFT) {
        session_say(s, code, enhanced, "%s", text);
        return;
    }
    s->reply_owed = false;
    add_reply(&s->late, code, enhanced, text);
    sm_move(&s->sm, SESSION_LATE);
}

void
session_refuse_with(struct smtp_session *s, const struct reply_text *r)
{
    if (r->code >= 500)
        session_refuse(s, r->code, r->enhanced, r->text);
    else
        session_say(s, r->code, r->enhanced, "%s", r->text);
}

void
session_count_junk(struct smtp_session *s)
{
    if (++s->junk > SMTP_JUNK_MAX)
        s->errors++;
}

/* ---- time ------------------------------------------------------------------ */

/* Text is on its way, or the next chunk of a message is waited for. */
static bool
text_comes(const struct smtp_session *s)
{
    return s->sm.state == SESSION_DATA || s->sm.state == SESSION_CHUNK ||
           (s->sm.state == SESSION_COMMAND && s->chunk.begun);
}

void
session_restart_timer(struct smtp_session *s)
{
    uint64_t timeout_ms = sm_row(&s->sm)->timeout_ms, now_ms = clock_mono_ms();
    if (s->stream == NULL || timeout_ms == 0)
        timer_cancel(&s->timer);
    else if (!text_comes(s))
        timer_start(&s->timer, clock_scaled_ms(timeout_ms));
    else
        timer_start(&s->timer,
                    s->progress.deadline_ms > now_ms ? s->progress.deadline_ms - now_ms : 0);
}

static void
on_move(struct sm *sm, unsigned from)
{
    struct smtp_session *s = container_of(sm, struct smtp_session, sm);
    (void)from;
    session_restart_timer(s);
}

static void
on_timer(struct timer *t)
{
    struct smtp_session *s = container_of(t, struct smtp_session, timer);
    if (s->sm.state != SESSION_LATE) {
        session_close(s, 421, "4.4.2", "Timed out waiting for you");
        return;
    }
    send_reply(s, &s->late);
    sm_move(&s->sm, SESSION_COMMAND);
    session_run(s);
}

/* ---- input ------------------------------------------------------------------ */

void
session_reset_transaction(struct smtp_session *s)
{
    arena_fini(&s->transaction.arena);
    s->transaction = (struct smtp_transaction){.open = false};
    arena_init(&s->transaction.arena, SMTP_TRANSACTION_ARENA_MAX);
    message_forget(s);
    s->chunk = (struct smtp_chunk){.begun = false};
}

/* RFC 2920 3.1. Behind EHLO nobody can know yet that we take pipelined commands,
 * and behind AUTH nobody can know who is sending: who sends more at once does not
 * listen to us, and may have been made to talk to us by somebody else. */
static bool
came_too_early(struct smtp_session *s)
{
    if (stream_input(s->stream).n == 0)
        return false;
    session_close(s, 554, "5.5.0", "Commands came before the reply that they depend on");
    return true;
}

/* Behind a BDAT that nobody can read come octets, and nobody knows how many: they must
 * not be taken for commands. */
static void
refuse_unread(struct smtp_session *s, struct slice line, const struct reply_text *r)
{
    if (slice_starts_nocase(line, SLICE("BDAT")))
        session_close(s, r->code, r->enhanced, r->text);
    else
        session_refuse_with(s, r);
}

static void
dispatch(struct smtp_session *s, struct slice line)
{
    struct command c;
    struct reply_text refusal;
    s->reply_owed = true;
    if (command_parse(line, &c, &refusal) != PARSE_OK) {
        refuse_unread(s, line, &refusal);
        return;
    }
    if (VERBS[c.verb].last && came_too_early(s))
        return;
    if (VERBS[c.verb].junk)
        session_count_junk(s);
    if (s->errors >= SMTP_ERRORS_HARD)
        session_close(s, 421, "4.7.0", "Too many commands without a message");
    else
        VERBS[c.verb].handle(s, c.arg);
    BUG_ON(s->sm.state == SESSION_COMMAND && s->reply_owed);
}

static const struct reply_text TOO_LONG = {500, "5.5.6", "Line too long"},
                               NO_CRLF = {500, "5.5.2", "Lines must end with CRLF"};

/* A line of AUTH that cannot be read ends the exchange. */
static void
refuse_line(struct smtp_session *s, struct slice line, const struct reply_text *why)
{
    if (s->sm.state != SESSION_AUTH_LINE) {
        refuse_unread(s, line, why);
        return;
    }
    auth_forget(s);
    sm_move(&s->sm, SESSION_COMMAND);
    session_refuse_with(s, why);
}

/* Throws an overlong line away, up to SMTP_DISCARD_MAX of it. */
static bool
discard_line(struct smtp_session *s, struct slice in, size_t newline)
{
    size_t n = newline < in.n ? newline + 1 : in.n;
    if (s->discarded_bytes == 0) /* its beginning */
        s->discarding_bdat = slice_starts_nocase(in, SLICE("BDAT"));
    s->discarded_bytes += n;
    stream_consume(s->stream, n);
    if (newline < in.n) {
        s->discarded_bytes = 0;
        refuse_line(s, s->discarding_bdat ? SLICE("BDAT") : SLICE_NONE, &TOO_LONG);
    } else if (s->discarded_bytes > SMTP_DISCARD_MAX) {
        session_close(s, 421, "4.7.0", "Line too long");
    }
    return true;
}

static size_t
line_limit(const struct smtp_session *s, struct slice in)
{
    bool auth = s->sm.state == SESSION_AUTH_LINE || slice_starts_nocase(in, SLICE("AUTH "));
    return auth ? SMTP_AUTH_LINE_MAX : SMTP_COMMAND_LINE_MAX;
}

/* The line ends at its LF; one without CR before it is refused, never executed
 * (RFC 5321 2.3.8). The copy may hold a password. */
static void
take_line(struct smtp_session *s, struct slice line)
{
    char copy[SMTP_AUTH_LINE_MAX];
    size_t n = line.n;
    memcpy(copy, line.p, n);
    stream_consume(s->stream, n);
    session_restart_timer(s);
    if (n < 2 || copy[n - 2] != '\r')
        refuse_line(s, slice_from(copy, n), &NO_CRLF);
    else if (s->sm.state != SESSION_AUTH_LINE)
        dispatch(s, slice_from(copy, n - 2));
    else if (!came_too_early(s))
        auth_line(s, slice_from(copy, n - 2));
    OPENSSL_cleanse(copy, n);
}

/* False when more bytes are needed. */
static bool
line_input(struct smtp_session *s, struct slice in)
{
    size_t newline = slice_find(in, '\n'), limit = line_limit(s, in);
    if (s->discarded_bytes > 0 || (newline < in.n ? newline + 1 : in.n) > limit)
        return discard_line(s, in, newline);
    if (newline == in.n)
        return false;
    take_line(s, slice_from(in.p, newline + 1));
    return true;
}

static bool
takes_input(const struct smtp_session *s)
{
    bool reads = s->sm.state == SESSION_COMMAND || s->sm.state == SESSION_AUTH_LINE ||
                 s->sm.state == SESSION_DATA || s->sm.state == SESSION_CHUNK;
    return s->stream != NULL && reads &&
           stream_unsent_bytes(s->stream) <= stream_output_high_water();
}

void
session_run(struct smtp_session *s)
{
    while (takes_input(s)) {
        struct slice in = stream_input(s->stream);
        if (in.n > 0 && s->sm.state == SESSION_DATA)
            data_input(s);
        else if (in.n > 0 && s->sm.state == SESSION_CHUNK)
            bdat_input(s);
        else if (in.n == 0 || !line_input(s, in))
            break;
    }
    if (takes_input(s) && s->ended)
        session_drop(s, "closed by the client");
    else if (s->server->draining && s->stream != NULL && s->sm.state == SESSION_COMMAND)
        session_drain(s, false);
}

/* ---- the stream's calls ------------------------------------------------------ */

static void
on_input(struct stream_user *u)
{
    session_run(container_of(u, struct smtp_session, user));
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    struct smtp_session *s = container_of(u, struct smtp_session, user);
    if (why->code != ERR_CLOSED) {
        session_abort(s, why->text);
        return;
    }
    s->ended = true;
    session_run(s);
}

static void
say_banner(struct smtp_session *s)
{
    enum queue_status status = queue_status(s->server->parts.queue);
    s->banner = true;
    if (s->server->draining)
        session_close(s, 421, "4.3.2", "Shutting down");
    else if (s->server->session_count > SMTP_SESSIONS_MAX)
        session_close(s, 421, "4.3.2", "Too many connections");
    else if (status == QUEUE_AWAY_NOW || status == QUEUE_STARTING)
        session_close(s, 421, "4.3.2", "Not ready to take mail");
    else
        session_say(s, 220, NULL, "%s ESMTP Stagepost", s->server->parts.config->hostname);
}

static void
on_tls(struct tls_op *op)
{
    struct smtp_session *s = container_of(op, struct smtp_session, tls);
    if (op->err.code == ERR_TLS) {
        session_drop(s, op->err.text); /* the alert says why */
        return;
    }
    if (op->err.code != ERR_NONE) {
        session_abort(s, op->err.text);
        return;
    }
    bool newest = strcmp(stream_tls_version(s->stream), "TLSv1.3") == 0;
    metrics_add(newest ? METRIC_TLS_SMTP_13 : METRIC_TLS_SMTP_12, 1);
    sm_move(&s->sm, SESSION_COMMAND);
    if (!s->banner)
        say_banner(s);
    if (s->stream != NULL)
        session_run(s);
}

void
session_set_credential(struct smtp_session *s, const struct config_credential *cr)
{
    struct config_generation *before = s->memory;
    s->credential = cr;
    s->memory =
        cr != NULL ? config_hold(credential_memory(s->server->parts.credentials, cr)) : NULL;
    config_let_go(&before);
}

void
session_start_tls(struct smtp_session *s)
{
    s->greeted = s->esmtp = false;
    s->client_name[0] = '\0';
    session_set_credential(s, NULL);
    session_reset_transaction(s);
    if (s->sm.state != SESSION_HANDSHAKE)
        sm_move(&s->sm, SESSION_HANDSHAKE);
    stream_offer_protocols(s->stream, "smtp esmtp");
    stream_start_tls(s->stream, &s->tls, s->server->parts.tls, SLICE_NONE,
                     clock_scaled_ms(SMTP_TLS_TIMEOUT_MS), on_tls);
}

void
session_open(struct smtp_server *server, struct stream *stream, bool implicit_tls)
{
    struct smtp_session *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->server = server;
    s->stream = stream;
    s->number = ++server->next_number;
    s->user = (struct stream_user){.on_input = on_input, .on_end = on_end, .on_drain = on_input};
    net_address_format_ip(stream_peer(stream), s->client_ip);
    list_node_init(&s->node);
    list_push(&server->sessions, &s->node);
    metrics_set(GAUGE_CONNECTIONS_SMTP, ++server->session_count);
    timer_init(&s->timer, server->parts.loop, on_timer);
    deferred_init(&s->reap, server->parts.loop, on_reap);
    arena_init(&s->transaction.arena, SMTP_TRANSACTION_ARENA_MAX);
    stream_set_user(stream, &s->user);
    sm_init(&s->sm, ROWS, SESSION_STATES, implicit_tls ? SESSION_HANDSHAKE : SESSION_COMMAND,
            on_move);
    session_restart_timer(s);
    LOG(LOG_DEBUG, "smtp.opened", LF_U("session", s->number), LF_STR("client", s->client_ip));
    if (implicit_tls)
        session_start_tls(s);
    else
        say_banner(s);
}

void
session_drain(struct smtp_session *s, bool grace_is_over)
{
    if (s->stream == NULL || s->sm.state == SESSION_SUBMIT)
        return;
    if (s->sm.state == SESSION_HANDSHAKE)
        session_abort(s, "shutting down");
    else if (!text_comes(s) || grace_is_over)
        session_close(s, 421, "4.3.2", "Shutting down");
}
