/* EHLO and HELO: RFC 5321 4.1.1.1. Both begin anew: an open transaction is gone. */
#include <stdio.h>
#include <string.h>

#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"

static bool
take_name(struct smtp_session *s, struct slice arg)
{
    struct slice name;
    struct reply_text refusal;
    if (command_parse_helo(arg, &name, &refusal) != PARSE_OK) {
        session_refuse_with(s, &refusal);
        return false;
    }
    BUG_ON(!slice_to_cstr(name, s->client_name, sizeof s->client_name));
    session_reset_transaction(s);
    s->greeted = true;
    return true;
}

void
verb_helo(struct smtp_session *s, struct slice arg)
{
    if (!take_name(s, arg))
        return;
    s->esmtp = false;
    session_say(s, 250, NULL, "%s", s->server->parts.config->hostname);
}

/* Under TLS only (RFC 4954 4). -PLUS where the connection has something to bind to. */
static const char *
mechanisms(const struct smtp_session *s)
{
    struct stream_binding binding;
    if (!stream_is_tls(s->stream))
        return "";
    if (!credentials_offer_scram(s->server->parts.credentials))
        return "\nAUTH PLAIN LOGIN";
    return stream_channel_binding(s->stream, &binding)
               ? "\nAUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
               : "\nAUTH SCRAM-SHA-256 PLAIN LOGIN";
}

/* STARTTLS is offered before TLS only; not on the last line, where gsasl(1) does not see
 * it. LIMITS is RFC 9422. */
void
verb_ehlo(struct smtp_session *s, struct slice arg)
{
    const struct smtp_server_parts *parts = &s->server->parts;
    if (!take_name(s, arg))
        return;
    s->esmtp = true;
    bool tls = stream_is_tls(s->stream);
    session_say(s, 250, NULL,
                "%s\nPIPELINING\nSIZE %llu\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN\n"
                "CHUNKING%s\nLIMITS RCPTMAX=%d%s",
                parts->config->hostname, (unsigned long long)parts->config->message_bytes_max,
                !tls && parts->tls != NULL ? "\nSTARTTLS" : "", (int)SMTP_RECIPIENTS_MAX,
                mechanisms(s));
}
