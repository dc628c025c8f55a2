/* What sendmail(8) makes of messages that programs hand in. */
#include "relay/cli/local_mail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const struct local_mail_wish PLAIN = {.host = "host.example",
                                             .from = {"cron@host.example", 17}};
static const struct local_mail_wish FROM_HEADER = {
    .recipients_from_header = true, .host = "host.example", .from = {"cron@host.example", 17}};

static void
assert_slice(struct slice s, const char *wanted)
{
    if (!slice_eq(s, slice_str(wanted)))
        fail_msg("got <%.*s>, not <%s>", SLICE_FMT(s), wanted);
}

/* The whole, and the recipients joined by spaces. */
static void
assert_made(const struct local_mail_wish *wish, const char *text, const char *message,
            const char *to)
{
    struct local_mail m;
    struct err err;
    struct buf all;
    local_mail_init(&m);
    assert_int_equal(local_mail_read(&m, wish, slice_str(text), &err), 0);
    assert_slice(buf_slice(&m.message), message);
    buf_init(&all, 1000);
    for (unsigned i = 0; i < m.to_count; i++)
        buf_addf(&all, "%s%.*s", i > 0 ? " " : "", SLICE_FMT(m.to[i]));
    assert_slice(buf_slice(&all), to);
    buf_fini(&all);
    local_mail_fini(&m);
}

static void
mends_lines(void **state)
{
    (void)state;
    static const struct local_mail_wish DOT = {
        .dot_ends = true, .host = "host.example", .from = {"cron@host.example", 17}};
    assert_made(&PLAIN, "From: a@b.example\nSubject: x\n\nline\nlast",
                "From: a@b.example\r\nSubject: x\r\n\r\nline\r\nlast\r\n", "");
    assert_made(&PLAIN, "From: a@b.example\r\n\r\nline\n\r\n.\nmore\n",
                "From: a@b.example\r\n\r\nline\r\n\r\n.\r\nmore\r\n", "");
    assert_made(&DOT, "From: a@b.example\n\n..\n.x\n.\nnot sent\n",
                "From: a@b.example\r\n\r\n..\r\n.x\r\n", "");
    assert_made(&PLAIN, "From a@b Mon Nov 23 06:00:00 2026\nFrom: a@b.example\n\nFrom here\n",
                "From: a@b.example\r\n\r\nFrom here\r\n", "");
    assert_made(&PLAIN, "From: a@b.example\n\na\rb\n", "From: a@b.example\r\n\r\na\rb\r\n", "");
}

static void
adds_what_is_missing(void **state)
{
    (void)state;
    static const struct local_mail_wish NAMED = {.host = "host.example",
                                                 .from = {"cron@host.example", 17},
                                                 .full_name = "The \"Cron\" D\xc3\xa4mon"};
    assert_made(&PLAIN, "just text\nand more\n",
                "From: <cron@host.example>\r\n\r\njust text\r\nand more\r\n", "");
    assert_made(&PLAIN, "", "From: <cron@host.example>\r\n\r\n", "");
    assert_made(
        &PLAIN, "Subject: x\n folded\nno field\n\nbody\n",
        "Subject: x\r\n folded\r\nFrom: <cron@host.example>\r\n\r\nno field\r\n\r\nbody\r\n", "");
    assert_made(&NAMED, "Subject: x\n\n",
                "Subject: x\r\nFrom: \"The \\\"Cron\\\" D??mon\" <cron@host.example>\r\n\r\n", "");
    /* Blanks before a colon are the gateway's to refuse, and not a body. */
    assert_made(&PLAIN, "From: a@b.example\nSubject : x\n\nbody\n",
                "From: a@b.example\r\nSubject : x\r\n\r\nbody\r\n", "");
}

static void
finds_recipients(void **state)
{
    (void)state;
    assert_made(&FROM_HEADER,
                "From: a@b.example\nTo: x@y.example,\n \"N, N\" <z@y.example>\nCc: root\n"
                "bcc: secret@y.example,\n x@y.example\nSubject: s\n\nbody\n",
                "From: a@b.example\r\nTo: x@y.example,\r\n \"N, N\" <z@y.example>\r\n"
                "Cc: root@host.example\r\nSubject: s\r\n\r\nbody\r\n",
                "x@y.example z@y.example root@host.example secret@y.example");
    assert_made(&FROM_HEADER, "From: a@b.example\nTo: undisclosed-recipients:;\nBcc:\n\n",
                "From: a@b.example\r\nTo: undisclosed-recipients:;\r\n\r\n", "");
    /* RFC 5322 3.6.6: who it is sent to again, not who had it. */
    assert_made(&FROM_HEADER,
                "From: a@b.example\nTo: x@y.example\nResent-To: r@y.example\n"
                "Resent-Bcc: s@y.example\nResent-From: f@y.example\n\n",
                "From: a@b.example\r\nTo: x@y.example\r\nResent-To: r@y.example\r\n"
                "Resent-From: f@y.example\r\n\r\n",
                "r@y.example s@y.example");
    /* Bcc goes whoever the recipients are. */
    assert_made(&PLAIN, "From: a@b.example\nBcc: x@y.example\n\n", "From: a@b.example\r\n\r\n", "");
}

