#include "relay/accept/prepare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const char ID_TEXT[] = "01890a5d-ac96-774b-bcce-b302099a8057";

struct fixture {
    struct arena arena;
    struct blob *blob;
    struct prepare_input in;
    struct prepared out;
    struct reply_text refusal;
};

static void
fixture_init(struct fixture *f, struct slice message)
{
    *f = (struct fixture){.blob = blob_new_copy(message)};
    arena_init(&f->arena, SMTP_TRANSACTION_ARENA_MAX);
    f->in = (struct prepare_input){
        .message = f->blob,
        .now_unix_ms = 1795402011000,
        .hostname = "gw.example",
        .protocol = "ESMTPSA",
        .client_name = SLICE("pc.example"),
        .client_ip = SLICE("192.0.2.7"),
        .recipient = SLICE("r@d.example"),
    };
    assert_true(id_parse(slice_str(ID_TEXT), &f->in.id));
}

static void
fixture_fini(struct fixture *f)
{
    content_unref(&f->out.content);
    blob_unref(&f->blob);
    arena_fini(&f->arena);
    assert_int_equal(blob_total_bytes(), 0);
}

static enum parse
run(struct fixture *f)
{
    return prepare_message(&f->in, &f->arena, &f->out, &f->refusal);
}

static void
assert_slice(struct slice got, const char *want)
{
    if (got.n != strlen(want) || memcmp(got.p ? got.p : "", want, got.n) != 0)
        fail_msg("got \"%.*s\", want \"%s\"", SLICE_FMT(got), want);
}

static void
golden_head_and_borrowed_body(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("From: A <a@EXAMPLE.com>\r\nSubject: =?utf-8?q?x?=\r\n folded\r\n"
                           "Bcc: secret@b.example\r\nTo: r@d.example\r\n\r\nbody\r\n..\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    assert_slice(blob_slice(f.out.content.head),
                 "Received: from pc.example ([192.0.2.7])\r\n"
                 "\tby gw.example with ESMTPSA id 01890a5d-ac96-774b-bcce-b302099a8057\r\n"
                 "\tfor <r@d.example>;\r\n"
                 "\tMon, 23 Nov 2026 02:46:51 +0000\r\n"
                 "Date: Mon, 23 Nov 2026 02:46:51 +0000\r\n"
                 "Message-ID: <01890a5d-ac96-774b-bcce-b302099a8057@example.com>\r\n"
                 "From: A <a@EXAMPLE.com>\r\n"
                 "Subject: =?utf-8?q?x?=\r\n folded\r\n"
                 "To: r@d.example\r\n\r\n");
    struct slice pieces[2];
    assert_int_equal(content_pieces(&f.out.content, pieces), 2);
    assert_slice(pieces[1], "body\r\n..\r\n");
    assert_ptr_equal(f.out.content.rest, f.blob); /* not a copy */
    assert_slice(f.out.header_from, "a@example.com");
    assert_slice(f.out.sender_domains[0], "example.com");
    assert_int_equal(f.out.sender_count, 1);
    assert_slice(f.out.subject, "=?utf-8?q?x?= folded");
    assert_slice(f.out.message_id, "01890a5d-ac96-774b-bcce-b302099a8057@example.com");
    assert_int_equal(f.out.controls.idempotency_key.n, 0);
    assert_false(f.out.eight_bit);
    fixture_fini(&f);
}

static void
present_fields_stay(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("Date: whenever\r\nMESSAGE-id: <x@y>\r\nFrom: a@b.example\r\n\r\n"));
    f.in.recipient = SLICE_NONE;
    f.in.client_name = SLICE_NONE;
    f.in.client_ip = SLICE("2001:db8::1");
    assert_int_equal(run(&f), PARSE_OK);
    assert_slice(blob_slice(f.out.content.head),
                 "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
                 "\tby gw.example with ESMTPSA id 01890a5d-ac96-774b-bcce-b302099a8057;\r\n"
                 "\tMon, 23 Nov 2026 02:46:51 +0000\r\n"
                 "Date: whenever\r\nMESSAGE-id: <x@y>\r\nFrom: a@b.example\r\n\r\n");
    assert_slice(f.out.message_id, "x@y");
    fixture_fini(&f);
}

