#include "relay/accept/smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

static void
a_message_from_banner_to_quit(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 gw.example ESMTP Stagepost"),
        C("EHLO client.example"),
        S_HAS("250-gw.example"),
        C("STARTTLS"),
        S("220 2.0.0 "),
        TLS,
        C("EHLO client.example"),
        S("250 AUTH PLAIN LOGIN"),
        C("AUTH PLAIN AGRldgBkZXY="),
        S("235 2.7.0 "),
        C("MAIL FROM:<a.b@Example.ORG> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=Q+2B1"),
        S("250 2.1.0 "),
        C("RCPT TO:<R@D.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@z.example"),
        S("250 2.1.5 "),
        C("RCPT TO:<\"q r\"@e.example>"),
        S("250 2.1.5 "),
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n..dot\r\n."),
        S("250 2.0.0 Ok: queued as 01890a5d-ac96-774b-bcce-b302099a8057"),
        C("QUIT"),
        S("221 2.0.0 "),
        GONE,
        END,
    };
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_string_equal(d.visit.user, "dev");
    assert_string_equal(d.visit.reverse_path, "a.b@example.org");
    assert_string_equal(d.visit.reverse_domain, "example.org");
    assert_string_equal(d.visit.envid, "Q+1");
    assert_int_equal(d.visit.ret, RET_HDRS);
    assert_int_equal(d.visit.recipient_count, 2);
    assert_string_equal(d.visit.recipients[0], "R@d.example");
    assert_string_equal(d.visit.domains[0], "d.example");
    assert_string_equal(d.visit.orcpt[0], "rfc822;x+y@z.example");
    assert_int_equal(d.visit.notify[0], NOTIFY_GIVEN | NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_string_equal(d.visit.recipients[1], "\"q r\"@e.example");
    assert_string_equal(d.visit.domains[1], "e.example");
    assert_int_equal(d.visit.notify[1], 0);
    assert_string_equal(d.visit.client_name, "client.example");
    assert_string_equal(d.visit.client_address, "127.0.0.1");
    assert_string_equal(d.visit.protocol, "ESMTPSA");
    static const char text[] = "From: a@example.org\r\n\r\n.dot\r\n";
    assert_int_equal(d.visit.message_bytes, sizeof text - 1);
    assert_memory_equal(d.visit.message, text, sizeof text - 1);
}

static void
implicit_tls_says_the_banner_inside(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 gw.example ESMTP"),
        C("EHLO c"),
        S("250 AUTH PLAIN LOGIN"),
        C("STARTTLS"),
        S("503 "),
        C("QUIT"),
        S("221 "),
        GONE,
        END,
    };
    struct dialog d = {.steps = steps, .implicit_tls = true};
    dialog_play(&d);
}