static void
finds_the_sender(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sender;
    } ROWS[] = {
        {"From: Shop <shop@b.example>\n\n", "shop@b.example"},
        {"From: root (Cron Daemon)\n\n", "root@host.example"},
        {"To: x@y.example\n\n", "cron@host.example"},
        {"From: a@b.example\nResent-From: c@d.example\nResent-To: x@y.example\n\n", "c@d.example"},
        {"From: what is this\n\n", ""}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct local_mail m;
        struct err err;
        local_mail_init(&m);
        assert_int_equal(local_mail_read(&m, &PLAIN, slice_str(ROWS[i].text), &err), 0);
        assert_slice(m.sender, ROWS[i].sender);
        local_mail_fini(&m);
    }
}

static void
qualifies_addresses(void **state)
{
    (void)state;
    static const char *const ROWS[][2] = {
        {" root", " root@h.example"},
        {" root (Cron Daemon)\r\n", " root@h.example (Cron Daemon)\r\n"},
        {"root,joe@x.example, Ann <ann>", "root@h.example,joe@x.example, Ann <ann@h.example>"},
        {"\"root\" <root> (a, b) , x", "\"root\" <root@h.example> (a, b) , x@h.example"},
        {"\"john doe\"", "\"john doe\"@h.example"},
        {"\"a\\\"b\"@x.example", "\"a\\\"b\"@x.example"},
        {"(c \\) d) root (e (f) g)", "(c \\) d) root@h.example (e (f) g)"},
        {"friends: root,\r\n joe;", "friends: root@h.example,\r\n joe@h.example;"},
        {"nobody:;", "nobody:;"},
        {"", ""},
        {" \r\n", " \r\n"},
        {"Cron Daemon", "Cron Daemon"},
        {"a b <root> c", "a b <root@h.example> c"},
        {"<>", "<>"},
        {"root@[IPv6:2001:db8::1]", "root@[IPv6:2001:db8::1]"},
        {"\"open <root", "\"open <root"},
        {"(open root", "(open root"},
        {"<open", "<open"},
        {"a@x.example>b", "a@x.example>b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct buf out;
        buf_init(&out, 1000);
        local_mail_qualify(slice_str(ROWS[i][0]), "h.example", &out);
        assert_slice(buf_slice(&out), ROWS[i][1]);
        buf_fini(&out);
    }
}

static void
names_the_field_that_cannot_be_read(void **state)
{
    (void)state;
    struct local_mail m;
    struct err err;
    local_mail_init(&m);
    assert_int_equal(
        local_mail_read(&m, &FROM_HEADER, SLICE("From: a@b.example\nCC: a b c\n\n"), &err), -1);
    assert_int_equal(err.code, ERR_BAD);
    assert_non_null(strstr(err.text, "the CC field: "));
    local_mail_fini(&m);
}

static void
takes_recipients_from_the_command_line(void **state)
{
    (void)state;
    struct local_mail m;
    struct err err;
    char address[32];
    local_mail_init(&m);
    assert_int_equal(local_mail_read(&m, &PLAIN, SLICE("From: a@b.example\n\n"), &err), 0);
    assert_int_equal(local_mail_add(&m, SLICE("root"), "h.example", &err), 0);
    assert_int_equal(local_mail_add(&m, SLICE("Root <root@h.example>"), "h.example", &err), 0);
    assert_int_equal(m.to_count, 1);
    assert_slice(m.to[0], "root@h.example");
    assert_int_equal(local_mail_add(&m, SLICE("a b"), "h.example", &err), -1);
    assert_int_equal(err.code, ERR_BAD);
    for (unsigned i = 1; i < API_RECIPIENTS_MAX; i++) {
        snprintf(address, sizeof address, "u%u@h.example", i);
        assert_int_equal(local_mail_add(&m, slice_str(address), "h.example", &err), 0);
    }
    assert_int_equal(local_mail_add(&m, SLICE("one@too.many"), "h.example", &err), -1);
    assert_int_equal(err.code, ERR_FULL);
    local_mail_fini(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mends_lines),
        cmocka_unit_test(adds_what_is_missing),
        cmocka_unit_test(finds_recipients),
        cmocka_unit_test(finds_the_sender),
        cmocka_unit_test(qualifies_addresses),
        cmocka_unit_test(names_the_field_that_cannot_be_read),
        cmocka_unit_test(takes_recipients_from_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
