/*
 * AUTH PLAIN and AUTH LOGIN: RFC 4954, RFC 4616.
 *
 *   PLAIN   base64([authzid] NUL authcid NUL passwd), with the command or after 334
 *   LOGIN   base64(user), with the command or after 334; base64(passwd) after 334
 *
 * A line that is not by this grammar is 501, `*` too; a wrong name and a wrong
 * password are both 535.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "relay/accept/smtp/session.h"
#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

static void
wipe(struct buf *b)
{
    if (b->mem != NULL)
        OPENSSL_cleanse(b->mem, b->cap);
    buf_fini(b);
}

void
auth_forget(struct smtp_session *s)
{
    wipe(&s->auth.user);
}

/* Back to commands, whatever came of it. */
static void
leave(struct smtp_session *s)
{
    auth_forget(s);
    if (s->sm.state != SESSION_COMMAND)
        sm_move(&s->sm, SESSION_COMMAND);
}

static void
refuse_malformed(struct smtp_session *s)
{
    leave(s);
    session_refuse(s, 501, "5.5.2", "Cannot decode this answer");
}

/* ---- the check -------------------------------------------------------------- */

static void
refuse_wrong(struct smtp_session *s)
{
    metrics_add(METRIC_SMTP_AUTH_FAILED, 1);
    LOG(LOG_NOTICE, "smtp.auth-failed", LF_U("session", s->number), LF_STR("client", s->client_ip));
    if (++s->auth_failures >= SMTP_AUTH_FAILURES_MAX)
        session_close(s, 421, "4.7.0", "Too many failed authentications");
    else
        session_refuse(s, 535, "5.7.8", "Authentication credentials invalid");
}

/* Counted like a failure of this connection: who goes on at once is sent away. */
static void
refuse_for_now(struct smtp_session *s, unsigned wait_s)
{
    char text[96];
    metrics_add(METRIC_SMTP_AUTH_FAILED, 1);
    LOG(LOG_NOTICE, "smtp.auth-limited", LF_U("session", s->number), LF_STR("client", s->client_ip),
        LF_U("wait_s", wait_s));
    snprintf(text, sizeof text, "Too many failed authentications: try again in %u s", wait_s);
    if (++s->auth_failures >= SMTP_AUTH_FAILURES_MAX)
        session_close(s, 421, "4.7.0", text);
    else
        session_refuse(s, 454, "4.7.0", text);
}

static void
on_checked(struct credential_check_op *op)
{
    struct smtp_session *s = container_of(op, struct smtp_session, auth.check);
    s->auth.checking = false;
    if (s->sm.state == SESSION_OVER) {
        session_operation_ended(s);
        return;
    }
    leave(s);
    switch (op->result) {
    case CREDENTIAL_OK:
        metrics_add(METRIC_SMTP_AUTH_OK, 1);
        session_set_credential(s, op->credential);
        s->auth.proof = op->proof;
        LOG(LOG_INFO, "smtp.auth", LF_U("session", s->number), LF_STR("client", s->client_ip),
            LF_STR("user", s->credential->user));
        session_say(s, 235, "2.7.0", "Authentication succeeded");
        break;
    case CREDENTIAL_WRONG:
        refuse_wrong(s);
        break;
    case CREDENTIAL_WAIT:
        refuse_for_now(s, op->wait_s);
        break;
    case CREDENTIAL_BUSY:
        session_say(s, 454, "4.7.0", "Temporary authentication failure");
        break;
    }
    session_run(s);
}

/* RFC 4616 2: neither name nor password is empty. */
static void
begin_check(struct smtp_session *s, struct slice user, struct slice password)
{
    if (user.n == 0 || password.n == 0) {
        refuse_malformed(s);
        return;
    }
    sm_move(&s->sm, SESSION_AUTH_CHECK);
    s->auth.checking = true;
    s->auth.check.done = on_checked;
    s->auth.check.from = stream_peer(s->stream);
    credential_check_start(&s->auth.check, s->server->parts.credentials, user, password);
}

