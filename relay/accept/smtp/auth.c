/*
 * AUTH PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: RFC 4954, RFC 4616, RFC
 * 5802, RFC 7677. No other mechanism.
 *
 *   PLAIN   base64([authzid] NUL authcid NUL passwd), with the command or after 334
 *   LOGIN   base64(user), with the command or after 334; base64(passwd) after 334
 *   SCRAM   client-first, with the command or after 334; 334 server-first;
 *           client-final; 334 server-final; an empty line (RFC 4954 4), all in base64
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

/* All that there are, strongest first. */
static const struct mechanism {
    const char *name, *first_challenge;
    enum auth_step step;
    bool is_scram, plus;
} MECHANISMS[] = {
    {"SCRAM-SHA-256-PLUS", "334 \r\n", AUTH_SCRAM_FIRST, true, true},
    {"SCRAM-SHA-256", "334 \r\n", AUTH_SCRAM_FIRST, true, false},
    {"PLAIN", "334 \r\n", AUTH_PLAIN, false, false},
    {"LOGIN", "334 VXNlcm5hbWU6\r\n", AUTH_LOGIN_USER, false, false}, /* "Username:" */
};

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
    credential_scram_fini(&s->auth.scram);
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

static void
ask(struct smtp_session *s, const char *challenge)
{
    s->reply_owed = false;
    stream_send(s->stream, slice_str(challenge));
    if (s->sm.state != SESSION_AUTH_LINE)
        sm_move(&s->sm, SESSION_AUTH_LINE);
}

