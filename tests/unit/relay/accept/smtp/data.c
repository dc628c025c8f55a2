#include "relay/accept/smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

/* Commands that a smuggler hides behind a false end of data. */
#define SMUGGLED                                                                                   \
    "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@d.example>\r\nDATA\r\n"                       \
    "From: evil@example.org\r\n\r\nsmuggled"

struct smuggle {
    const char *id;
    struct slice false_end; /* between the body line and the smuggled commands */
    bool bare;              /* refused with 550 5.5.2 and closed; else it is text */
};

static const struct smuggle SMUGGLES[] = {
    {"SMG-01", SLICE("\n.\n"), true},
    {"SMG-02", SLICE("\r.\r"), true},
    {"SMG-03", SLICE("\r.\n"), true},
    {"SMG-04", SLICE("\n.\r"), true},
    {"SMG-05", SLICE("\n.\r\n"), true},
    {"SMG-06", SLICE("\r\n.\n"), true},
    {"SMG-07", SLICE("\r.\r\n"), true},
    {"SMG-08", SLICE("\r\n.\r"), true},
    {"SMG-09", SLICE("\r\n\n.\r\n"), true},
    {"SMG-10 before", SLICE("\r\n\0.\r\n"), true},
    {"SMG-10 after", SLICE("\r\n.\0\r\n"), true},
    {"SMG-11 CR", SLICE("\r\n.\r\r\n"), true},
    {"SMG-11 two CR", SLICE("\r\r\n.\r\r\n"), true},
    {"SMG-11 space", SLICE("\r\n. \r\n"), false},
    {"SMG-11 tab", SLICE("\r\n.\t\r\n"), false},
    {"SMG-11 two dots", SLICE("\r\n..\r\n"), false},
    {"SMG-11 VT", SLICE("\r\n.\x0b\r\n"), false},
    {"SMG-11 FF", SLICE("\r\n\x0c.\r\n"), false},
    {"SMG-11 NEL", SLICE("\r\n\xc2\x85.\xc2\x85\r\n"), false},
    {"SMG-11 LS", SLICE("\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n"), false},
};

/* One message at most, whatever stands in it, in one write or byte by byte; and
 * no reply but one for the whole of it. */
static void
play_smuggle(const struct smuggle *g, enum step_kind send)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_add_str(&b, "From: a@example.org\r\n\r\nbefore");
    buf_add(&b, g->false_end);
    buf_add_str(&b, SMUGGLED "\r\n.\r\n");
    struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = send, .bytes = buf_slice(&b)},
        {.kind = STEP_EXPECT,
         .bytes = g->bare ? SLICE("550 5.5.2 ") : SLICE("250 2.0.0 Ok: queued")},
        {.kind = g->bare ? STEP_GONE : STEP_SEND, .bytes = SLICE("QUIT\r\n")},
        {.kind = g->bare ? STEP_END : STEP_EXPECT, .bytes = SLICE("221 ")},
        GONE,
        END,
    };
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    if (d.visits != (g->bare ? 0u : 1u))
        fail_msg("%s: %u messages", g->id, d.visits);
    if (!g->bare)
        assert_string_equal(d.visit.recipients[0], "r@d.example");
    buf_fini(&b);
}

static void
false_ends_end_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof SMUGGLES / sizeof *SMUGGLES; i++) {
        play_smuggle(&SMUGGLES[i], STEP_SEND);
        play_smuggle(&SMUGGLES[i], STEP_SEND_BYTES);
    }
}

/* SMG-12, SMG-13: dots at all places, and messages that hardly exist. */
static void
dots_come_through(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *stored;
    } rows[] = {
        {".\r\n", ""},
        {"\r\n.\r\n", "\r\n"},
        {"..\r\n.\r\n", ".\r\n"},
        {".a\r\n...\r\n....\r\nx.\r\n.\r\n", "a\r\n..\r\n...\r\nx.\r\n"},
        {"a\r\n..\r\n.\r\n", "a\r\n.\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int slow = 0; slow < 2; slow++) {
            const struct step steps[] = {
                LOGGED_IN,
                MAIL_RCPT,
                C("DATA"),
                S("354 "),
                {.kind = slow ? STEP_SEND_BYTES : STEP_SEND, .bytes = slice_str(rows[i].sent)},
                S("250 "),
                END,
            };
            struct dialog d = {.steps = steps};
            dialog_play(&d);
            assert_int_equal(d.visits, 1);
            assert_int_equal(d.visit.message_bytes, strlen(rows[i].stored));
            assert_memory_equal(d.visit.message, rows[i].stored, strlen(rows[i].stored));
        }
}