/* ---- the mechanisms ----------------------------------------------------------- */

/* To act for somebody else is not offered: authzid is empty or the same name. */
static void
take_plain(struct smtp_session *s, struct slice message)
{
    struct slice authzid = slice_cut_at(&message, '\0');
    size_t user_bytes = slice_find(message, '\0');
    if (user_bytes == message.n) {
        refuse_malformed(s);
        return;
    }
    struct slice user = slice_cut_at(&message, '\0');
    if (slice_find(message, '\0') < message.n) {
        refuse_malformed(s);
    } else if (authzid.n > 0 && !slice_eq(authzid, user)) {
        leave(s);
        refuse_wrong(s);
    } else {
        begin_check(s, user, message);
    }
}

static void
ask(struct smtp_session *s, const char *challenge)
{
    s->reply_owed = false;
    stream_send(s->stream, slice_str(challenge));
    if (s->sm.state == SESSION_COMMAND)
        sm_move(&s->sm, SESSION_AUTH_LINE);
}

static void
take_login_user(struct smtp_session *s, struct slice user)
{
    if (user.n == 0) {
        refuse_malformed(s);
        return;
    }
    buf_init(&s->auth.user, SMTP_AUTH_LINE_MAX);
    BUG_ON(!buf_add(&s->auth.user, user));
    s->auth.step = AUTH_LOGIN_PASSWORD;
    ask(s, "334 UGFzc3dvcmQ6\r\n"); /* "Password:" */
}

static void
take_answer(struct smtp_session *s, struct slice text)
{
    struct buf decoded;
    buf_init(&decoded, SMTP_AUTH_LINE_MAX);
    if (!base64_decode(text, &decoded))
        refuse_malformed(s);
    else if (s->auth.step == AUTH_PLAIN)
        take_plain(s, buf_slice(&decoded));
    else if (s->auth.step == AUTH_LOGIN_USER)
        take_login_user(s, buf_slice(&decoded));
    else
        begin_check(s, buf_slice(&s->auth.user), buf_slice(&decoded));
    wipe(&decoded);
}

void
auth_line(struct smtp_session *s, struct slice line)
{
    s->reply_owed = true;
    if (slice_eq(line, SLICE("*"))) {
        leave(s);
        session_refuse(s, 501, "5.7.0", "Authentication cancelled");
        return;
    }
    take_answer(s, line);
}

/* ---- the command --------------------------------------------------------------- */

static bool
auth_is_possible(struct smtp_session *s)
{
    if (!stream_is_tls(s->stream))
        session_refuse(s, 530, "5.7.0", "Must issue a STARTTLS command first");
    else if (!s->esmtp)
        session_refuse(s, 503, "5.5.1", "Send EHLO first");
    else if (s->transaction.open)
        session_refuse(s, 503, "5.5.1", "A transaction is open");
    else if (s->credential != NULL)
        session_refuse(s, 503, "5.5.1", "Already authenticated");
    else
        return true;
    return false;
}

/* `=` stands for an initial response that is there but empty (RFC 4954 4). */
void
verb_auth(struct smtp_session *s, struct slice arg)
{
    if (!auth_is_possible(s))
        return;
    bool has_initial = slice_find(arg, ' ') < arg.n;
    struct slice mechanism = slice_cut_at(&arg, ' ');
    bool plain = slice_eq_nocase(mechanism, SLICE("PLAIN"));
    if (mechanism.n == 0) {
        session_refuse(s, 501, "5.5.4", "A mechanism is needed");
        return;
    }
    if (!plain && !slice_eq_nocase(mechanism, SLICE("LOGIN"))) {
        session_refuse(s, 504, "5.5.4", "Mechanism not known");
        return;
    }
    s->auth.step = plain ? AUTH_PLAIN : AUTH_LOGIN_USER;
    if (has_initial)
        take_answer(s, slice_eq(arg, SLICE("=")) ? SLICE_NONE : arg);
    else
        ask(s, plain ? "334 \r\n" : "334 VXNlcm5hbWU6\r\n"); /* "Username:" */
}