/* A whole transaction in few writes (RFC 2920), and in single bytes. */
static void
pipelining_and_single_bytes(void **state)
{
    (void)state;
    static const struct step piped[] = {
        LOGGED_IN,
        RAW("MAIL FROM:<a@example.org>\r\nRCPT TO:<r@d.example>\r\nNOOP\r\nDATA\r\n"),
        S("250 2.1.0 "),
        S("250 2.1.5 "),
        S("250 2.0.0 "),
        S("354 "),
        RAW("From: a@example.org\r\n\r\nx\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<r@d.example>\r\n"
            "RSET\r\nQUIT\r\n"),
        S("250 2.0.0 Ok: queued as "),
        S("250 2.1.0 "),
        S("250 2.1.5 "),
        S("250 2.0.0 "),
        S("221 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(piped), 1);
    static const struct step slow[] = {
        LOGGED_IN,
        SLOW("MAIL FROM:<a@example.org>\r\nRCPT TO:<r@d.example>\r\nDATA\r\n"),
        S("250 2.1.0 "),
        S("250 2.1.5 "),
        S("354 "),
        SLOW("From: a@example.org\r\n\r\nx\r\n.\r\nNOOP\r\n"),
        S("250 2.0.0 Ok: queued as "),
        S("250 2.0.0 "),
        END,
    };
    assert_int_equal(dialog_steps(slow), 1);
}

/* STL-07: nothing but TLS comes before TLS. */
static void
nothing_works_before_tls_and_auth(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "),
        C("MAIL FROM:<a@example.org>"),
        S("503 5.5.1 "),
        C("EHLO c"),
        S_HAS_NOT("250-AUTH"),
        C("AUTH PLAIN AGRldgBkZXY="),
        S("530 5.7.0 Must issue a STARTTLS command first"),
        C("MAIL FROM:<a@example.org>"),
        S("530 5.7.0 Must issue a STARTTLS command first"),
        C("RCPT TO:<r@d.example>"),
        S("503 5.5.1 "),
        C("DATA"),
        S("503 5.5.1 "),
        C("STARTTLS"),
        S("220 "),
        TLS,
        C("MAIL FROM:<a@example.org>"), /* STL-03: EHLO again */
        S("503 5.5.1 "),
        C("EHLO c"),
        S_HAS_NOT("250-STARTTLS"),
        C("MAIL FROM:<a@example.org>"),
        S("530 5.7.0 Authentication required"),
        C("RCPT TO:<r@d.example>"),
        S("503 5.5.1 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

/* STL-01: what follows STARTTLS in clear is not executed, whole or by bytes. */
static void
bytes_behind_starttls_end_the_session(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "), C("EHLO c"), S("250 "), RAW("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<a@b>\r\n"),
        GONE,      END,
    };
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step one_byte[] = {
        S("220 "), C("EHLO c"), S("250 "), RAW("STARTTLS\r\n\x16"), GONE, END,
    };
    assert_int_equal(dialog_steps(one_byte), 0);
}

/* STL-03. */
static void
starttls_has_its_place(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "),       C("STARTTLS"), S("503 5.5.1 "), C("EHLO c"), S("250 "),
        C("STARTTLS x"), S("501 "),     C("STARTTLS"),   S("220 "),   TLS,
        C("STARTTLS"),   S("503 "),     C("EHLO c"),     S("250 "),   C("STARTTLS"),
        S("503 5.5.1 "), END,
    };
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step authenticated[] = {
        LOGGED_IN, C("STARTTLS"), S("503 "), MAIL_RCPT, C("STARTTLS"), S("503 "), END,
    };
    assert_int_equal(dialog_steps(authenticated), 0);
}

/* SMG-15, CMD-01. */
static void
lines_end_with_crlf(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "),       RAW("EHLO c\n"),
        S("500 5.5.2 "), RAW("MAIL FROM:<a@b>\n"),
        S("500 5.5.2 "), RAW("NOOP\rNOOP\r\n"),
        S("500 5.5.2 "), RAW("NO\0OP\r\n"),
        S("500 5.5.2 "), RAW("\r\n"),
        S("500 5.5.1 "), RAW("\n"),
        S("500 5.5.2 "), C("NOOP"),
        S("250 "),       END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

/* CMD-01: a command line has 2048 octets at most, CRLF included. */
static void
overlong_lines_are_thrown_away(void **state)
{
    (void)state;
    static char line[SMTP_DISCARD_MAX + 4096];
    memset(line, 'x', sizeof line);
    struct step steps[] = {
        S("220 "),       {.kind = STEP_SEND}, S("500 5.5.1 "), {.kind = STEP_SEND},
        S("500 5.5.6 "), C("NOOP"),           S("250 "),       END,
    };
    static char fits[SMTP_COMMAND_LINE_MAX], longer[SMTP_COMMAND_LINE_MAX + 1];
    memcpy(fits, line, sizeof fits);
    memcpy(longer, line, sizeof longer);
    memcpy(fits + sizeof fits - 2, "\r\n", 2);
    memcpy(longer + sizeof longer - 2, "\r\n", 2);
    steps[1].bytes = slice_from(fits, sizeof fits);
    steps[3].bytes = slice_from(longer, sizeof longer);
    assert_int_equal(dialog_steps(steps), 0);

    /* nothing is executed out of its rest, even when it looks like a command */
    struct step split[] = {
        S("220 "),           {.kind = STEP_SEND}, DO(PAUSE), RAW("QUIT\r\n"),
        S("500 5.5.6 Line"), C("NOOP"),           S("250 "), END,
    };
    split[1].bytes = slice_from(line, 5000);
    assert_int_equal(dialog_steps(split), 0);

    struct step endless[] = {S("220 "), {.kind = STEP_SEND}, S("421 4.7.0 "), GONE, END};
    endless[1].bytes = slice_from(line, sizeof line);
    assert_int_equal(dialog_steps(endless), 0);
}

/* CMD-11. */
static void
commands_out_of_order(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("RCPT TO:<r@d.example>"),
        S("503 5.5.1 "),
        C("DATA"),
        S("503 5.5.1 "),
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        C("MAIL FROM:<a@example.org>"),
        S("503 5.5.1 "),
        C("DATA"),
        S("503 5.5.1 "),
        C("NOOP whatever"),
        S("250 "),
        C("VRFY someone"),
        S("252 "),
        C("HELP"),
        S("214 "),
        C("RCPT TO:<r@d.example>"), /* all that kept the transaction */
        S("250 2.1.5 "),
        C("RSET"),
        S("250 "),
        C("RCPT TO:<r@d.example>"),
        S("503 "),
        MAIL_RCPT,
        C("EHLO again.example"), /* resets; the login stays */
        S("250 "),
        C("DATA"),
        S("503 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 2.0.0 "),
        C("DATA"), /* CMD-06: nothing is left after a message */
        S("503 "),
        C("RCPT TO:<r@d.example>"),
        S("503 "),
        C("HELO c.example"),
        S("250 gw.example"),
        C("XYZZY"),
        S("500 5.5.1 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

static void
arguments_where_none_belong(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "), C("QUIT now"), S("501 5.5.4 "), C("RSET now"), S("501 5.5.4 "), C("DATA now"),
        S("501 "), C("EHLO"),     S("501 "),       C("EHLO a b"), S("501 "),       C("VRFY"),
        S("501 "), C("EXPN x"),   S("502 "),       C("QUIT"),     S("221 "),       GONE,
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

/* Bodies of other protocols are not taken for commands. */
/* SMG-16: what stands behind EHLO, HELO and AUTH in one piece is not executed. */
static void
groups_end_with_their_last_command(void **state)
{
    (void)state;
    static const char *const EARLY[] = {
        "EHLO c.example\r\nNOOP\r\n",
        "HELO c.example\r\nN",
        "EHLO <script>\r\nMAIL FROM:<a@example.org>\r\n",
        "AUTH PLAIN AGRldgBkZXY=\r\nMAIL FROM:<a@example.org>\r\n",
        "NOOP\r\nAUTH LOGIN\r\nZGV2\r\n",
    };
    for (size_t i = 0; i < sizeof EARLY / sizeof *EARLY; i++) {
        const struct step steps[] = {
            S("220 "),
            C("EHLO c.example"),
            S("250 "),
            C("STARTTLS"),
            S("220 "),
            TLS,
            C("EHLO c.example"),
            S("250 "),
            {.kind = STEP_SEND, .bytes = slice_str(EARLY[i])},
            {.kind = i == 4 ? STEP_EXPECT : STEP_SEND,
             .bytes = i == 4 ? SLICE("250 ") : SLICE_NONE},
            S("554 5.5.0 "),
            GONE,
            END,
        };
        assert_int_equal(dialog_steps(steps), 0);
    }
    static const struct step answers[] = {
        S("220 "),
        C("EHLO c.example"),
        S("250 "),
        C("STARTTLS"),
        S("220 "),
        TLS,
        C("EHLO c"),
        S("250 "),
        C("AUTH LOGIN"),
        S("334 "),
        RAW("ZGV2\r\nZGV2\r\n"),
        S("554 5.5.0 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(answers), 0);
    /* Replies to these change nothing for what follows. */
    static const struct step harmless[] = {
        LOGGED_IN, RAW("NOOP\r\nVRFY a\r\nHELP\r\nEXPN x\r\nRSET\r\nNOOP\r\nEHLO c.example\r\n"),
        S("250 "), S("252 "),
        S("214 "), S("502 "),
        S("250 "), S("250 "),
        S("250 "), RAW("QUIT\r\nMAIL FROM:<a@example.org>\r\n"), /* never read */
        S("221 "), GONE,
        END,
    };
    assert_int_equal(dialog_steps(harmless), 0);
}

/* STL-06. */
static void
new_keys_are_answered(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        {.kind = STEP_KEYS, .number = 20},
        C("NOOP"),
        S("250 "),
        {.kind = STEP_KEYS, .number = 20},
        C("NOOP"),
        S("250 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

static void
foreign_protocols_are_closed(void **state)
{
    (void)state;
    static const struct step http[] = {
        S("220 "), RAW("POST / HTTP/1.1\r\nHost: x\r\n\r\nNOOP\r\n"), S("521 "), GONE, END,
    };
    assert_int_equal(dialog_steps(http), 0);
    static const struct step tunnel[] = {
        LOGGED_IN, C("CONNECT evil.example:25 HTTP/1.1"), S("521 5.5.1 "), GONE, END,
    };
    assert_int_equal(dialog_steps(tunnel), 0);
}

/* CMD-04. */
static void
errors_and_junk_have_an_end(void **state)
{
    (void)state;
    static const struct step errors[] = {
        S("220 "),  REPEAT(SMTP_ERRORS_HARD - 1, "XYZZY\r\n", "500 "),
        C("XYZZY"), S("421 4.7.0 "),
        GONE,       END,
    };
    assert_int_equal(dialog_steps(errors), 0);
    static const struct step junk[] = {
        S("220 "), REPEAT(SMTP_JUNK_MAX + SMTP_ERRORS_HARD - 1, "NOOP\r\n", "250 "),
        C("RSET"), S("421 4.7.0 "),
        GONE,      END,
    };
    assert_int_equal(dialog_steps(junk), 0);
    static const struct step reset_by_a_message[] = {
        LOGGED_IN,
        REPEAT(SMTP_JUNK_MAX, "NOOP\r\n", "250 "),
        REPEAT(SMTP_ERRORS_SOFT, "XYZZY\r\n", "500 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 2.0.0 "),
        REPEAT(SMTP_JUNK_MAX, "NOOP\r\n", "250 "),
        REPEAT(SMTP_ERRORS_SOFT, "XYZZY\r\n", "500 "),
        C("QUIT"),
        S("221 "),
        END,
    };
    assert_int_equal(dialog_steps(reset_by_a_message), 1);
}

/* RDS-01 to RDS-04. */
static void
the_queue_decides_about_mail(void **state)
{
    (void)state;
    static const struct step refused[] = {S("421 4.3.2 "), GONE, END};
    struct dialog d = {.steps = refused, .status = QUEUE_AWAY_NOW};
    dialog_play(&d);
    static const struct step steps[] = {
        LOGGED_IN,
        STATUS(QUEUE_AWAY_NOW),
        C("MAIL FROM:<a@example.org>"),
        S("451 4.3.0 "),
        C("RCPT TO:<r@d.example>"),
        S("503 "),
        STATUS(QUEUE_FULL_NOW),
        C("MAIL FROM:<a@example.org>"),
        S("452 4.3.1 "),
        STATUS(QUEUE_UP),
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step full[] = {S("220 "), END};
    d = (struct dialog){.steps = full, .status = QUEUE_FULL_NOW};
    dialog_play(&d);
}

/* A peer that never reads must not make us hold more than the high-water mark
 * and what one input buffer asks for. */
static void
a_flood_of_commands_is_answered_in_order(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        REPEAT(3000, "RCPT TO:<r@d.example>\r\n", ""),
        REPEAT(3000, "", "250 2.1.5 "),
        C("QUIT"),
        S("221 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

static void
clients_that_leave(void **state)
{
    (void)state;
    static const struct step at_once[] = {DO(RESET), END};
    static const struct step in_handshake[] = {
        S("220 "), C("EHLO c"),     S("250 "), C("STARTTLS"),
        S("220 "), RAW("\x16\x03"), DO(RESET), END,
    };
    static const struct step not_tls[] = {
        S("220 "), C("EHLO c"), S("250 "), C("STARTTLS"), S("220 "), C("hello"), DO(PAUSE), END,
    };
    static const struct step in_auth[] = {
        S("220 "),   C("EHLO c"), S("250 "),       C("STARTTLS"), S("220 "), TLS,
        C("EHLO c"), S("250 "),   C("AUTH LOGIN"), S("334 "),     DO(RESET), END,
    };
    static const struct step in_check[] = {
        S("220 "),     C("EHLO c"), S("250 "),
        C("STARTTLS"), S("220 "),   TLS,
        C("EHLO c"),   S("250 "),   C("AUTH PLAIN AGRldgBkZXY="),
        DO(RESET),     END,
    };
    static const struct step half_closed[] = {
        S("220 "), RAW("NOOP\r\nQUI"), DO(FIN), S("250 "), GONE, END,
    };
    static const struct step *const all[] = {at_once, in_handshake, not_tls,
                                             in_auth, in_check,     half_closed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(dialog_steps(all[i]), 0);
}

static void
draining_ends_idle_sessions(void **state)
{
    (void)state;
    static const struct step steps[] = {LOGGED_IN,       MAIL_RCPT, DO(DRAIN),
                                        S("421 4.3.2 "), GONE,      END};
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step in_data[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"),  S("354 "),       C("From: a@example.org"),
        DO(DRAIN), DO(PAUSE), C("\r\n."), S("250 2.0.0 "), S("421 4.3.2 "),
        GONE,      END,
    };
    assert_int_equal(dialog_steps(in_data), 1);
    static const struct step stuck[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), DO(DRAIN), S("421 4.3.2 "), GONE, END,
    };
    assert_int_equal(dialog_steps(stuck), 0);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "50", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_from_banner_to_quit),
        cmocka_unit_test(implicit_tls_says_the_banner_inside),
        cmocka_unit_test(pipelining_and_single_bytes),
        cmocka_unit_test(nothing_works_before_tls_and_auth),
        cmocka_unit_test(bytes_behind_starttls_end_the_session),
        cmocka_unit_test(starttls_has_its_place),
        cmocka_unit_test(lines_end_with_crlf),
        cmocka_unit_test(overlong_lines_are_thrown_away),
        cmocka_unit_test(commands_out_of_order),
        cmocka_unit_test(arguments_where_none_belong),
        cmocka_unit_test(groups_end_with_their_last_command),
        cmocka_unit_test(new_keys_are_answered),
        cmocka_unit_test(foreign_protocols_are_closed),
        cmocka_unit_test(errors_and_junk_have_an_end),
        cmocka_unit_test(the_queue_decides_about_mail),
        cmocka_unit_test(a_flood_of_commands_is_answered_in_order),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(draining_ends_idle_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
