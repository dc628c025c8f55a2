/* CMD-05: BDAT. */
#include "relay/accept/smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

#define HEAD "From: a@example.org\r\n\r\n" /* 23 octets */

static void
expect_message(const struct step *steps, const char *message)
{
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_int_equal(d.visit.message_bytes, strlen(message));
    assert_memory_equal(d.visit.message, message, strlen(message));
}

static void
chunks_become_a_message(void **state)
{
    (void)state;
    static const struct step one[] = {
        LOGGED_IN,
        MAIL_RCPT,
        RAW("BDAT 28 LAST\r\n" HEAD "a\r\n\r\n"),
        S("250 2.0.0 Ok: queued as "),
        MAIL_RCPT,
        END,
    };
    expect_message(one, HEAD "a\r\n\r\n");
    static const struct step several[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("BDAT 23"),
        RAW(HEAD),
        S("250 2.0.0 23 octets received"),
        RAW("BDAT 4\r\n.\r\n\r"), /* a dot is a dot, and CRLF may be cut */
        S("250 2.0.0 4 octets received"),
        C("NOOP"),
        S("250 "),
        C("BDAT 0"),
        S("250 2.0.0 0 octets received"),
        C("BDAT 8"),
        RAW("\n..x\r\n.\r"),
        S("250 "),
        RAW("BDAT 1\r\n\n"),
        S("250 "),
        C("BDAT 0 LAST"),
        S("250 2.0.0 Ok: queued as "),
        END,
    };
    expect_message(several, HEAD ".\r\n\r\n..x\r\n.\r\n");
}

/* RFC 3030 4.2: nobody waits for the replies. */
static void
chunks_are_pipelined(void **state)
{
    (void)state;
    static const char ALL[] = "MAIL FROM:<a@example.org>\r\nRCPT TO:<r@d.example>\r\n"
                              "BDAT 23\r\n" HEAD "BDAT 8\r\nNOOP\r\n\r\n"
                              "BDAT 3 LAST\r\n.\r\nNOOP\r\n";
    for (int slow = 0; slow < 2; slow++) {
        const struct step steps[] = {
            LOGGED_IN,
            {.kind = slow ? STEP_SEND_BYTES : STEP_SEND, .bytes = slice_str(ALL)},
            S("250 2.1.0 "),
            S("250 2.1.5 "),
            S("250 2.0.0 23 octets"),
            S("250 2.0.0 8 octets"),
            S("250 2.0.0 Ok: queued as "),
            S("250 2.0.0 Ok"),
            END,
        };
        expect_message(steps, HEAD "NOOP\r\n\r\n.\r\n");
    }
}

/* After each of these nothing is left of the transaction, and the octets of the
 * chunk, commands by their looks, were no commands. */