static void
empty_fields_are_written_anew(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("Date: \r\nMessage-ID:\r\nFrom: a@b.example\r\n\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    struct slice head = blob_slice(f.out.content.head);
    size_t at = slice_find_slice(head, SLICE("Date: Mon"));
    assert_true(at < head.n);
    assert_slice(slice_skip(head, at),
                 "Date: Mon, 23 Nov 2026 02:46:51 +0000\r\n"
                 "Message-ID: <01890a5d-ac96-774b-bcce-b302099a8057@b.example>\r\n"
                 "From: a@b.example\r\n\r\n");
    fixture_fini(&f);
}

static void
empty_message_id_is_replaced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("From: a@b.example\r\nMessage-ID:\r\n\r\nx\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    struct slice head = blob_slice(f.out.content.head);
    assert_true(slice_find_slice(head, SLICE("Message-ID:\r\n")) == head.n);
    assert_slice(f.out.message_id, "01890a5d-ac96-774b-bcce-b302099a8057@b.example");
    fixture_fini(&f);
}

static void
control_fields_are_taken_out(void **state)
{
    (void)state;
    static const char *const names[] = {"X-Stagepost-Idempotency-Key", "resend-idempotency-KEY"};
    for (size_t i = 0; i < 2; i++) {
        char text[300];
        int n = snprintf(text, sizeof text,
                         "X-PM-Anything: 1\r\nFrom: a@b.example\r\n%s: key one \r\n"
                         "Return-Path: <z@z>\r\nResent-Bcc: q@q.example\r\nX-Other: 2\r\n"
                         "x-stagepost-tag: 3\r\n\r\n",
                         names[i]);
        struct fixture f;
        fixture_init(&f, slice_from(text, (size_t)n));
        assert_int_equal(run(&f), PARSE_OK);
        assert_slice(f.out.controls.idempotency_key, "key one");
        struct slice head = blob_slice(f.out.content.head);
        assert_true(slice_ends_nocase(head, SLICE("From: a@b.example\r\nX-Other: 2\r\n\r\n")));
        assert_true(slice_find_slice(head, SLICE("X-Stagepost")) == head.n);
        assert_true(slice_find_slice(head, SLICE("stagepost-tag")) == head.n);
        assert_true(slice_find_slice(head, SLICE("X-PM")) == head.n);
        fixture_fini(&f);
    }
}

/* A Date of ours is the one that the sender wishes. */
static void
scheduled_mail_is_dated_then(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f,
                 SLICE("From: a@b.example\r\nX-Stagepost-Send-At: 2026-11-24T00:00:00Z\r\n\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    struct slice head = blob_slice(f.out.content.head);
    assert_true(slice_find_slice(head, SLICE("Date: Tue, 24 Nov 2026 00:00:00 +0000")) < head.n);
    fixture_fini(&f);
}

static void
all_senders_are_named(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("Sender: s@s.example\r\nResent-From: r@r1.example, r@r2.example\r\n"
                           "From: g: a@a.example, \"x, y\" <b@B.example>;\r\n"
                           "Resent-Sender: t@t.example\r\n\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    static const char *const want[] = {"a.example",  "b.example",  "s.example",
                                       "r1.example", "r2.example", "t.example"};
    assert_int_equal(f.out.sender_count, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_slice(f.out.sender_domains[i], want[i]);
    assert_slice(f.out.senders[1], "b@b.example");
    assert_slice(f.out.senders[5], "t@t.example");
    fixture_fini(&f);
}

/* Too many of them stay too many: no 452. In one field and in many, and so many
 * that they alone would use up the transaction's memory. */
static void
senders_have_a_limit(void **state)
{
    (void)state;
    static const struct {
        const char *head, *each;
        unsigned count;
        bool taken;
    } rows[] = {
        {"From: a@b.example\r\n", "Resent-From: c@d.example\r\n", HEADER_SENDERS_MAX - 1, true},
        {"From: a@b.example\r\n", "Resent-From: c@d.example\r\n", HEADER_SENDERS_MAX, false},
        {"From: a@b.example\r\n", "Resent-Sender: c@d.example\r\n", 990, false},
        {"Sender: a@b.example\r\nFrom: ", "c@d.example,\r\n ", HEADER_SENDERS_MAX - 2, true},
        {"Sender: a@b.example\r\nFrom: ", "c@d.example,\r\n ", HEADER_SENDERS_MAX - 1, false},
        {"Sender: a@b.example\r\nFrom: ", "c@d,", 15000, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf text;
        struct fixture f;
        buf_init(&text, HEADER_SECTION_MAX);
        buf_add_str(&text, rows[i].head);
        for (unsigned n = 0; n < rows[i].count; n++)
            buf_addf(&text, "%s%s", rows[i].each,
                     n % 100 == 99 && rows[i].each[3] == ',' ? "\r\n " : "");
        buf_add_str(&text, rows[i].each[1] == '@' ? "e@f.example\r\n\r\n" : "\r\n");
        fixture_init(&f, buf_slice(&text));
        assert_int_equal(run(&f), rows[i].taken ? PARSE_OK : PARSE_BAD);
        if (rows[i].taken)
            assert_int_equal(f.out.sender_count, HEADER_SENDERS_MAX);
        else
            assert_true(f.refusal.code == 550 && strcmp(f.refusal.enhanced, "5.6.0") == 0);
        fixture_fini(&f);
        buf_fini(&text);
    }
}

/* Which domain DMARC is asked about (DMA-02): that of the only mailbox, whatever
 * stands around it; what readers could take for another one is refused. */
static void
from_has_one_domain(void **state)
{
    (void)state;
    static const struct {
        const char *from, *domain; /* NULL: refused */
    } rows[] = {
        {"a@x.example", "x.example"},
        {"<a@x.example>", "x.example"},
        {"A B <a@X.Example>", "x.example"},
        {"\"b@evil.example\" <a@x.example>", "x.example"},
        {"\"\\\"Quoted, Inc.\\\"\" <a@x.example>", "x.example"},
        {"\"<b@evil.example>\" <a@x.example>", "x.example"},
        {"(b@evil.example) a@x.example (c@evil.example)", "x.example"},
        {"A (comment (nested \\) <b@evil.example>)) <a@x.example>", "x.example"},
        {"=?utf-8?q?b=40evil=2Eexample?= <a@x.example>", "x.example"},
        {"\"a b\"@x.example", "x.example"},
        {"\"a@evil.example\"@x.example", "x.example"},
        {"Friends: a@x.example;", "x.example"}, /* RFC 6854 */
        {"a@x.example>", NULL},
        {"<a@x.example", NULL},
        {"<a@x.example> <b@evil.example>", NULL},
        {"<a@x.example>, b@evil.example", NULL}, /* two authors, no Sender */
        {"Friends: a@x.example, b@evil.example;", NULL},
        {"Nobody:;", NULL},
        {"a@x.example b@evil.example", NULL},
        {"a@@x.example", NULL},
        {"a@x.example\r\nFrom: b@evil.example", NULL}, /* two fields */
        {"a", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[400];
        struct fixture f;
        snprintf(text, sizeof text, "From: %s\r\n\r\nbody\r\n", rows[i].from);
        fixture_init(&f, slice_str(text));
        enum parse p = run(&f);
        if ((p == PARSE_OK) != (rows[i].domain != NULL))
            fail_msg("%s: %s", rows[i].from, p == PARSE_OK ? "taken" : f.refusal.text);
        if (p == PARSE_OK) {
            assert_int_equal(f.out.sender_count, 1);
            assert_slice(f.out.sender_domains[0], rows[i].domain);
        }
        fixture_fini(&f);
    }
}

static void
eight_bit_is_flagged(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("From: a@b.example\r\n\r\nabcdefgh\xc3\xa4\r\n"));
    assert_int_equal(run(&f), PARSE_OK);
    assert_true(f.out.eight_bit);
    fixture_fini(&f);

    fixture_init(&f, SLICE("From: a@b.example\r\nSubject: \xc3\xa4\r\n\r\nx\r\n"));
    f.in.smtputf8 = true;
    assert_int_equal(run(&f), PARSE_OK);
    assert_true(f.out.eight_bit);
    assert_slice(f.out.subject, "\xc3\xa4");
    fixture_fini(&f);
}

static void
utf8_names_stay_out_of_received(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, SLICE("From: a@b.example\r\n\r\n"));
    f.in.client_name = SLICE("b\xc3\xbc.example");
    f.in.recipient = SLICE("\xc3\xbc@b.example");
    assert_int_equal(run(&f), PARSE_OK);
    struct slice head = blob_slice(f.out.content.head);
    for (size_t i = 0; i < head.n; i++)
        assert_true((unsigned char)head.p[i] < 128);
    assert_true(slice_starts(head, SLICE("Received: from [192.0.2.7] ([192.0.2.7])\r\n")));
    fixture_fini(&f);
}

struct refusal_row {
    const char *name;
    struct slice message;
    unsigned code;
    const char *enhanced;
};

static const struct refusal_row REFUSALS[] = {
    /* SMG-12: nothing at all, and an empty header section */
    {"empty", SLICE(""), 550, "5.6.0"},
    {"empty header", SLICE("\r\nbody\r\n"), 550, "5.6.0"},
    {"no From", SLICE("Subject: x\r\n\r\n"), 550, "5.6.0"},
    {"two From", SLICE("From: a@b.example\r\nFrom: a@b.example\r\n\r\n"), 550, "5.6.0"},
    {"From is no list", SLICE("From: <a@b.example>c@d.example\r\n\r\n"), 550, "5.6.0"},
    {"From is empty", SLICE("From: \r\n\r\n"), 550, "5.6.0"},
    {"From is an empty group", SLICE("From: g:;\r\n\r\n"), 550, "5.6.0"},
    {"From is a literal", SLICE("From: a@[127.0.0.1]\r\n\r\n"), 550, "5.6.0"},
    {"several From without Sender", SLICE("From: a@b.example, c@b.example\r\n\r\n"), 550, "5.6.0"},
    {"Sender is no address", SLICE("From: a@b.example\r\nSender: x\r\n\r\n"), 550, "5.6.0"},
    {"Sender is a list", SLICE("From: a@b.example\r\nSender: a@b.example, c@b.example\r\n\r\n"),
     550, "5.6.0"},
    {"several From, Sender is an empty group",
     SLICE("From: a@b.example, c@b.example\r\nSender: g:;\r\n\r\n"), 550, "5.6.0"},
    {"Resent-Sender is a list",
     SLICE("From: a@b.example\r\nResent-Sender: a@b.example, c@b.example\r\n\r\n"), 550, "5.6.0"},
    {"Resent-From is no address", SLICE("From: a@b.example\r\nResent-From: @\r\n\r\n"), 550,
     "5.6.0"},
    {"no colon", SLICE("From: a@b.example\r\nnonsense\r\n\r\n"), 550, "5.6.0"},
    {"space before colon", SLICE("From : a@b.example\r\n\r\n"), 550, "5.6.0"},
    {"8-bit field", SLICE("From: a@b.example\r\nSubject: \xc3\xa4\r\n\r\n"), 550, "5.6.7"},
    {"unterminated header", SLICE("From: a@b.example"), 550, "5.6.0"},
    {"bare LF in body", SLICE("From: a@b.example\r\n\r\na\nb\r\n"), 550, "5.6.0"},
    {"bare LF first in body", SLICE("From: a@b.example\r\n\r\n\nb\r\n"), 550, "5.6.0"},
    {"bare CR in body", SLICE("From: a@b.example\r\n\r\na\rb\r\n"), 550, "5.6.0"},
    {"CR CR LF in body", SLICE("From: a@b.example\r\n\r\na\r\r\n"), 550, "5.6.0"},
    {"NUL in body", SLICE("From: a@b.example\r\n\r\na\0b\r\n"), 550, "5.6.0"},
    {"no CRLF at the end", SLICE("From: a@b.example\r\n\r\nb"), 550, "5.6.0"},
    {"two keys",
     SLICE("From: a@b.example\r\nX-Stagepost-Idempotency-Key: a\r\n"
           "Resend-Idempotency-Key: a\r\n\r\n"),
     550, "5.6.0"},
    {"empty key", SLICE("From: a@b.example\r\nX-Stagepost-Idempotency-Key: \r\n\r\n"), 550,
     "5.6.0"},
};

static void
what_is_wrong_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        const struct refusal_row *row = &REFUSALS[i];
        struct fixture f;
        fixture_init(&f, row->message);
        if (run(&f) != PARSE_BAD)
            fail_msg("%s: accepted", row->name);
        if (f.refusal.code != row->code || strcmp(f.refusal.enhanced, row->enhanced) != 0)
            fail_msg("%s: %u %s %s", row->name, f.refusal.code, f.refusal.enhanced, f.refusal.text);
        assert_null(f.out.content.head); /* nothing was changed */
        fixture_fini(&f);
    }
}

/* SMG-18: 998 octets and CRLF pass, one more does not. */
static void
long_lines_are_refused(void **state)
{
    (void)state;
    for (size_t n = 997; n <= 999; n++) {
        struct buf b;
        buf_init(&b, 4000);
        buf_add_str(&b, "From: a@b.example\r\n\r\n");
        memset(buf_reserve(&b, n), 'x', n);
        buf_commit(&b, n);
        buf_add_str(&b, "\r\n");
        struct fixture f;
        fixture_init(&f, buf_slice(&b));
        assert_int_equal(run(&f), n <= 998 ? PARSE_OK : PARSE_BAD);
        fixture_fini(&f);
        buf_fini(&b);
    }
}

static void
loops_and_large_headers_are_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i <= RECEIVED_FIELDS_MAX; i++)
        buf_add_str(&b, "Received: from x by y; Mon, 23 Nov 2026 02:46:51 +0000\r\n");
    buf_add_str(&b, "From: a@b.example\r\n\r\n");
    struct fixture f;
    fixture_init(&f, buf_slice(&b));
    assert_int_equal(run(&f), PARSE_BAD);
    assert_int_equal(f.refusal.code, 554);
    assert_string_equal(f.refusal.enhanced, "5.4.6");
    fixture_fini(&f);

    buf_clear(&b);
    buf_add_str(&b, "From: a@b.example\r\n");
    for (int i = 0; i <= HEADER_FIELDS_MAX; i++)
        buf_addf(&b, "X-%d: y\r\n", i);
    buf_add_str(&b, "\r\n");
    fixture_init(&f, buf_slice(&b));
    assert_int_equal(run(&f), PARSE_BAD);
    assert_int_equal(f.refusal.code, 552);
    fixture_fini(&f);
    buf_fini(&b);
}

