/*
 * The message of a transaction: stored as it comes, judged, handed to the door,
 * answered. DATA and BDAT differ only in how they tell its end.
 */
#include <stdio.h>

#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

bool
message_memory_holds(const struct smtp_server *server, uint64_t more_bytes)
{
    return blob_total_bytes() + server->transaction_bytes + more_bytes <=
           ACCEPT_BYTES_IN_MEMORY_MAX;
}

void
message_count_memory(struct smtp_session *s)
{
    struct smtp_message *m = &s->message;
    size_t now = m->text.cap + s->transaction.arena.used_bytes;
    s->server->transaction_bytes += now - m->counted_bytes; /* may go down, modulo 2^64 */
    m->counted_bytes = now;
}

void
message_forget(struct smtp_session *s)
{
    buf_fini(&s->message.text);
    message_count_memory(s);
    blob_unref(&s->message.blob);
}

void
message_begin(struct smtp_session *s)
{
    struct smtp_message *m = &s->message;
    size_t max = (size_t)s->server->parts.config->message_bytes_max;
    message_forget(s);
    buf_init(&m->text, max);
    dot_decoder_init(&m->decoder, max);
    m->no_room = false;
}

/* ---- while it comes ------------------------------------------------------------ */

/* No more is stored: the decoder goes on looking for the end. */
static void
stop_storing(struct smtp_message *m)
{
    m->no_room = true;
    buf_fini(&m->text);
    buf_init(&m->text, 0);
}

void
message_note_memory(struct smtp_session *s)
{
    struct smtp_message *m = &s->message;
    message_count_memory(s);
    if (message_memory_holds(s->server, 0) || m->no_room || m->text.cap == 0)
        return;
    stop_storing(m);
    message_count_memory(s);
}

/* So that a client which sends a byte a minute does not stay for ever. */
void
message_begin_progress(struct smtp_session *s)
{
    s->progress = (struct smtp_progress){.deadline_ms = clock_mono_ms() +
                                                        clock_scaled_ms(SMTP_DATA_TIMEOUT_MS)};
}

void
message_note_progress(struct smtp_session *s, uint64_t bytes)
{
    s->progress.bytes += bytes;
    if (s->progress.bytes < SMTP_DATA_PROGRESS_BYTES)
        return;
    message_begin_progress(s);
    session_restart_timer(s);
}

/* ---- the answer ---------------------------------------------------------------- */

static const struct {
    unsigned code;
    const char *enhanced;
} RESULTS[] = {
    [SUBMIT_ACCEPTED] = {250, "2.0.0"},     [SUBMIT_REPLAYED] = {250, "2.0.0"},
    [SUBMIT_SENDER] = {550, "5.7.1"},       [SUBMIT_RECIPIENT] = {550, "5.7.1"},
    [SUBMIT_POLICY] = {550, "5.7.1"},       [SUBMIT_FROZEN] = {550, "5.7.1"},
    [SUBMIT_RATE] = {452, "4.7.1"},         [SUBMIT_CONTENT] = {550, "5.6.0"},
    [SUBMIT_TOO_LARGE] = {552, "5.3.4"},    [SUBMIT_LOOP] = {554, "5.4.6"},
    [SUBMIT_KEY_CONFLICT] = {550, "5.5.0"}, [SUBMIT_KEY_IN_FLIGHT] = {451, "4.5.0"},
    [SUBMIT_NO_ROOM] = {452, "4.3.1"},      [SUBMIT_AWAY] = {451, "4.3.0"},
    [SUBMIT_UNKNOWN] = {0, NULL}, /* nothing may be said: neither 250 nor 4xx is true */
};

static void
answer(struct smtp_session *s, const struct submit_op *op)
{
    char id[ID_TEXT_BYTES + 1];
    if (op->result != SUBMIT_ACCEPTED && op->result != SUBMIT_REPLAYED) {
        const char *enhanced = op->enhanced != NULL ? op->enhanced : RESULTS[op->result].enhanced;
        session_refuse_with(s, &(struct reply_text){RESULTS[op->result].code, enhanced, op->text});
        return;
    }
    s->errors = s->junk = 0;
    id_format(op->id, id);
    FAILPOINT("accept.before-reply");
    session_say(s, 250, "2.0.0", "Ok: queued as %s", id);
}

static void
log_reply_lost(const struct smtp_session *s, const struct submit_op *op)
{
    if (op->result == SUBMIT_ACCEPTED)
        LOG(LOG_WARN, "smtp.reply-lost", LF_U("session", s->number), LF_ID("msg", op->id));
}

static void
on_submitted(struct submit_op *op)
{
    struct smtp_session *s = container_of(op, struct smtp_session, message.submit);
    s->message.submitting = false;
    session_reset_transaction(s);
    if (s->stream == NULL) {
        log_reply_lost(s, op);
        sm_move(&s->sm, SESSION_OVER);
        session_operation_ended(s);
    } else if (op->result == SUBMIT_UNKNOWN) {
        session_abort(s, "the outcome of the commit is not known");
    } else {
        sm_move(&s->sm, SESSION_COMMAND);
        answer(s, op);
        session_run(s);
    }
}

/* RFC 3848, RFC 6531 4.3. */
static const char *
protocol(const struct smtp_session *s)
{
    if (s->transaction.envelope.smtputf8)
        return "UTF8SMTPSA";
    return s->esmtp ? "ESMTPSA" : "SMTP";
}

void
message_submit(struct smtp_session *s)
{
    struct smtp_transaction *t = &s->transaction;
    struct smtp_message *m = &s->message;
    m->blob = blob_take_buf(&m->text);
    message_count_memory(s);
    m->submit = (struct submit_op){
        .done = on_submitted,
        .credential = s->credential,
        .source = SUBMIT_SMTP,
        .envelope = t->envelope,
        .reverse_domain = t->reverse_domain,
        .recipients = t->recipients,
        .recipient_count = t->recipient_count,
        .message = m->blob,
        .client_name = slice_str(s->client_name),
        .client_address = slice_str(s->client_ip),
        .protocol = protocol(s),
    };
    m->submitting = true;
    sm_move(&s->sm, SESSION_SUBMIT);
    submit_start(&m->submit, s->server->parts.door);
}

/* ---- the text ------------------------------------------------------------------- */

/* What the text alone decides, at its end or while it comes. */
const struct reply_text *
message_judge(const struct smtp_message *m)
{
    static const struct reply_text BARE = {550, "5.5.2", "Bare CR, bare LF or NUL in the message"},
                                   LARGE = {552, "5.3.4", "The message is too large"},
                                   LONG = {550, "5.6.0", "A line is longer than 998 octets"},
                                   CUT = {550, "5.6.0", "The last line does not end with CRLF"},
                                   FULL = {452, "4.3.1", "No room for more messages now"};
    if (m->decoder.bare)
        return &BARE;
    if (m->no_room)
        return &FULL;
    if (m->decoder.over_size)
        return &LARGE;
    if (m->decoder.longest_line > SMTP_TEXT_LINE_MAX - 2)
        return &LONG;
    return m->decoder.unfinished ? &CUT : NULL;
}

void
message_refuse(struct smtp_session *s, const struct reply_text *why)
{
    metrics_add(METRIC_REJECTED_SMTP_TEXT, 1);
    LOG(LOG_NOTICE, "smtp.refused", LF_STR("why", "text"), LF_U("session", s->number),
        LF_STR("client", s->client_ip), LF_STR("tenant", s->credential->tenant),
        LF_STR("user", s->credential->user), LF_STR("text", why->text));
    session_reset_transaction(s);
    sm_move(&s->sm, SESSION_COMMAND);
}
