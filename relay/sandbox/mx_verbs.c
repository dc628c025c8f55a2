/*
 * What the sandbox's MX says to each command (RFC 5321 4.1.1). Recipients of
 * one transaction are answered each on its own.
 */
#include "relay/sandbox/mx_session.h"
#include "relay/sys/base/bug.h"

typedef enum mx_step (*mx_verb)(struct mx_session *s, struct slice arg);

static enum mx_step
refuse(struct mx_session *s, unsigned code, const char *enhanced, const char *text)
{
    return mx_refuse(s, &(struct reply_text){code, enhanced, text});
}

static enum mx_step
hello(struct mx_session *s, struct slice arg, bool extended)
{
    struct slice name;
    struct reply_text refusal;
    if (command_parse_helo(arg, &name, &refusal) != PARSE_OK)
        return mx_refuse(s, &refusal);
    mx_transaction_reset(s);
    s->greeted = true;
    bool tls = s->mx->tls != NULL && !stream_is_tls(s->stream);
    if (extended)
        reply_addf(&s->out, 250, NULL,
                   "sandbox.stagepost.example\nPIPELINING\nSIZE %d\n8BITMIME\nSMTPUTF8\nDSN\n"
                   "ENHANCEDSTATUSCODES%s",
                   MESSAGE_BYTES_MAX, tls ? "\nSTARTTLS" : "");
    else
        reply_addf(&s->out, 250, NULL, "sandbox.stagepost.example");
    return mx_say(s, MX_COMMAND);
}

static enum mx_step
verb_ehlo(struct mx_session *s, struct slice arg)
{
    return hello(s, arg, true);
}

static enum mx_step
verb_helo(struct mx_session *s, struct slice arg)
{
    return hello(s, arg, false);
}

/* The address as text in the arena: "" for <>, "postmaster" without a domain. */
static bool
path_text(struct mx_session *s, const struct path *p, struct slice *out)
{
    struct buf text;
    bool fits;
    if (p->kind == PATH_NULL)
        return arena_copy(&s->arena, SLICE(""), out);
    if (p->kind == PATH_POSTMASTER)
        return arena_copy(&s->arena, p->mailbox.local, out);
    buf_init(&text, SMTP_COMMAND_LINE_MAX);
    fits = address_format(&p->mailbox, &text) && arena_copy(&s->arena, buf_slice(&text), out);
    buf_fini(&text);
    return fits;
}

static enum mx_step
verb_mail(struct mx_session *s, struct slice arg)
{
    struct mail_args mail;
    struct reply_text refusal;
    if (!s->greeted)
        return refuse(s, 503, "5.5.1", "EHLO first");
    if (s->tx.open)
        return refuse(s, 503, "5.5.1", "A transaction is open already");
    if (command_parse_mail(arg, &s->arena, &mail, &refusal) != PARSE_OK)
        return mx_refuse(s, &refusal);
    if (mail.size_bytes > MESSAGE_BYTES_MAX)
        return refuse(s, 552, "5.3.4", "Message too large");
    if (!path_text(s, &mail.path, &s->tx.from))
        return refuse(s, 452, "4.3.1", "Transaction too large");
    s->tx.open = true;
    s->tx.smtputf8 = mail.smtputf8;
    return mx_reply(s, 250, "2.1.0", "Ok");
}

/* slow@ already delays the reply to itself. */
static enum mx_step
accept_recipient(struct mx_session *s, enum magic magic, struct slice to)
{
    s->tx.slow |= magic == MAGIC_SLOW;
    s->tx.drop_after_dot |= magic == MAGIC_DROP_AFTER_DOT;
    s->tx.to[s->tx.to_count++] = to;
    return mx_reply(s, 250, "2.1.5", "Ok");
}

static enum mx_step
verb_rcpt(struct mx_session *s, struct slice arg)
{
    struct rcpt_args rcpt;
    struct reply_text refusal;
    struct slice to;
    if (!s->tx.open)
        return refuse(s, 503, "5.5.1", "MAIL first");
    if (command_parse_rcpt(arg, s->tx.smtputf8, &s->arena, &rcpt, &refusal) != PARSE_OK)
        return mx_refuse(s, &refusal);
    if (s->tx.to_count == SMTP_RECIPIENTS_MAX || !path_text(s, &rcpt.path, &to))
        return mx_reply(s, 452, "4.5.3", "Too many recipients");
    enum magic magic = magic_of(rcpt.path.mailbox.local);
    refusal = magic_refusal(magic);
    if (magic == MAGIC_GREYLIST && greylist_pass(s->mx->greylist, s->tx.from, to))
        refusal.code = 0;
    if (refusal.code != 0)
        return mx_reply(s, refusal.code, refusal.enhanced, refusal.text);
    return accept_recipient(s, magic, to);
}