static void
an_arena_too_small_is_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    unsigned refused = 0;
    enum parse r = PARSE_BAD;
    for (size_t budget = 0; r != PARSE_OK; budget += 16) {
        assert_true(budget < 1 << 20);
        fixture_init(&f, SLICE("From: a@b.example\r\nSender: \"a\\\"b\"@c.example\r\n"
                               "Subject: x\r\nX-Stagepost-Idempotency-Key: k\r\n\r\n"));
        arena_fini(&f.arena);
        arena_init(&f.arena, budget);
        r = run(&f);
        if (r != PARSE_OK) {
            assert_int_equal(f.refusal.code, 452);
            refused++;
        }
        fixture_fini(&f);
    }
    assert_true(refused > 3);
}

static void
keys_have_a_length(void **state)
{
    (void)state;
    for (size_t n = 255; n <= 257; n++) {
        struct buf b;
        buf_init(&b, 4000);
        buf_add_str(&b, "From: a@b.example\r\nX-Stagepost-Idempotency-Key: ");
        memset(buf_reserve(&b, n), 'k', n);
        buf_commit(&b, n);
        buf_add_str(&b, "\r\n\r\n");
        struct fixture f;
        fixture_init(&f, buf_slice(&b));
        assert_int_equal(run(&f), n <= IDEMPOTENCY_KEY_MAX ? PARSE_OK : PARSE_BAD);
        fixture_fini(&f);
        buf_fini(&b);
    }
}