/* SMG-16. */
static void
text_before_354_closes(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        RAW("MAIL FROM:<a@example.org>\r\nRCPT TO:<r@d.example>\r\nDATA\r\n"
            "From: a@example.org\r\n\r\nx\r\n.\r\n"),
        S("250 "),
        S("250 "),
        S("554 5.5.0 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

static void
size_is_limited(void **state)
{
    (void)state;
    static char text[3000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 100 == 98 ? '\r' : i % 100 == 99 ? '\n' : 'x';
    struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.org> SIZE=1001"),
        S("552 5.3.4 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = STEP_SEND, .bytes = slice_from(text, 1000)},
        RAW(".\r\n"),
        S("250 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = STEP_SEND, .bytes = slice_from(text, sizeof text)},
        RAW(".\r\n"),
        S("552 5.3.4 "),
        C("RCPT TO:<r@d.example>"), /* CMD-06: the transaction is gone */
        S("503 "),
        MAIL_RCPT,
        END,
    };
    struct dialog d = {.steps = steps, .message_bytes_max = 1000};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_int_equal(d.visit.message_bytes, 1000);
}

/* A message that never ends is not read for ever. */
static void
an_endless_message_is_cut_off(void **state)
{
    (void)state;
    static char text[1 << 20];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 100 == 98 ? '\r' : i % 100 == 99 ? '\n' : 'x';
    const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = STEP_REPEAT,
         .number = SMTP_OVERSIZE_DISCARD_MAX / (1 << 20) + 1,
         .bytes = {text, sizeof text}},
        S("552 5.3.4 "),
        END,
    };
    struct dialog d = {.steps = steps, .message_bytes_max = 1000};
    dialog_play(&d);
    assert_int_equal(d.visits, 0);
}

/* SMG-18. */
static void
long_lines_are_refused(void **state)
{
    (void)state;
    static char line[1001];
    memset(line, 'x', 1000);
    const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = STEP_SEND, .bytes = {line, 998}},
        RAW("\r\n.\r\n"),
        S("250 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        {.kind = STEP_SEND, .bytes = {line, 999}},
        RAW("\r\n.\r\n"),
        S("550 5.6.0 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

/* CMD-13: above the limit of all messages together, 452 and nothing kept; other
 * commands go on, and so does mail when there is room again. */
static void
memory_is_limited(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n"),
        MEMORY(1),
        C("more\r\n."),
        S("452 4.3.1 "),
        C("MAIL FROM:<a@example.org>"),
        S("452 4.3.1 "),
        C("NOOP"),
        S("250 "),
        MEMORY(2), /* there is room, but not for that (RFC 1870 6) */
        C("MAIL FROM:<a@example.org> SIZE=100001"),
        S("452 4.3.1 "),
        C("MAIL FROM:<a@example.org> SIZE=1000"),
        S("250 "),
        MEMORY(1),
        C("RCPT TO:<b@example.com>"),
        S("452 4.3.1 "),
        MEMORY(0),
        C("RCPT TO:<b@example.com>"),
        S("250 "),
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 2.0.0 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

static void
what_the_door_says_is_said(void **state)
{
    (void)state;
    static const struct {
        enum submit_result result;
        const char *reply;
    } rows[] = {
        {SUBMIT_ACCEPTED, "250 2.0.0 Ok: queued as 01890a5d-ac96-774b-bcce-b302099a8057"},
        {SUBMIT_REPLAYED, "250 2.0.0 Ok: queued as 01890a5d-ac96-774b-bcce-b302099a8057"},
        {SUBMIT_SENDER, "550 5.7.1 the text"},
        {SUBMIT_CONTENT, "550 5.6.0 the text"},
        {SUBMIT_TOO_LARGE, "552 5.3.4 the text"},
        {SUBMIT_LOOP, "554 5.4.6 the text"},
        {SUBMIT_POLICY, "550 5.7.1 the text"},
        {SUBMIT_KEY_CONFLICT, "550 5.5.0 the text"},
        {SUBMIT_KEY_IN_FLIGHT, "451 4.5.0 the text"},
        {SUBMIT_NO_ROOM, "452 4.3.1 the text"},
        {SUBMIT_AWAY, "451 4.3.0 the text"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct step steps[] = {
            LOGGED_IN,
            MAIL_RCPT,
            C("DATA"),
            S("354 "),
            C("From: a@example.org\r\n\r\n."),
            {.kind = STEP_EXPECT, .bytes = slice_str(rows[i].reply)},
            C("RCPT TO:<r@d.example>"),
            S("503 "), /* CMD-06 */
            MAIL_RCPT,
            END,
        };
        struct dialog d = {.steps = steps, .door_result = rows[i].result, .door_text = "the text"};
        dialog_play(&d);
        assert_int_equal(d.visits, 1);
    }
}

/* ACC-06: neither 250 nor 4xx would be true. */
static void
an_unknown_outcome_is_not_answered(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), C("From: a@example.org\r\n\r\n."), GONE, END,
    };
    struct dialog d = {.steps = steps, .door_result = SUBMIT_UNKNOWN, .door_delay_ms = 20};
    /* GONE fails on a reset: under TLS an aborted connection has no close_notify */
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
}

/* ACC-04: what was complete is kept, whether or not the client is there. */
static void
clients_that_leave_after_the_dot(void **state)
{
    (void)state;
    static const struct step reset[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), C("From: a@example.org\r\n\r\n."),
        DO(PAUSE), DO(RESET), END,
    };
    static const struct step half_closed[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        RAW("From: a@example.org\r\n\r\n.\r\nQUIT\r\n"),
        DO(FIN),
        S("250 2.0.0 "),
        S("221 "),
        GONE,
        END,
    };
    struct dialog d = {.steps = reset, .door_delay_ms = 200};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    d = (struct dialog){.steps = half_closed, .door_delay_ms = 30};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
}

/* ACC-05, STL-05: what is not complete does not exist. */
static void
clients_that_leave_before_the_dot(void **state)
{
    (void)state;
    static const struct step cut[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), RAW("From: a@example.org\r\n\r\nx\r\n."),
        DO(CUT),   END,
    };
    static const struct step closed[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), RAW("From: a@example.org\r\n\r\nx\r\n.\r"),
        DO(FIN),   GONE,      END,
    };
    static const struct step reset[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), C("From: a@example.org"), DO(RESET), END,
    };
    assert_int_equal(dialog_steps(cut), 0);
    assert_int_equal(dialog_steps(closed), 0);
    assert_int_equal(dialog_steps(reset), 0);
}

