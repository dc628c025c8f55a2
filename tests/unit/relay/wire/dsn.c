/*
 * relay/wire/dsn: reports, compared byte for byte with the files in golden/. With
 * WRITE_GOLDEN=1 in the environment the files are written instead; read the
 * difference before committing it. Run from the root of the repository.
 */
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
#include "relay/wire/dsn.h"

/* SLICE() and enhanced codes for static tables. */
#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define CODE(c, s, d)                                                                              \
    {                                                                                              \
        c, s, d                                                                                    \
    }

enum { OUT_MAX = 8 << 20 };

static const int64_t noon = 1795435200000; /* 2026-11-23 12:00:00 */

#define USER .address = LITERAL("user@example.org")
#define ATTEMPT .last_attempt_unix_ms = 1795435190000
#define MX .remote_mta = LITERAL("mx.example.org")

static const struct slice plain_original[] = {
    LITERAL("From: Shop <shop@example.com>\r\nTo: user@example.org\r\n"
            "Subject: Order 17\r\nMessage-ID: <order-17@example.com>\r\n"),
    LITERAL("MIME-Version: 1.0\r\n\r\nThank you.\r\n"),
};

static const struct slice utf8_original[] = {
    LITERAL("From: Shop <shop@example.com>\r\nSubject: Gr\xc3\xbc\xc3\x9f"
            "e \r\n\r\nk\xc3\xbchl\r\n"),
};

/* Only the body has 8-bit, and no charset that is known here. */
static const struct slice latin_original[] = {
    LITERAL("From: Shop <shop@example.com>\r\nSubject: Order 18\r\n\r\n"),
    LITERAL("k\xfchl = 50 %\r\n--=_golden\r\n.\r\n"),
};

static const struct slice hostile_original[] = {
    LITERAL("Subject: x\r\nMessage-ID: <a b>\r\n\r\n--=_golden\r\nContent-Type: text/html\r\n\r\n"
            "<b>--=_golden--</b>\r\n"),
};

static const struct dsn_recipient failed[] = {
    {USER, ATTEMPT, MX, .reply_code = 550, .reply_status = CODE(5, 1, 1),
     .text = LITERAL("no such user here"),
     .orcpt = {LITERAL("rfc822"), LITERAL("User+x@example.org")}},
};
static const struct dsn_recipient delayed[] = {
    {USER, ATTEMPT, MX, .action = DSN_DELAYED, .reply_code = 451, .reply_status = CODE(4, 7, 1),
     .text = LITERAL("greylisted"), .retry_until_unix_ms = 1795867200000},
};
static const struct dsn_recipient mixed[] = {
    {USER, ATTEMPT, MX, .reply_code = 550, .reply_status = CODE(5, 1, 1), .text = LITERAL("no")},
    {.address = LITERAL("late@example.net"),
     ATTEMPT,
     .action = DSN_DELAYED,
     .status = CODE(4, 4, 1),
     .text = LITERAL("connect to mx.example.net: timed out")},
    {.address = LITERAL("fine@example.net"),
     ATTEMPT,
     .action = DSN_DELIVERED,
     .remote_mta = LITERAL("mx.example.net"),
     .reply_code = 250,
     .reply_status = CODE(2, 0, 0),
     .text = LITERAL("Ok")},
};
static const struct dsn_recipient delivered[] = {
    {USER, ATTEMPT, MX, .action = DSN_DELIVERED, .reply_code = 250, .reply_status = CODE(2, 0, 0),
     .text = LITERAL("Ok")},
};
static const struct dsn_recipient relayed[] = {
    {USER, ATTEMPT, MX, .action = DSN_RELAYED, .reply_code = 250, .text = LITERAL("Ok")},
};
/* The reply was temporary; our verdict is not. */
static const struct dsn_recipient expired[] = {
    {USER, ATTEMPT, MX, .status = CODE(4, 4, 7), .reply_code = 452, .reply_status = CODE(4, 2, 2),
     .text = LITERAL("mailbox full")},
};
static const struct dsn_recipient null_mx[] = {
    {USER, .status = CODE(5, 1, 10), .text = LITERAL("the domain has a null MX")},
};
static const struct dsn_recipient policy[] = {
    {USER, ATTEMPT, MX, .reply_code = 550, .reply_status = CODE(5, 7, 1),
     .text = LITERAL("listed; see https://bl.example/?q=192.0.2.1")},
};
static const struct dsn_recipient utf8[] = {
    {.address = LITERAL("j\xc3\xbcrgen@example.org"),
     ATTEMPT,
     MX,
     .reply_code = 550,
     .reply_status = CODE(5, 1, 1),
     .text = LITERAL("unbekannter Empf\xc3\xa4nger"),
     .orcpt = {LITERAL("utf-8"), LITERAL("j\xc3\xbcrgen@example.org")}},
};
static const struct dsn_recipient multi_line[] = {
    {USER, ATTEMPT, MX, .reply_code = 554, .reply_status = CODE(5, 6, 0),
     .text = LITERAL("first line\nsecond line\n\nlast line")},
};
/* What a hostile server says cannot become a field, a part or a mark. */
static const struct dsn_recipient hostile[] = {
    {USER, ATTEMPT, .remote_mta = LITERAL("mx.example.org\r\nX-Evil: 1"), .reply_code = 550,
     .text = LITERAL("a\r\n\r\n--=_hidden\r\nX-Evil: 2\r\n.\r\n\x1b[31m<script>\0end")},
};
static const struct dsn_recipient no_enhanced[] = {
    {USER, ATTEMPT, MX, .reply_code = 550},
};
static const struct dsn_recipient literal[] = {
    {.address = LITERAL("user@[192.0.2.1]"),
     ATTEMPT,
     .remote_mta = LITERAL("[192.0.2.1]"),
     .reply_code = 550,
     .reply_status = CODE(5, 1, 1),
     .text = LITERAL("no")},
};

