/* The verbs that do next to nothing: RFC 5321 4.1.1.5 to 4.1.1.10. */
#include "relay/accept/smtp/session.h"

static bool
takes_no_argument(struct smtp_session *s, struct slice arg)
{
    if (arg.n > 0)
        session_refuse(s, 501, "5.5.4", "This command takes no argument");
    return arg.n == 0;
}

void
verb_rset(struct smtp_session *s, struct slice arg)
{
    if (!takes_no_argument(s, arg))
        return;
    session_reset_transaction(s);
    session_say(s, 250, "2.0.0", "Ok");
}

void
verb_noop(struct smtp_session *s, struct slice arg)
{
    (void)arg;
    session_say(s, 250, "2.0.0", "Ok");
}

/* Who can be reached is known when delivery was tried: RFC 5321 3.5.3. */
void
verb_vrfy(struct smtp_session *s, struct slice arg)
{
    if (arg.n == 0)
        session_refuse(s, 501, "5.5.4", "An address is needed");
    else
        session_say(s, 252, "2.1.5", "Send some mail, delivery will be tried");
}

void
verb_expn(struct smtp_session *s, struct slice arg)
{
    (void)arg;
    session_refuse(s, 502, "5.5.1", "There are no lists here");
}

void
verb_help(struct smtp_session *s, struct slice arg)
{
    (void)arg;
    session_say(s, 214, "2.0.0", "EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT");
}

void
verb_quit(struct smtp_session *s, struct slice arg)
{
    if (takes_no_argument(s, arg))
        session_close(s, 221, "2.0.0", "Bye");
}

/* A browser, made to send a request here: its body is no commands either. */
void
verb_http(struct smtp_session *s, struct slice arg)
{
    (void)arg;
    session_close(s, 521, "5.5.1", "This is not an HTTP server");
}

void
verb_unknown(struct smtp_session *s, struct slice arg)
{
    (void)arg;
    session_refuse(s, 500, "5.5.1", "Command not recognized");
}