/* While one waits for its commit, others go on. */
static void
sessions_do_not_wait_for_each_other(void **state)
{
    (void)state;
    static const struct step waits[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        RAW("From: a@example.org\r\n\r\n.\r\nNOOP\r\n"),
        S("250 2.0.0 Ok: queued"),
        S("250 2.0.0 Ok"),
        END,
    };
    struct dialog d = {.steps = waits, .second = waits, .door_delay_ms = 20};
    dialog_play(&d);
    assert_int_equal(d.visits, 2);
}

static void
smtputf8_is_passed_on(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<\xc3\xa4@b\xc3\xbc"
          "cher.example>"),
        S("553 5.6.7 "),
        C("MAIL FROM:<\xc3\xa4@b\xc3\xbc"
          "cher.example> SMTPUTF8"),
        S("250 "),
        C("RCPT TO:<\xc3\xb6@b\xc3\xbc"
          "cher.example>"),
        S("250 "),
        C("DATA"),
        S("354 "),
        C("From: a@example.org\r\n\r\n."),
        S("250 "),
        END,
    };
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_true(d.visit.smtputf8);
    assert_string_equal(d.visit.reverse_path, "\xc3\xa4@xn--bcher-kva.example");
    assert_string_equal(d.visit.reverse_domain, "xn--bcher-kva.example");
    assert_string_equal(d.visit.recipients[0], "\xc3\xb6@xn--bcher-kva.example");
    assert_string_equal(d.visit.domains[0], "xn--bcher-kva.example");
    assert_string_equal(d.visit.protocol, "UTF8SMTPSA");
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "50", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(false_ends_end_nothing),
        cmocka_unit_test(dots_come_through),
        cmocka_unit_test(text_before_354_closes),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(an_endless_message_is_cut_off),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(what_the_door_says_is_said),
        cmocka_unit_test(an_unknown_outcome_is_not_answered),
        cmocka_unit_test(clients_that_leave_after_the_dot),
        cmocka_unit_test(clients_that_leave_before_the_dot),
        cmocka_unit_test(sessions_do_not_wait_for_each_other),
        cmocka_unit_test(smtputf8_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