#define ORIGINAL(o) .original = (o), .original_pieces = ARRAY_LEN(o)
#define UTF8_SENDER .to = LITERAL("j\xc3\xbcrgen@example.com"), .utf8 = true
#define RECIPIENTS(r) .recipients = (r), .recipient_count = ARRAY_LEN(r)

static const struct {
    const char *name;
    struct dsn_report r;
} goldens[] = {
    {"utf8-headers", {RECIPIENTS(utf8), ORIGINAL(utf8_original)}},
    {"utf8-sender", {RECIPIENTS(utf8), ORIGINAL(utf8_original), UTF8_SENDER}},
    {"utf8-sender-full", {RECIPIENTS(utf8), ORIGINAL(utf8_original), UTF8_SENDER, .full = true}},
    {"utf8-sender-7bit", {RECIPIENTS(failed), ORIGINAL(plain_original), UTF8_SENDER}},
    {"8bit-full", {RECIPIENTS(failed), ORIGINAL(latin_original), .full = true}},
    {"failed", {RECIPIENTS(failed), ORIGINAL(plain_original), .envid = LITERAL("env 17")}},
    {"failed-full", {RECIPIENTS(failed), ORIGINAL(plain_original), .full = true}},
    {"delayed", {RECIPIENTS(delayed), ORIGINAL(plain_original)}},
    {"mixed", {RECIPIENTS(mixed), ORIGINAL(plain_original)}},
    {"delivered", {RECIPIENTS(delivered), ORIGINAL(plain_original)}},
    {"relayed", {RECIPIENTS(relayed), ORIGINAL(plain_original)}},
    {"expired", {RECIPIENTS(expired), ORIGINAL(plain_original)}},
    {"null-mx", {RECIPIENTS(null_mx), ORIGINAL(plain_original)}},
    {"policy", {RECIPIENTS(policy), ORIGINAL(plain_original)}},
    {"utf8", {RECIPIENTS(utf8), ORIGINAL(utf8_original), .full = true}},
    {"multi-line", {RECIPIENTS(multi_line), ORIGINAL(plain_original)}},
    {"hostile", {RECIPIENTS(hostile), ORIGINAL(plain_original)}},
    {"no-enhanced", {RECIPIENTS(no_enhanced), ORIGINAL(plain_original)}},
    {"ip-literal", {RECIPIENTS(literal), ORIGINAL(plain_original)}},
};

