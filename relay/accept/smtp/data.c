/*
 * DATA: RFC 5321 4.1.1.4. The text is decoded straight from the stream's input
 * into the message; its only end is CRLF . CRLF. A message that is refused is
 * still read to its end, so that nothing of it is taken for a command.
 */
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"

/* A client that sends bare line ends may mean other ends of data than we do: it
 * gets no second chance on this connection. */
static void
end_of_text(struct smtp_session *s)
{
    const struct reply_text *refusal = message_judge(&s->message);
    bool close = s->message.decoder.bare;
    if (refusal == NULL) {
        message_submit(s);
        return;
    }
    message_refuse(s, refusal);
    if (close)
        session_close(s, refusal->code, refusal->enhanced, refusal->text);
    else
        session_refuse_with(s, refusal);
}

void
data_input(struct smtp_session *s)
{
    struct smtp_message *m = &s->message;
    struct slice in = stream_input(s->stream);
    size_t before = in.n;
    enum parse r = dot_decode(&m->decoder, &in, &m->text);
    stream_consume(s->stream, before - in.n);
    message_note_memory(s);
    uint64_t max = s->server->parts.config->message_bytes_max;
    if (r == PARSE_OK)
        end_of_text(s);
    else if (m->decoder.size_bytes > max + SMTP_OVERSIZE_DISCARD_MAX)
        session_close(s, 552, "5.3.4", "The message is too large");
    else
        message_note_progress(s, before - in.n);
}

static void
begin(struct smtp_session *s)
{
    message_begin(s);
    message_begin_progress(s);
    session_say(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
    sm_move(&s->sm, SESSION_DATA);
}

/* RFC 3030 2: one message comes by one of the two commands, and the state after
 * an attempt to mix them is indeterminate: here nothing is left. */
static void
refuse_after_bdat(struct smtp_session *s)
{
    session_reset_transaction(s);
    session_refuse(s, 503, "5.5.1", "The message came with BDAT; it is forgotten");
}

/* Text that came before 354 was sent by somebody who did not wait for it: what
 * follows may be meant as something else (RFC 2920 3.1). */
void
verb_data(struct smtp_session *s, struct slice arg)
{
    const struct smtp_transaction *t = &s->transaction;
    if (arg.n > 0)
        session_refuse(s, 501, "5.5.4", "DATA takes no argument");
    else if (!t->open)
        session_refuse(s, 503, "5.5.1", "Send MAIL first");
    else if (s->chunk.begun)
        refuse_after_bdat(s);
    else if (t->recipient_count == 0 && t->recipient_refused)
        session_refuse(s, 554, "5.5.1", "No valid recipients");
    else if (t->recipient_count == 0)
        session_refuse(s, 503, "5.5.1", "Send RCPT first");
    else if (stream_input(s->stream).n > 0)
        session_close(s, 554, "5.5.0", "Data came before 354");
    else
        begin(s);
}
