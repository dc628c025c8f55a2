/* MAIL and RCPT as a client sees them. */
#include "relay/accept/smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

struct row {
    const char *arg, *reply;
};

/* Each row in a session of its own, so that errors do not add up. */
static void
play_mail(const struct row *row)
{
    char command[1500];
    int n = snprintf(command, sizeof command, "MAIL %s\r\n", row->arg);
    const struct step steps[] = {
        LOGGED_IN,
        {.kind = STEP_SEND, .bytes = {command, (size_t)n}},
        {.kind = STEP_EXPECT, .bytes = slice_str(row->reply)},
        C("NOOP"),
        S("250 2.0.0 "),
        END,
    };
    print_message("MAIL %s\n", row->arg);
    assert_int_equal(dialog_steps(steps), 0);
}

/* CMD-08, CMD-09, ADR-02 and who may send. */
static void
mail_arguments(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"FROM:<a@example.org>", "250 2.1.0 "},
        {"from:<a@EXAMPLE.org>", "250 2.1.0 "},
        {"FROM: <a@example.org>", "250 2.1.0 "},
        {"FROM:<>", "250 2.1.0 "},
        {"FROM:<\"a b\"@example.org>", "250 2.1.0 "},
        {"FROM:<@x,@y:a@example.org>", "250 2.1.0 "},
        {"FROM:<a@b\xc3\xbc"
         "cher.example> SMTPUTF8",
         "250 2.1.0 "},
        {"FROM:<a@example.org> SIZE=1 BODY=7BIT RET=FULL ENVID=x AUTH=<>", "250 2.1.0 "},
        {"FROM:<a@example.com>", "550 5.7.1 "},
        {"FROM:<a@sub.example.org>", "550 5.7.1 "},
        {"FROM:<a@notexample.org>", "550 5.7.1 "},
        {"FROM:<\"a@example.org\"@evil.example>", "550 5.7.1 "},
        {"FROM:<a@[127.0.0.1]>", "550 5.7.1 "},
        {"FROM:<a@example.org> SIZE=99999999999", "552 5.3.4 "},
        {"FROM:<a@example.org> SIZE=99999999999999999999", "552 5.3.4 "},
        {"FROM:<a@example.org> SIZE=", "501 5.5.4 "},
        {"FROM:<a@example.org> SIZE=abc", "501 5.5.4 "},
        {"FROM:<a@example.org> SIZE=1 SIZE=1", "501 5.5.4 "},
        {"FROM:<a@example.org> BODY=FOO", "501 5.5.4 "},
        {"FROM:<a@example.org> WHAT=1", "555 5.5.4 "},
        {"FROM:<a@example.org>SIZE=1", "501 5.5.4 "},
        {"FROM:<a@example.org> ENVID=a+00", "501 5.5.4 "},
        {"FROM:<a@example.org> ENVID=a+0A", "501 5.5.4 "},
        {"FROM:<a@example.org> AUTH=a+0Ab", "501 5.5.4 "},
        {"FROM:a@example.org", "501 "},
        {"TO:<a@example.org>", "501 5.5.4 "},
        {"FROM:<a>", "553 "},
        {"FROM:<a@>", "553 "},
        {"FROM:<a@example.org.>", "553 "},
        {"", "501 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play_mail(&rows[i]);
}

static void
play_rcpt(const struct row *row)
{
    char command[1500];
    int n = snprintf(command, sizeof command, "RCPT %s\r\n", row->arg);
    bool accepted = row->reply[0] == '2';
    const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        {.kind = STEP_SEND, .bytes = {command, (size_t)n}},
        {.kind = STEP_EXPECT, .bytes = slice_str(row->reply)},
        C("DATA"),
        {.kind = STEP_EXPECT, .bytes = accepted ? SLICE("354 ") : SLICE("554 5.5.1 No valid")},
        END,
    };
    print_message("RCPT %s\n", row->arg);
    assert_int_equal(dialog_steps(steps), 0);
}