static struct dsn_report
complete(struct dsn_report r)
{
    r.reporting_mta = SLICE("gate.example.com");
    r.from = SLICE("mailer-daemon@example.com");
    if (r.to.n == 0)
        r.to = SLICE("shop@example.com");
    r.message_id = SLICE("report-1@gate.example.com");
    r.gateway_id = SLICE("0190b5c6-0000-7000-8000-000000000011");
    r.date_unix_ms = noon;
    r.arrival_unix_ms = noon - 60000;
    r.boundary = "=_golden";
    return r;
}

static void
write_golden(const char *path, struct slice text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    assert_int_equal(fclose(f), 0);
}

static void
compare_golden(const char *path, struct slice text)
{
    static char mem[1 << 16];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("%s is missing", path);
    size_t n = fread(mem, 1, sizeof(mem), f);
    (void)fclose(f);
    if (!slice_eq(slice_from(mem, n), text))
        fail_msg("%s differs:\n%.*s", path, SLICE_FMT(text));
}

/* SMG-14, DSN-03: what must hold for every report. */
static void
check_shape(struct slice text, bool with_utf8)
{
    size_t line = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        assert_true(c == '\r' || c == '\n' || (c >= 32 && c <= 126) || (with_utf8 && c >= 128));
        if (c == '\n')
            assert_true(i > 0 && text.p[i - 1] == '\r');
        if (c == '\r')
            assert_true(i + 1 < text.n && text.p[i + 1] == '\n');
        line = c == '\n' ? 0 : line + 1;
        assert_true(line <= 999); /* with its CR */
    }
    assert_true(slice_ends_nocase(text, SLICE("--\r\n")));
    size_t mta = slice_find_slice(text, SLICE("\r\nReporting-MTA: dns; gate.example.com\r\n"));
    assert_true(mta < text.n);
    struct slice rest = slice_skip(text, mta + 2);
    assert_true(slice_find_slice(rest, SLICE("\r\nReporting-MTA:")) == rest.n);
    assert_true(slice_find_slice(text, SLICE("\r\nX-Evil")) == text.n);
}

/* DSN-01 */
static void
test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
        char path[128];
        struct buf out;
        struct dsn_report r = complete(goldens[i].r);
        buf_init(&out, OUT_MAX);
        assert_true(dsn_build(&r, &out));
        check_shape(buf_slice(&out), r.utf8);
        (void)snprintf(path, sizeof(path), "tests/unit/relay/wire/golden/%s.eml", goldens[i].name);
        if (getenv("WRITE_GOLDEN") != NULL)
            write_golden(path, buf_slice(&out));
        else
            compare_golden(path, buf_slice(&out));
        buf_fini(&out);
    }
}

static size_t
count(struct slice text, struct slice what)
{
    size_t n = 0;
    for (;;) {
        size_t at = slice_find_slice(text, what);
        if (at == text.n)
            return n;
        n++;
        text = slice_skip(text, at + 1);
    }
}

/* LOP-08: an original that holds our boundary gets another one. */
static void
test_boundary_in_the_original(void **state)
{
    (void)state;
    struct buf out;
    struct dsn_report r =
        complete((struct dsn_report){RECIPIENTS(failed), ORIGINAL(hostile_original)});
    r.full = true;
    buf_init(&out, OUT_MAX);
    assert_true(dsn_build(&r, &out));
    check_shape(buf_slice(&out), r.utf8);
    assert_int_equal(count(buf_slice(&out), SLICE("boundary=\"=_golden\"")), 0);
    assert_int_equal(count(buf_slice(&out), SLICE("--=_golden")), 2);
    assert_int_equal(count(buf_slice(&out), SLICE("--=_report_")), 4);
    /* Its Message-ID is none. */
    assert_int_equal(count(buf_slice(&out), SLICE("In-Reply-To")), 0);
    buf_fini(&out);
}

/* LOP-08: nor does it matter who writes the boundary. */
static void
test_boundary_in_the_reply(void **state)
{
    struct dsn_recipient one = failed[0];
    struct buf out;
    (void)state;
    one.text = SLICE("refused\n--=_golden\nContent-Type: text/html\n\n<b>\n--=_golden--");
    struct dsn_report r = complete((struct dsn_report){ORIGINAL(plain_original)});
    r.recipients = &one;
    r.recipient_count = 1;
    buf_init(&out, OUT_MAX);
    assert_true(dsn_build(&r, &out));
    check_shape(buf_slice(&out), false);
    assert_int_equal(count(buf_slice(&out), SLICE("\r\n--=_golden")), 0);
    assert_int_equal(count(buf_slice(&out), SLICE("\r\n--=_report_")), 4);
    buf_fini(&out);
}