static void
challenge(struct smtp_session *s, struct slice octets)
{
    struct buf line;
    buf_init(&line, SMTP_AUTH_LINE_MAX);
    BUG_ON(!buf_add_str(&line, "334 ") || !base64_encode(octets, &line) ||
           !buf_add(&line, slice_from("\r\n", 3)));
    ask(s, buf_slice(&line).p);
    buf_fini(&line);
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
welcome(struct smtp_session *s, const struct config_credential *cr)
{
    metrics_add(METRIC_SMTP_AUTH_OK, 1);
    session_set_credential(s, cr);
    LOG(LOG_INFO, "smtp.auth", LF_U("session", s->number), LF_STR("client", s->client_ip),
        LF_STR("user", cr->user), LF_STR("mechanism", s->auth.mechanism));
    session_say(s, 235, "2.7.0", "Authentication succeeded");
}

/* The proof is kept, not the credential: a reload may come before the client's line. */
static void
say_server_final(struct smtp_session *s, const struct config_credential *cr)
{
    buf_init(&s->auth.user, SMTP_AUTH_LINE_MAX);
    BUG_ON(!buf_add_str(&s->auth.user, cr->user));
    s->auth.step = AUTH_SCRAM_END;
    challenge(s, buf_slice(&s->auth.scram.last));
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
    s->auth.proof = op->proof;
    bool go_on = op->result == CREDENTIAL_OK && s->auth.step == AUTH_SCRAM_FINAL;
    if (!go_on)
        leave(s);
    switch (op->result) {
    case CREDENTIAL_OK:
        if (go_on)
            say_server_final(s, op->credential);
        else
            welcome(s, op->credential);
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

static void
move_to_check(struct smtp_session *s)
{
    sm_move(&s->sm, SESSION_AUTH_CHECK);
    s->auth.checking = true;
    s->auth.check.done = on_checked;
    s->auth.check.from = stream_peer(s->stream);
}

/* RFC 4616 2: neither name nor password is empty. */
static void
begin_check(struct smtp_session *s, struct slice user, struct slice password)
{
    if (user.n == 0 || password.n == 0) {
        refuse_malformed(s);
        return;
    }
    move_to_check(s);
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
take_scram_first(struct smtp_session *s, struct slice message)
{
    struct buf answer;
    buf_init(&answer, SMTP_AUTH_LINE_MAX / 2);
    enum scram_outcome o = credential_scram_first(&s->auth.scram, message, &answer);
    if (o == SCRAM_GO_ON) {
        s->auth.step = AUTH_SCRAM_FINAL;
        challenge(s, buf_slice(&answer));
    } else if (o == SCRAM_MALFORMED) {
        refuse_malformed(s);
    } else {
        if (o == SCRAM_DOWNGRADED)
            LOG(LOG_WARN, "smtp.auth-downgraded", LF_U("session", s->number),
                LF_STR("client", s->client_ip));
        leave(s);
        refuse_wrong(s);
    }
    buf_fini(&answer);
}

static void
take_scram_final(struct smtp_session *s, struct slice message)
{
    move_to_check(s);
    credential_check_scram_start(&s->auth.check, &s->auth.scram, message);
}

/* The credential may have been removed since, or got another password. */
static void
take_scram_end(struct smtp_session *s, struct slice message)
{
    const struct credentials *cs = s->server->parts.credentials;
    const struct config_credential *cr = credential_by_user(cs, buf_slice(&s->auth.user));
    if (message.n > 0) {
        refuse_malformed(s);
        return;
    }
    if (cr != NULL)
        cr = credential_renew(cs, cr, &s->auth.proof, stream_peer(s->stream));
    leave(s);
    if (cr != NULL)
        welcome(s, cr);
    else
        refuse_wrong(s);
}

static void
take_decoded(struct smtp_session *s, struct slice answer)
{
    switch (s->auth.step) {
    case AUTH_PLAIN:
        take_plain(s, answer);
        break;
    case AUTH_LOGIN_USER:
        take_login_user(s, answer);
        break;
    case AUTH_LOGIN_PASSWORD:
        begin_check(s, buf_slice(&s->auth.user), answer);
        break;
    case AUTH_SCRAM_FIRST:
        take_scram_first(s, answer);
        break;
    case AUTH_SCRAM_FINAL:
        take_scram_final(s, answer);
        break;
    case AUTH_SCRAM_END:
        take_scram_end(s, answer);
        break;
    }
}

static void
take_answer(struct smtp_session *s, struct slice text)
{
    struct buf decoded;
    buf_init(&decoded, SMTP_AUTH_LINE_MAX);
    if (base64_decode(text, &decoded))
        take_decoded(s, buf_slice(&decoded));
    else
        refuse_malformed(s);
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

/* What was offered: -PLUS needs a connection to bind to, SCRAM somebody who has keys. */
static bool
is_offered(const struct smtp_session *s, const struct mechanism *m, bool has_binding)
{
    if (m->is_scram && !credentials_offer_scram(s->server->parts.credentials))
        return false;
    return !m->plus || has_binding;
}

/* Also makes ready for it. */
static const struct mechanism *
choose_mechanism(struct smtp_session *s, struct slice name)
{
    struct stream_binding binding;
    bool has_binding = stream_channel_binding(s->stream, &binding);
    for (size_t i = 0; i < ARRAY_LEN(MECHANISMS); i++) {
        const struct mechanism *m = &MECHANISMS[i];
        if (!slice_eq_nocase(name, slice_str(m->name)) || !is_offered(s, m, has_binding))
            continue;
        s->auth.mechanism = m->name;
        s->auth.step = m->step;
        if (m->is_scram)
            credential_scram_init(&s->auth.scram, s->server->parts.credentials,
                                  has_binding ? &binding : NULL, m->plus);
        return m;
    }
    return NULL;
}

/* `=` stands for an initial response that is there but empty (RFC 4954 4). */
void
verb_auth(struct smtp_session *s, struct slice arg)
{
    if (!auth_is_possible(s))
        return;
    bool has_initial = slice_find(arg, ' ') < arg.n;
    struct slice name = slice_cut_at(&arg, ' ');
    const struct mechanism *m = choose_mechanism(s, name);
    if (name.n == 0)
        session_refuse(s, 501, "5.5.4", "A mechanism is needed");
    else if (m == NULL)
        session_refuse(s, 504, "5.5.4", "Mechanism not known");
    else if (has_initial)
        take_answer(s, slice_eq(arg, SLICE("=")) ? SLICE_NONE : arg);
    else
        ask(s, m->first_challenge);
}
