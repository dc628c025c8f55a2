/* MAIL FROM: RFC 5321 4.1.1.2, with SIZE, BODY, SMTPUTF8, RET and ENVID. */
#include "relay/accept/credential.h"
#include "relay/accept/policy/preflight.h"
#include "relay/accept/policy/sender.h"
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"

static bool
may_send(struct smtp_session *s)
{
    if (!s->greeted)
        session_refuse(s, 503, "5.5.1", "Send EHLO first");
    else if (!stream_is_tls(s->stream))
        session_refuse(s, 530, "5.7.0", "Must issue a STARTTLS command first");
    else if (s->credential == NULL)
        session_refuse(s, 530, "5.7.0", "Authentication required");
    else if (s->transaction.open)
        session_refuse(s, 503, "5.5.1", "A transaction is open already");
    else
        return true;
    return false;
}

/* The session's credential may have been removed, changed or expired since: then
 * it is good for nothing more, and the session ends. */
static bool
is_still_allowed(struct smtp_session *s)
{
    const struct config_credential *now = credential_renew(
        s->server->parts.credentials, s->credential, &s->auth.proof, stream_peer(s->stream));
    if (now == NULL)
        session_close(s, 421, "4.7.0", "The credential was removed or changed: authenticate again");
    else
        session_set_credential(s, now);
    return now != NULL;
}

static bool
memory_is_there(struct smtp_session *s, uint64_t size_bytes)
{
    if (message_memory_holds(s->server, size_bytes))
        return true;
    session_say(s, 452, "4.3.1", "No room for more messages now");
    return false;
}

/* Said early, so that nobody sends a message for nothing; the door asks again. */
static bool
room_is_there(struct smtp_session *s)
{
    switch (queue_status(s->server->parts.queue)) {
    case QUEUE_STARTING:
    case QUEUE_AWAY_NOW:
        session_say(s, 451, "4.3.0", "Cannot take mail now");
        return false;
    case QUEUE_FULL_NOW:
        session_say(s, 452, "4.3.1", "No room for more messages now");
        return false;
    case QUEUE_UP:
        break;
    }
    return memory_is_there(s, 0);
}

/* The canonical path, and its domain behind the last @. */
static bool
keep_path(struct smtp_transaction *t, const struct path *path)
{
    struct buf b;
    if (path->kind == PATH_NULL)
        return true;
    buf_init(&b, ADDRESS_CANONICAL_MAX);
    size_t domain_bytes = 0;
    bool ok = domain_add_canonical(path->mailbox.domain, &b);
    if (ok) {
        domain_bytes = b.len;
        buf_clear(&b);
        ok = address_format_canonical(&path->mailbox, &b) &&
             arena_copy(&t->arena, buf_slice(&b), &t->envelope.reverse_path);
    }
    if (ok)
        t->reverse_domain =
            slice_skip(t->envelope.reverse_path, t->envelope.reverse_path.n - domain_bytes);
    buf_fini(&b);
    return ok;
}

static bool
keep(struct smtp_session *s, const struct mail_args *args)
{
    struct smtp_transaction *t = &s->transaction;
    t->envelope.ret = args->ret;
    t->envelope.smtputf8 = args->smtputf8;
    if (keep_path(t, &args->path) && arena_copy(&t->arena, args->envid, &t->envelope.envid))
        return true;
    session_refuse(s, 553, "5.1.7", "The sender's address is not valid");
    return false;
}

static bool
take(struct smtp_session *s, const struct mail_args *args)
{
    struct smtp_transaction *t = &s->transaction;
    if (args->size_bytes > s->server->parts.config->message_bytes_max) {
        session_refuse(s, 552, "5.3.4", "The message is too large");
        return false;
    }
    if (!memory_is_there(s, args->size_bytes) || !keep(s, args))
        return false;
    if (!policy_sender_envelope(s->credential, t->envelope.reverse_path, t->reverse_domain)) {
        session_refuse(s, 550, "5.7.1", "The sender's address is not one of this credential");
        return false;
    }
    return true;
}

void
verb_mail(struct smtp_session *s, struct slice arg)
{
    struct smtp_transaction *t = &s->transaction;
    struct mail_args args;
    struct reply_text refusal;
    if (!may_send(s) || !is_still_allowed(s) || !room_is_there(s))
        return;
    if (command_parse_mail(arg, &t->arena, &args, &refusal) != PARSE_OK) {
        session_refuse_with(s, &refusal);
    } else if (take(s, &args)) {
        t->open = true;
        preflight_expect(s->server->parts.preflight, t->reverse_domain);
        session_say(s, 250, "2.1.0", "Ok");
    }
    if (!t->open)
        session_reset_transaction(s);
}