/* LOP-07: what is too large to be returned whole is returned as its header. */
static void
test_large_original(void **state)
{
    char *body = malloc(DSN_RETURN_MAX);
    (void)state;
    assert_non_null(body);
    memset(body, 'x', DSN_RETURN_MAX);
    for (size_t i = 78; i + 1 < DSN_RETURN_MAX; i += 80)
        memcpy(body + i, "\r\n", 2);
    for (unsigned over = 0; over < 2; over++) {
        struct slice head = SLICE("Subject: large\r\n\r\n"), pieces[2];
        struct buf out;
        pieces[0] = head;
        pieces[1] = slice_from(body, DSN_RETURN_MAX - head.n + over);
        struct dsn_report r = complete((struct dsn_report){RECIPIENTS(failed), .full = true});
        r.original = pieces;
        r.original_pieces = 2;
        buf_init(&out, 2 * DSN_RETURN_MAX);
        assert_true(dsn_build(&r, &out));
        assert_int_equal(count(buf_slice(&out), SLICE("Content-Type: message/rfc822")), !over);
        assert_int_equal(count(buf_slice(&out), SLICE("Subject: large")), 1);
        buf_fini(&out);
    }
    free(body);
}

/* DSN-01: 500 recipients; and nothing is left when it does not fit. */
static void
test_many_recipients(void **state)
{
    (void)state;
    struct dsn_recipient many[500];
    struct buf out;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = failed[0];
    struct dsn_report r = complete((struct dsn_report){ORIGINAL(plain_original)});
    r.recipients = many;
    r.recipient_count = ARRAY_LEN(many);
    buf_init(&out, OUT_MAX);
    assert_true(dsn_build(&r, &out));
    check_shape(buf_slice(&out), r.utf8);
    assert_int_equal(count(buf_slice(&out), SLICE("\r\nFinal-Recipient: rfc822; user@")), 500);
    buf_fini(&out);
    for (size_t max = 0; max < 3000; max += 13) {
        buf_init(&out, max);
        assert_false(dsn_build(&r, &out));
        assert_int_equal(buf_slice(&out).n, 0);
        buf_fini(&out);
    }
}

/* DSN-01: a long diagnostic is cut and folded, with and without spaces. */
static void
test_long_diagnostics(void **state)
{
    (void)state;
    char text[4096];
    for (int spaces = 0; spaces < 2; spaces++) {
        struct dsn_recipient one = failed[0];
        struct buf out;
        memset(text, 'x', sizeof(text));
        for (size_t i = 30; spaces && i < sizeof(text); i += 30)
            text[i] = ' ';
        one.text = slice_from(text, sizeof(text));
        struct dsn_report r = complete((struct dsn_report){ORIGINAL(plain_original)});
        r.recipients = &one;
        r.recipient_count = 1;
        buf_init(&out, OUT_MAX);
        assert_true(dsn_build(&r, &out));
        check_shape(buf_slice(&out), r.utf8);
        assert_true(buf_slice(&out).n < 2 * DSN_DIAGNOSTIC_MAX + 3000);
        buf_fini(&out);
    }
}

/* A header section that never ends is cut behind a line. */
static void
test_endless_header(void **state)
{
    (void)state;
    struct buf text, out;
    buf_init(&text, OUT_MAX);
    buf_init(&out, OUT_MAX);
    for (int i = 0; i < 30000; i++)
        assert_true(buf_add_str(&text, "X-Line: 1234567890\r\n"));
    struct slice piece = buf_slice(&text);
    struct dsn_report r = complete((struct dsn_report){RECIPIENTS(failed)});
    r.original = &piece;
    r.original_pieces = 1;
    assert_true(dsn_build(&r, &out));
    check_shape(buf_slice(&out), r.utf8);
    assert_true(buf_slice(&out).n < HEADER_SECTION_MAX + 3000);
    buf_fini(&text);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_boundary_in_the_original),
        cmocka_unit_test(test_many_recipients), cmocka_unit_test(test_long_diagnostics),
        cmocka_unit_test(test_endless_header),  cmocka_unit_test(test_boundary_in_the_reply),
        cmocka_unit_test(test_large_original),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