static void
errors_take_their_octets(void **state)
{
    (void)state;
    static const struct {
        const char *before, *reply;
    } rows[] = {
        {"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n", "503 5.5.1 Send MAIL first"},
        {"MAIL FROM:<a@example.org>\r\nBDAT 6 LAST\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n",
         "503 5.5.1 Send RCPT first"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct step steps[] = {
            LOGGED_IN,
            {.kind = STEP_SEND, .bytes = slice_str(rows[i].before)},
            {.kind = i > 0 ? STEP_EXPECT : STEP_SEND, .bytes = i > 0 ? SLICE("250 ") : SLICE_NONE},
            {.kind = STEP_EXPECT, .bytes = slice_str(rows[i].reply)},
            S("503 5.5.1 Send MAIL first"),
            S("250 "),
            C("DATA"),
            S("503 "),
            MAIL_RCPT,
            END,
        };
        assert_int_equal(dialog_steps(steps), 0);
    }
}

static void
refused_recipients_alone(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        C("MAIL FROM:<a@example.org>"),
        S("250 "),
        C("RCPT TO:<r@[127.0.0.1]>"),
        S("550 "),
        RAW("BDAT 6 LAST\r\nQUIT\r\n"),
        S("554 5.5.1 No valid recipients"),
        C("DATA"),
        S("503 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

/* A stranger has no use for octets that are thrown away. */
static void
strangers_get_little(void **state)
{
    (void)state;
    static const struct step few[] = {
        S("220 "), RAW("BDAT 6\r\nQUIT\r\n"), S("503 "), C("NOOP"), S("250 "), END,
    };
    assert_int_equal(dialog_steps(few), 0);
    static const struct step many[] = {
        S("220 "), C("BDAT 65537"), S("552 5.3.4 "), GONE, END,
    };
    assert_int_equal(dialog_steps(many), 0);
}

static void
mixed_with_data(void **state)
{
    (void)state;
    static const struct step bdat_then_data[] = {
        LOGGED_IN,
        MAIL_RCPT,
        RAW("BDAT 23\r\n" HEAD),
        S("250 "),
        C("RCPT TO:<late@d.example>"),
        S("503 5.5.1 The message has begun"),
        C("MAIL FROM:<a@example.org>"),
        S("503 "),
        C("DATA"),
        S("503 5.5.1 "),
        C("BDAT 0 LAST"), /* nothing is left */
        S("503 "),
        MAIL_RCPT,
        C("DATA"),
        S("354 "),
        C(HEAD "BDAT 5 LAST\r\n."), /* in DATA it is text */
        S("250 2.0.0 Ok: queued as "),
        RAW("BDAT 6 LAST\r\nQUIT\r\n"), /* and behind it there is no transaction */
        S("503 "),
        END,
    };
    expect_message(bdat_then_data, HEAD "BDAT 5 LAST\r\n");
}

static void
transactions_end_between_chunks(void **state)
{
    (void)state;
    static const char *const ENDS[] = {"RSET\r\n", "EHLO c.example\r\n", "HELO c.example\r\n"};
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        const struct step steps[] = {
            LOGGED_IN,
            MAIL_RCPT,
            RAW("BDAT 23\r\n" HEAD),
            S("250 "),
            {.kind = STEP_SEND, .bytes = slice_str(ENDS[i])},
            S("250 "),
            RAW("BDAT 3 LAST\r\nx\r\n"),
            S("503 "),
            MAIL_RCPT,
            RAW("BDAT 28 LAST\r\n" HEAD "new\r\n"),
            S("250 2.0.0 Ok: queued as "),
            END,
        };
        expect_message(steps, HEAD "new\r\n");
    }
}

/* What nobody can count ends the session: commands and text cannot be told apart. */
static void
unreadable_counts_end_the_session(void **state)
{
    (void)state;
    static char overlong[SMTP_COMMAND_LINE_MAX + 10];
    static const struct {
        const char *command, *reply;
    } rows[] = {
        {"BDAT -1\r\n", "501 5.5.4 "},
        {"BDAT\r\n", "501 5.5.4 "},
        {"BDAT LAST\r\n", "501 5.5.4 "},
        {"BDAT 5 LAST x\r\n", "501 5.5.4 "},
        {"BDAT 0x10\r\n", "501 5.5.4 "},
        {"BDAT 18446744073709551616\r\n", "552 5.3.4 "},
        {"BDAT 18446744073709551615 LAST\r\n", "552 5.3.4 "},
        {"BDAT 5\tLAST\r\n", "500 5.5.2 "}, /* lines that are no commands at all */
        {"bdat 5\n", "500 5.5.2 "},
        {"BDAT 5\r\r\n", "500 5.5.2 "},
        {overlong, "500 5.5.6 "},
    };
    memset(overlong, '5', sizeof overlong);
    memcpy(overlong, "BDAT ", 5);
    memcpy(overlong + sizeof overlong - 3, "\r\n", 3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct step steps[] = {
            LOGGED_IN,
            MAIL_RCPT,
            RAW("BDAT 23\r\n" HEAD),
            S("250 "),
            {.kind = STEP_SEND, .bytes = slice_str(rows[i].command)},
            RAW("NOOP\r\n"),
            {.kind = STEP_EXPECT, .bytes = slice_str(rows[i].reply)},
            GONE,
            END,
        };
        assert_int_equal(dialog_steps(steps), 0);
    }
}

static void
size_is_limited(void **state)
{
    (void)state;
    static char text[3000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 100 == 98 ? '\r' : i % 100 == 99 ? '\n' : 'x';
    const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("BDAT 1000 LAST"),
        {.kind = STEP_SEND, .bytes = slice_from(text, 1000)},
        S("250 2.0.0 Ok: queued as "),
        MAIL_RCPT,
        C("BDAT 3000"),
        {.kind = STEP_SEND, .bytes = slice_from(text, sizeof text)},
        S("552 5.3.4 "),
        RAW("BDAT 2 LAST\r\nx\n"),
        S("503 "),
        MAIL_RCPT, /* one octet too many in the sum */
        C("BDAT 900"),
        {.kind = STEP_SEND, .bytes = slice_from(text, 900)},
        S("250 "),
        C("BDAT 101 LAST"),
        {.kind = STEP_SEND, .bytes = slice_from(text, 101)},
        S("552 5.3.4 "),
        MAIL_RCPT, /* a sum above 2^64 */
        C("BDAT 900"),
        {.kind = STEP_SEND, .bytes = slice_from(text, 900)},
        S("250 "),
        C("BDAT 18446744073709551000"),
        S("552 5.3.4 "),
        GONE,
        END,
    };
    struct dialog d = {.steps = steps, .message_bytes_max = 1000};
    dialog_play(&d);
    assert_int_equal(d.visits, 1);
    assert_int_equal(d.visit.message_bytes, 1000);
}

/* SMG-01 to SMG-10 in chunks: nothing ends but by count, so the session goes on. */
static void
line_rules_are_those_of_data(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        const char *reply;
    } rows[] = {
        {SLICE(HEAD "a\nb\r\n"), "550 5.5.2 "},
        {SLICE(HEAD "a\rb\r\n"), "550 5.5.2 "},
        {SLICE(HEAD "a\0b\r\n"), "550 5.5.2 "},
        {SLICE(HEAD "\n.\r\n"), "550 5.5.2 "},
        {SLICE(HEAD "a\r"), "550 5.5.2 "},
        {SLICE(HEAD "\r\n.\n\r\n"), "550 5.5.2 "},
        {SLICE(HEAD "a"), "550 5.6.0 The last line"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t at = 1; at < rows[i].text.n; at++) {
            char first[48], second[48];
            snprintf(first, sizeof first, "BDAT %zu\r\n", at);
            snprintf(second, sizeof second, "BDAT %zu LAST\r\n", rows[i].text.n - at);
            bool early = false; /* the first chunk has the fault */
            for (size_t k = 0; k < at; k++)
                early = early || rows[i].text.p[k] == '\0' ||
                        (rows[i].text.p[k] == '\n' && (k == 0 || rows[i].text.p[k - 1] != '\r')) ||
                        (rows[i].text.p[k] == '\r' && k + 1 < at && rows[i].text.p[k + 1] != '\n');
            const struct step steps[] = {
                LOGGED_IN,
                MAIL_RCPT,
                {.kind = STEP_SEND, .bytes = slice_str(first)},
                {.kind = STEP_SEND, .bytes = slice_from(rows[i].text.p, at)},
                {.kind = STEP_EXPECT, .bytes = early ? slice_str(rows[i].reply) : SLICE("250 ")},
                {.kind = STEP_SEND, .bytes = slice_str(second)},
                {.kind = STEP_SEND, .bytes = slice_skip(rows[i].text, at)},
                {.kind = STEP_EXPECT, .bytes = early ? SLICE("503 ") : slice_str(rows[i].reply)},
                C("DATA"),
                S("503 "),
                MAIL_RCPT,
                END,
            };
            assert_int_equal(dialog_steps(steps), 0);
        }
}

static void
long_lines_are_refused(void **state)
{
    (void)state;
    static char line[1001];
    memset(line, 'x', 1000);
    const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        C("BDAT 998"),
        {.kind = STEP_SEND, .bytes = {line, 998}},
        S("250 "),
        RAW("BDAT 2 LAST\r\n\r\n"),
        S("250 2.0.0 Ok: queued"),
        MAIL_RCPT,
        C("BDAT 500"),
        {.kind = STEP_SEND, .bytes = {line, 500}},
        S("250 "),
        C("BDAT 499"),
        {.kind = STEP_SEND, .bytes = {line, 499}},
        S("550 5.6.0 "),
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

/* A message of hardly anything comes to the door as by DATA: it knows what it wants. */
static void
an_empty_message(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN, MAIL_RCPT, C("BDAT 0 LAST"), S("250 2.0.0 Ok: queued as "), END,
    };
    expect_message(steps, "");
}

/* ACC-05, STL-04, STL-05: without LAST, or without all octets, there is no message. */
static void
clients_that_leave(void **state)
{
    (void)state;
    static const struct step quit[] = {
        LOGGED_IN, MAIL_RCPT, RAW("BDAT 23\r\n" HEAD "QUIT\r\n"), S("250 "), S("221 "), GONE, END,
    };
    static const struct step fin[] = {
        LOGGED_IN, MAIL_RCPT, RAW("BDAT 24 LAST\r\n" HEAD), DO(FIN), GONE, END,
    };
    static const struct step fin_between[] = {
        LOGGED_IN, MAIL_RCPT, RAW("BDAT 23\r\n" HEAD), S("250 "), DO(FIN), GONE, END,
    };
    static const struct step cut[] = {
        LOGGED_IN, MAIL_RCPT, RAW("BDAT 24 LAST\r\n" HEAD), DO(CUT), END,
    };
    static const struct step reset[] = {
        LOGGED_IN, MAIL_RCPT, RAW("BDAT 24 LAST\r\n" HEAD), DO(RESET), END,
    };
    assert_int_equal(dialog_steps(quit), 0);
    assert_int_equal(dialog_steps(fin), 0);
    assert_int_equal(dialog_steps(fin_between), 0);
    assert_int_equal(dialog_steps(cut), 0);
    assert_int_equal(dialog_steps(reset), 0);
}

static void
memory_is_limited(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        RAW("BDAT 23\r\n" HEAD),
        S("250 "),
        MEMORY(1),
        RAW("BDAT 3 LAST\r\nx\r\n"),
        S("452 4.3.1 "),
        C("DATA"),
        S("503 "),
        MEMORY(0),
        MAIL_RCPT,
        RAW("BDAT 26 LAST\r\n" HEAD "x\r\n"),
        S("250 2.0.0 Ok: queued"),
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

/* Chunks of nothing lead nowhere; chunks of one octet do, slowly. */
static void
tiny_chunks(void **state)
{
    (void)state;
    static const struct step nothing[] = {
        LOGGED_IN,
        MAIL_RCPT,
        REPEAT(SMTP_JUNK_MAX - 2, "BDAT 0\r\n", "250 2.0.0 0 octets"), /* two EHLO before */
        REPEAT(SMTP_ERRORS_HARD - 1, "BDAT 0\r\n", "250 "),
        C("BDAT 0"),
        S("421 4.7.0 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(nothing), 0);
    static const struct step single[] = {
        LOGGED_IN,
        MAIL_RCPT,
        RAW("BDAT 23\r\n" HEAD),
        S("250 "),
        REPEAT(5000, "BDAT 1\r\n\rBDAT 1\r\n\n", ""),
        REPEAT(10000, "", "250 2.0.0 1 octets received"),
        C("BDAT 0 LAST"),
        S("250 2.0.0 Ok: queued as "),
        END,
    };
    struct dialog d = {.steps = single};
    dialog_play(&d);
    assert_int_equal(d.visit.message_bytes, 10023);
}

/* A server that stops gives a message in chunks its time as well. */
static void
a_drain_lets_it_finish(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN,
        MAIL_RCPT,
        RAW("BDAT 23\r\n" HEAD),
        S("250 "),
        DO(DRAIN),
        DO(PAUSE),
        RAW("BDAT 3 LAST\r\nx\r\n"),
        S("250 2.0.0 Ok: queued"),
        S("421 4.3.2 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(steps), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_become_a_message),
        cmocka_unit_test(chunks_are_pipelined),
        cmocka_unit_test(errors_take_their_octets),
        cmocka_unit_test(refused_recipients_alone),
        cmocka_unit_test(strangers_get_little),
        cmocka_unit_test(mixed_with_data),
        cmocka_unit_test(transactions_end_between_chunks),
        cmocka_unit_test(unreadable_counts_end_the_session),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(line_rules_are_those_of_data),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(an_empty_message),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(tiny_chunks),
        cmocka_unit_test(a_drain_lets_it_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