static enum mx_step
verb_data(struct mx_session *s, struct slice arg)
{
    if (arg.n > 0)
        return refuse(s, 501, "5.5.4", "DATA takes no argument");
    if (!s->tx.open)
        return refuse(s, 503, "5.5.1", "MAIL first");
    if (s->tx.to_count == 0)
        return refuse(s, 554, "5.5.1", "No valid recipients");
    dot_decoder_init(&s->dot, MESSAGE_BYTES_MAX);
    s->no_room = false;
    reply_addf(&s->out, 354, NULL, "End data with <CR><LF>.<CR><LF>");
    return mx_say(s, MX_DATA);
}

static enum mx_step
verb_rset(struct mx_session *s, struct slice arg)
{
    (void)arg;
    mx_transaction_reset(s);
    return mx_reply(s, 250, "2.0.0", "Ok");
}

static enum mx_step
verb_noop(struct mx_session *s, struct slice arg)
{
    (void)arg;
    return mx_reply(s, 250, "2.0.0", "Ok");
}

static enum mx_step
verb_quit(struct mx_session *s, struct slice arg)
{
    (void)arg;
    reply_addf(&s->out, 221, "2.0.0", "Bye");
    return MX_END;
}

static enum mx_step
verb_vrfy(struct mx_session *s, struct slice arg)
{
    (void)arg;
    return mx_reply(s, 252, "2.5.0", "Cannot verify, but will take the message");
}

static enum mx_step
verb_help(struct mx_session *s, struct slice arg)
{
    (void)arg;
    return mx_reply(s, 214, "2.0.0", "This is the sandbox: nothing leaves the machine");
}

/* RFC 3207 4.2: whatever was sent along with STARTTLS was sent in the clear and
 * must not be taken for what the peer says under TLS. */
static enum mx_step
verb_starttls(struct mx_session *s, struct slice arg)
{
    if (s->mx->tls == NULL || stream_is_tls(s->stream))
        return refuse(s, 503, "5.5.1", "TLS is not to be had");
    if (arg.n > 0)
        return refuse(s, 501, "5.5.4", "STARTTLS takes no argument");
    if (stream_input(s->stream).n > 0) {
        reply_addf(&s->out, 421, "4.7.0", "Commands sent along with STARTTLS");
        return MX_END;
    }
    reply_addf(&s->out, 220, "2.0.0", "Ready to start TLS");
    stream_send(s->stream, buf_slice(&s->out));
    buf_clear(&s->out);
    sm_move(&s->sm, MX_SECURING);
    return MX_WAIT;
}

static enum mx_step
verb_http(struct mx_session *s, struct slice arg)
{
    (void)s;
    (void)arg;
    return MX_DROP;
}

static const mx_verb verbs[CMD_COUNT] = {
    [CMD_EHLO] = verb_ehlo, [CMD_HELO] = verb_helo,         [CMD_MAIL] = verb_mail,
    [CMD_RCPT] = verb_rcpt, [CMD_DATA] = verb_data,         [CMD_RSET] = verb_rset,
    [CMD_NOOP] = verb_noop, [CMD_QUIT] = verb_quit,         [CMD_VRFY] = verb_vrfy,
    [CMD_HELP] = verb_help, [CMD_STARTTLS] = verb_starttls, [CMD_HTTP] = verb_http,
};

enum mx_step
mx_command(struct mx_session *s, struct slice line)
{
    struct command cmd;
    struct reply_text refusal;
    if (command_parse(line, &cmd, &refusal) != PARSE_OK)
        return mx_refuse(s, &refusal);
    if (verbs[cmd.verb] == NULL)
        return refuse(s, 502, "5.5.1", "Command not implemented");
    return verbs[cmd.verb](s, cmd.arg);
}
