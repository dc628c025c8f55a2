/*
 * BDAT: RFC 3030. The text comes in chunks whose octets are counted, right behind
 * the command. Whatever is wrong, exactly the announced octets are taken before
 * the answer: what follows them is a command again, and nothing else is. Where
 * their number is not known, or more than we would read, the session ends.
 *
 * After a refused chunk nothing of the transaction is left, so that the chunks
 * which a client sent without waiting are refused too, one by one.
 */
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"

static const struct reply_text NO_MAIL = {503, "5.5.1", "Send MAIL first"},
                               NO_RCPT = {503, "5.5.1", "Send RCPT first"},
                               NO_VALID_RCPT = {554, "5.5.1", "No valid recipients"},
                               TOO_LARGE = {552, "5.3.4", "The message is too large"};

static uint64_t
message_max(const struct smtp_session *s)
{
    return s->server->parts.config->message_bytes_max;
}

/* Octets of a chunk that are read, be it to throw them away. */
static uint64_t
readable(const struct smtp_session *s)
{
    return s->credential == NULL ? SMTP_DISCARD_MAX : message_max(s) + SMTP_OVERSIZE_DISCARD_MAX;
}

/* What is known before a single octet came. */
static const struct reply_text *
judge_command(const struct smtp_session *s)
{
    const struct smtp_transaction *t = &s->transaction;
    if (!t->open)
        return &NO_MAIL;
    if (t->recipient_count > 0)
        return NULL;
    return t->recipient_refused ? &NO_VALID_RCPT : &NO_RCPT;
}

static void
refuse(struct smtp_session *s, const struct reply_text *why)
{
    if (s->transaction.open) {
        message_refuse(s, why);
    } else {
        session_reset_transaction(s);
        sm_move(&s->sm, SESSION_COMMAND);
    }
    session_refuse_with(s, why);
}

static void
end_of_chunk(struct smtp_session *s)
{
    const struct smtp_chunk *c = &s->chunk;
    const struct reply_text *refusal = c->refusal;
    if (refusal == NULL) {
        if (c->last)
            dot_decode_chunks_end(&s->message.decoder);
        refusal = message_judge(&s->message);
    }
    if (refusal != NULL) {
        refuse(s, refusal);
    } else if (c->last) {
        message_submit(s);
    } else {
        sm_move(&s->sm, SESSION_COMMAND);
        session_say(s, 250, "2.0.0", "%llu octets received", (unsigned long long)c->octets);
    }
}

void
bdat_input(struct smtp_session *s)
{
    struct smtp_chunk *c = &s->chunk;
    struct smtp_message *m = &s->message;
    struct slice in = stream_input(s->stream);
    struct slice piece = slice_cut(&in, c->left < in.n ? (size_t)c->left : in.n);
    if (c->refusal == NULL) {
        dot_decode_chunk(&m->decoder, piece, &m->text);
        message_note_memory(s);
    }
    stream_consume(s->stream, piece.n);
    c->left -= piece.n;
    message_note_progress(s, piece.n);
    if (c->left == 0)
        end_of_chunk(s);
}

static void
begin(struct smtp_session *s, const struct bdat_args *args)
{
    struct smtp_chunk *c = &s->chunk;
    const struct reply_text *refusal = judge_command(s);
    if (!c->begun)
        message_begin_progress(s);
    if (!c->begun && refusal == NULL)
        message_begin(s);
    c->begun = c->begun || refusal == NULL;
    if (refusal == NULL && args->octets > message_max(s) - s->message.decoder.size_bytes)
        refusal = &TOO_LARGE;
    if (refusal != NULL)
        message_forget(s);
    c->octets = c->left = args->octets;
    c->last = args->last;
    c->refusal = refusal;
    sm_move(&s->sm, SESSION_CHUNK);
    if (c->left == 0)
        end_of_chunk(s);
}

void
verb_bdat(struct smtp_session *s, struct slice arg)
{
    struct bdat_args args;
    struct reply_text refusal;
    if (command_parse_bdat(arg, &args, &refusal) != PARSE_OK) {
        session_close(s, refusal.code, refusal.enhanced, refusal.text);
        return;
    }
    if (args.octets == 0 && !args.last)
        session_count_junk(s);
    if (args.octets > readable(s))
        session_close(s, 552, "5.3.4", "The chunk is too large");
    else if (s->errors >= SMTP_ERRORS_HARD)
        session_close(s, 421, "4.7.0", "Too many commands without a message");
    else
        begin(s, &args);
}
