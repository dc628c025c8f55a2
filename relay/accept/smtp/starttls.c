/*
 * STARTTLS: RFC 3207. What came in clear behind the command may be an
 * attacker's: nothing of it is executed, nothing is said, the connection goes
 * (RFC 3207 4.2, CVE-2011-0411).
 */
#include "relay/accept/smtp/session.h"

void
verb_starttls(struct smtp_session *s, struct slice arg)
{
    if (arg.n > 0)
        session_refuse(s, 501, "5.5.4", "STARTTLS takes no argument");
    else if (stream_is_tls(s->stream))
        session_refuse(s, 503, "5.5.1", "TLS is in use already");
    else if (s->server->parts.tls == NULL)
        session_refuse(s, 502, "5.5.1", "TLS is not available");
    else if (!s->esmtp)
        session_refuse(s, 503, "5.5.1", "Send EHLO first");
    else if (s->transaction.open)
        session_refuse(s, 503, "5.5.1", "A transaction is open");
    else if (stream_input(s->stream).n > 0)
        session_drop(s, "bytes in clear behind STARTTLS");
    else {
        session_say(s, 220, "2.0.0", "Ready to start TLS");
        session_start_tls(s);
    }
}