/* ADR-01, ADR-02, ADR-05, CMD-09. */
static void
rcpt_arguments(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"TO:<r@d.example>", "250 2.1.5 "},
        {"TO: <r@d.example>", "250 2.1.5 "},
        {"TO:<user%remote@d.example>", "250 2.1.5 "},
        {"TO:<remote!user@d.example>", "250 2.1.5 "},
        {"TO:<\"user@remote\"@d.example>", "250 2.1.5 "},
        {"TO:<;id|sh@d.example>", "501 "},
        {"TO:<\";id|sh\"@d.example>", "250 2.1.5 "},
        {"TO:<${run{id}}@d.example>", "250 2.1.5 "},
        {"TO:<../../x@d.example>", "501 "},
        {"TO:<r@xn--bcher-kva.example>", "250 2.1.5 "},
        {"TO:<r@d.example> NOTIFY=NEVER ORCPT=rfc822;r@d.example", "250 2.1.5 "},
        {"TO:<user@remote@d.example>", "501 "},
        {"TO:<r@[127.0.0.1]>", "550 5.1.2 "},
        {"TO:<r@[IPv6:::1]>", "550 5.1.2 "},
        {"TO:<r@>", "553 "},
        {"TO:<r>", "553 "},
        {"TO:<>", "501 "},
        {"TO:<r@d.example.>", "553 "},
        {"TO:<postmaster>", "550 5.1.1 "},
        {"TO:<\xc3\xa4@d.example>", "553 5.6.7 "},
        {"TO:<r@d.example> NOTIFY=NEVER,FAILURE", "501 5.5.4 "},
        {"TO:<r@d.example> ORCPT=r@d.example", "501 5.5.4 "},
        {"TO:<r@d.example> ORCPT=rfc822;a+0D", "501 5.5.4 "},
        {"TO:<r@d.example> SIZE=1", "555 5.5.4 "},
        {"", "501 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play_rcpt(&rows[i]);
}

/* CMD-03: 1000 recipients, then 452; the thousand are delivered to. */
static void
recipients_are_limited(void **state)
{
    (void)state;
    static struct step steps[2 * SMTP_RECIPIENTS_MAX + 40];
    static char commands[SMTP_RECIPIENTS_MAX + 1][40];
    static const struct step begin[] = {LOGGED_IN, C("MAIL FROM:<a@example.org>"), S("250 ")};
    static const struct step end[] = {
        S("452 4.5.3 "), C("DATA"), S("354 "), C("From: a@example.org\r\n\r\n."), S("250 "), END};
    size_t n = sizeof begin / sizeof *begin;
    memcpy(steps, begin, sizeof begin);
    for (unsigned i = 0; i <= SMTP_RECIPIENTS_MAX; i++) {
        int bytes = snprintf(commands[i], sizeof commands[i], "RCPT TO:<r%u@d.example>\r\n", i);
        steps[n++] = (struct step){.kind = STEP_SEND, .bytes = {commands[i], (size_t)bytes}};
        if (i < SMTP_RECIPIENTS_MAX)
            steps[n++] = (struct step)S("250 2.1.5 ");
    }
    memcpy(&steps[n], end, sizeof end);
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_int_equal(d.visit.recipient_count, SMTP_RECIPIENTS_MAX);
}

/* A recipient given twice gets one copy: the domain's case does not matter, the
 * local part's does, quotes that are not needed do not. */
static void
recipients_are_collapsed(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        REPEAT(50, "RCPT TO:<r@d.example>\r\n", "250 "),
        C("RCPT TO:<r@D.EXAMPLE>"),
        S("250 "),
        C("RCPT TO:<\"r\"@d.example>"),
        S("250 "),
        C("RCPT TO:<R@d.example>"),
        S("250 "),
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 "),
        END,
    };
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_int_equal(d.visit.recipient_count, 2);
    assert_string_equal(d.visit.recipients[0], "r@d.example");
    assert_string_equal(d.visit.recipients[1], "R@d.example");
}

static void
nothing_of_a_refused_mail_stays(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.com> RET=FULL ENVID=old SMTPUTF8"),
        S("550 5.7.1 "),
        C("RCPT TO:<r@d.example>"),
        S("503 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 "),
        END,
    };
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_string_equal(d.visit.envid, "");
    assert_int_equal(d.visit.ret, RET_UNSET);
    assert_false(d.visit.smtputf8);
}

/* AUT-09: at the next MAIL, in the middle of a session; what is open may end. */
static void
a_removed_credential_ends_the_session(void **state)
{
    (void)state;
    static const struct step steps[] = {LOGGED_IN,       MAIL_RCPT, DO(REVOKE),
                                        C("RSET"),       S("250 "), C("MAIL FROM:<a@example.org>"),
                                        S("421 4.7.0 "), GONE,      END};
    assert_int_equal(dialog_steps(steps), 0);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "50", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_arguments),
        cmocka_unit_test(rcpt_arguments),
        cmocka_unit_test(recipients_are_limited),
        cmocka_unit_test(recipients_are_collapsed),
        cmocka_unit_test(nothing_of_a_refused_mail_stays),
        cmocka_unit_test(a_removed_credential_ends_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