static void
long_subjects_are_cut(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4000);
    buf_add_str(&b, "From: a@b.example\r\nSubject: ");
    for (int i = 0; i < 400; i++)
        buf_add_str(&b, "s");
    buf_add_str(&b, "\r\n\r\n");
    struct fixture f;
    fixture_init(&f, buf_slice(&b));
    assert_int_equal(run(&f), PARSE_OK);
    assert_int_equal(f.out.subject.n, ENVELOPE_SUBJECT_MAX);
    fixture_fini(&f);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_head_and_borrowed_body),
        cmocka_unit_test(present_fields_stay),
        cmocka_unit_test(empty_fields_are_written_anew),
        cmocka_unit_test(empty_message_id_is_replaced),
        cmocka_unit_test(control_fields_are_taken_out),
        cmocka_unit_test(scheduled_mail_is_dated_then),
        cmocka_unit_test(all_senders_are_named),
        cmocka_unit_test(senders_have_a_limit),
        cmocka_unit_test(eight_bit_is_flagged),
        cmocka_unit_test(from_has_one_domain),
        cmocka_unit_test(utf8_names_stay_out_of_received),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(loops_and_large_headers_are_refused),
        cmocka_unit_test(an_arena_too_small_is_an_answer),
        cmocka_unit_test(keys_have_a_length),
        cmocka_unit_test(long_subjects_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
