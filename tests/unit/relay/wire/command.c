/* relay/wire/command: command lines and the parameters of MAIL and RCPT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/command.h"

#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static struct arena arena;

static int
setup(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void
test_verbs(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum smtp_verb verb;
        const char *arg;
    } cases[] = {
        {"EHLO host", CMD_EHLO, "host"},
        {"helo  host  ", CMD_HELO, "host"},
        {"MAIL FROM:<a@b> SIZE=1", CMD_MAIL, "FROM:<a@b> SIZE=1"},
        {"rcpt to: <a@b>", CMD_RCPT, "to: <a@b>"},
        {"DATA", CMD_DATA, ""},
        {"DATA ", CMD_DATA, ""},
        {"BDAT 5 LAST", CMD_BDAT, "5 LAST"},
        {"RSET", CMD_RSET, ""},
        {"NOOP x y", CMD_NOOP, "x y"},
        {"QUIT", CMD_QUIT, ""},
        {"VRFY \xc3\xbc@x", CMD_VRFY, "\xc3\xbc@x"}, /* CMD-07 */
        {"EXPN l", CMD_EXPN, "l"},
        {"HELP", CMD_HELP, ""},
        {"StartTLS", CMD_STARTTLS, ""},
        {"AUTH PLAIN xyz=", CMD_AUTH, "PLAIN xyz="},
        {"GET / HTTP/1.1", CMD_HTTP, "/ HTTP/1.1"},
        {"POST / HTTP/1.1", CMD_HTTP, "/ HTTP/1.1"},
        {"CONNECT a:25 HTTP/1.1", CMD_HTTP, "a:25 HTTP/1.1"},
        {"", CMD_UNKNOWN, ""},
        {" DATA", CMD_UNKNOWN, "DATA"},
        {"DATAX", CMD_UNKNOWN, ""},
        {"MAILFROM:<a@b>", CMD_UNKNOWN, ""},
        {"\xff", CMD_UNKNOWN, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command c;
        struct reply_text refusal;
        assert_int_equal(command_parse(slice_str(cases[i].line), &c, &refusal), PARSE_OK);
        if (c.verb != cases[i].verb || !slice_eq(c.arg, slice_str(cases[i].arg)))
            fail_msg("'%s': %d '%.*s'", cases[i].line, (int)c.verb, SLICE_FMT(c.arg));
    }
    for (int v = CMD_UNKNOWN + 1; v < CMD_COUNT; v++)
        assert_string_not_equal(command_verb_name((enum smtp_verb)v), "?");
}

/* SMG-15, CMD-10: a line with a control character is not executed. */
static void
test_control_characters(void **state)
{
    (void)state;
    static const struct slice cases[] = {
        LITERAL("EHLO x\nMAIL FROM:<a@b>"),
        LITERAL("EHLO x\r"),
        LITERAL("QUIT\0"),
        LITERAL("NOOP\tx"),
        LITERAL("NOOP \x1b[2J"),
        LITERAL("NOOP \x7f"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command c;
        struct reply_text refusal;
        assert_int_equal(command_parse(cases[i], &c, &refusal), PARSE_BAD);
        assert_int_equal(refusal.code, 500);
        assert_string_equal(refusal.enhanced, "5.5.2");
    }
}

static void
test_mail(void **state)
{
    (void)state;
    struct mail_args m;
    struct reply_text refusal;
    assert_int_equal(command_parse_mail(SLICE("FROM:<a@b> SIZE=1000 BODY=8BITMIME SMTPUTF8 "
                                              "RET=HDRS ENVID=a+2Bb+3D AUTH=a+40b"),
                                        &arena, &m, &refusal),
                     PARSE_OK);
    assert_int_equal(m.path.kind, PATH_MAILBOX);
    assert_int_equal(m.size_bytes, 1000);
    assert_int_equal(m.body, BODY_8BITMIME);
    assert_int_equal(m.ret, RET_HDRS);
    assert_true(m.smtputf8);
    assert_true(m.has_envid && slice_eq(m.envid, SLICE("a+b=")));
    assert_int_equal(
        command_parse_mail(SLICE("from:  <>  body=7bit   ret=full"), &arena, &m, &refusal),
        PARSE_OK);
    assert_int_equal(m.path.kind, PATH_NULL);
    assert_int_equal(m.body, BODY_7BIT);
    assert_int_equal(m.ret, RET_FULL);
    assert_false(m.has_envid || m.smtputf8);
    assert_int_equal(command_parse_mail(SLICE("FROM:<a@b> AUTH=<>"), &arena, &m, &refusal),
                     PARSE_OK);
    assert_int_equal(
        command_parse_mail(SLICE("FROM:<a@b> SIZE=99999999999999999999"), &arena, &m, &refusal),
        PARSE_OK);
    assert_true(m.size_bytes == UINT64_MAX);
    assert_int_equal(command_parse_mail(SLICE("FROM:<\xc3\xbc@b> SMTPUTF8"), &arena, &m, &refusal),
                     PARSE_OK);
    assert_true(m.path.mailbox.utf8);
}

/* CMD-07, CMD-08, CMD-09, ADR-01 */
static void
test_refused_mail(void **state)
{
    (void)state;
    static const struct {
        struct slice arg;
        unsigned code;
        const char *enhanced;
    } cases[] = {
        {LITERAL(""), 501, "5.5.4"},
        {LITERAL("FROM"), 501, "5.5.4"},
        {LITERAL("FROM:"), 501, "5.5.4"},
        {LITERAL("FROM:a@b"), 501, "5.5.4"},
        {LITERAL("TO:<a@b>"), 501, "5.5.4"},
        {LITERAL("FROM :<a@b>"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b>SIZE=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b>\tSIZE=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE="), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=abc"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=-1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=1=2"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=999999999999999999999"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=1 SIZE=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SIZE=1 size=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> BODY=FOO"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> BODY"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> SMTPUTF8=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> RET=ALL"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID="), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID=a+00"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID=a+0A"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID=a+"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID=a+G0"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> ENVID=a+2b"), 501, "5.5.4"}, /* hex digits are upper case */
        {LITERAL("FROM:<a@b> AUTH=a+0Ab"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> AUTH"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> -X=1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> =1"), 501, "5.5.4"},
        {LITERAL("FROM:<a@b> FOO=1"), 555, "5.5.4"},
        {LITERAL("FROM:<a@b> NOTIFY=NEVER"), 555, "5.5.4"},
        {LITERAL("FROM:<a@b> junk"), 555, "5.5.4"},
        {LITERAL("FROM:<a@b> X=\xff"), 501, "5.5.4"},
        {LITERAL("FROM:<user>"), 553, "5.1.7"},
        {LITERAL("FROM:<user@remote.>"), 553, "5.1.8"},
        {LITERAL("FROM:<a b@c>"), 501, "5.1.7"},
        {LITERAL("FROM:<postmaster>"), 553, "5.1.7"},
        {LITERAL("FROM:<\xc3\xbc@b>"), 553, "5.6.7"},
        {LITERAL("FROM:<a@\xc3\xbc.example>"), 553, "5.6.7"},
        {LITERAL("FROM:<\xff@b> SMTPUTF8"), 501, "5.1.7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mail_args m = {.size_bytes = 77};
        struct reply_text refusal = {0};
        if (command_parse_mail(cases[i].arg, &arena, &m, &refusal) != PARSE_BAD)
            fail_msg("'%.*s' taken", SLICE_FMT(cases[i].arg));
        if (refusal.code != cases[i].code)
            fail_msg("'%.*s': %u %s", SLICE_FMT(cases[i].arg), refusal.code, refusal.text);
        assert_string_equal(refusal.enhanced, cases[i].enhanced);
        assert_non_null(refusal.text);
        assert_int_equal(m.size_bytes, 77);
    }
}

static void
test_long_envid(void **state)
{
    (void)state;
    char arg[200] = "FROM:<a@b> ENVID=";
    size_t at = strlen(arg);
    struct mail_args m;
    struct reply_text refusal;
    memset(arg + at, 'e', ENVID_MAX + 1);
    assert_int_equal(command_parse_mail(slice_from(arg, at + ENVID_MAX), &arena, &m, &refusal),
                     PARSE_OK);
    assert_int_equal(command_parse_mail(slice_from(arg, at + ENVID_MAX + 1), &arena, &m, &refusal),
                     PARSE_BAD);
}

static void
test_rcpt(void **state)
{
    (void)state;
    struct rcpt_args r;
    struct reply_text refusal;
    assert_int_equal(
        command_parse_rcpt(SLICE("TO:<a@b> NOTIFY=SUCCESS,failure ORCPT=rfc822;a+2Bb@c"), false,
                           &arena, &r, &refusal),
        PARSE_OK);
    assert_int_equal(r.notify, NOTIFY_GIVEN | NOTIFY_SUCCESS | NOTIFY_FAILURE);
    assert_true(slice_eq(r.orcpt.type, SLICE("rfc822")));
    assert_true(slice_eq(r.orcpt.address, SLICE("a+b@c")));
    assert_int_equal(
        command_parse_rcpt(SLICE("TO:<a@b> NOTIFY=NEVER"), false, &arena, &r, &refusal), PARSE_OK);
    assert_int_equal(r.notify, NOTIFY_GIVEN | NOTIFY_NEVER);
    assert_int_equal(r.orcpt.type.n, 0);
    assert_int_equal(
        command_parse_rcpt(SLICE("TO: <Postmaster> NOTIFY=DELAY"), false, &arena, &r, &refusal),
        PARSE_OK);
    assert_int_equal(r.path.kind, PATH_POSTMASTER);
    assert_int_equal(command_parse_rcpt(SLICE("TO:<@x:a@b>"), false, &arena, &r, &refusal),
                     PARSE_OK);
    assert_true(r.path.source_route && slice_eq(r.path.mailbox.domain, SLICE("b")));
    assert_int_equal(command_parse_rcpt(SLICE("TO:<\xc3\xbc@b> ORCPT=utf-8;\xc3\xbc@b"), true,
                                        &arena, &r, &refusal),
                     PARSE_OK);
}

/* CMD-09, ADR-01 */
static void
test_refused_rcpt(void **state)
{
    (void)state;
    static const struct {
        struct slice arg;
        unsigned code;
        const char *enhanced;
    } cases[] = {
        {LITERAL("FROM:<a@b>"), 501, "5.5.4"},
        {LITERAL("TO:<>"), 501, "5.1.3"},
        {LITERAL("TO:<user>"), 553, "5.1.3"},
        {LITERAL("TO:<user@>"), 553, "5.1.3"},
        {LITERAL("TO:<a@b..c>"), 553, "5.1.2"},
        {LITERAL("TO:<a@b> NOTIFY=NEVER,FAILURE"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> NOTIFY="), 501, "5.5.4"},
        {LITERAL("TO:<a@b> NOTIFY=FAILURE,"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> NOTIFY=,FAILURE"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> NOTIFY=SOMETIMES"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> NOTIFY=NEVER NOTIFY=DELAY"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=rfc822"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=rfc822;"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=;a"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=rfc822;a+00"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=rfc822;a+0D+0A"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=utf-8;\xc3\xbc@b"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> ORCPT=rfc822;\xc3\xbc"), 501, "5.5.4"},
        {LITERAL("TO:<a@b> SIZE=1"), 555, "5.5.4"},
        {LITERAL("TO:<\xc3\xbc@b>"), 553, "5.6.7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rcpt_args r = {.notify = 77};
        struct reply_text refusal = {0};
        if (command_parse_rcpt(cases[i].arg, false, &arena, &r, &refusal) != PARSE_BAD)
            fail_msg("'%.*s' taken", SLICE_FMT(cases[i].arg));
        if (refusal.code != cases[i].code)
            fail_msg("'%.*s': %u %s", SLICE_FMT(cases[i].arg), refusal.code, refusal.text);
        assert_string_equal(refusal.enhanced, cases[i].enhanced);
        assert_int_equal(r.notify, 77);
    }
}

static void
test_budget_is_a_452(void **state)
{
    (void)state;
    struct arena none;
    struct rcpt_args r;
    struct reply_text refusal;
    arena_init(&none, 0);
    assert_int_equal(command_parse_rcpt(SLICE("TO:<\"a\\\"b\"@d>"), false, &none, &r, &refusal),
                     PARSE_BAD);
    assert_int_equal(refusal.code, 452);
    arena_fini(&none);
}

/* CMD-10 */
/* CMD-05. */
static void
test_bdat(void **state)
{
    (void)state;
    static const struct {
        const char *arg;
        uint64_t octets;
        bool last;
    } good[] = {
        {"0", 0, false},
        {"0 LAST", 0, true},
        {"86 last", 86, true},
        {"5   LAST", 5, true},
        {"0000000000000000000000000000086", 86, false},
        {"18446744073709551614", UINT64_MAX - 1, false},
        {"18446744073709551615", UINT64_MAX, false},
        {"18446744073709551616 LAST", UINT64_MAX, true},
        {"99999999999999999999999999999999999999", UINT64_MAX, false},
    };
    static const char *const bad[] = {
        "",    "LAST",     "-1",      "+1",  "0x10",        "5,LAST",        "5LAST",
        "1e3", "5 LAST x", "5 LASTX", "5 5", "5 LAST LAST", "5\xc2\xa0LAST", "1.0"};
    struct bdat_args args;
    struct reply_text refusal;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(command_parse_bdat(slice_str(good[i].arg), &args, &refusal), PARSE_OK);
        assert_int_equal(args.octets, good[i].octets);
        assert_int_equal(args.last, good[i].last);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(command_parse_bdat(slice_str(bad[i]), &args, &refusal), PARSE_BAD);
        assert_int_equal(refusal.code, 501);
    }
}

static void
test_helo(void **state)
{
    (void)state;
    static const char *const good[] = {"host.example.org", "my_laptop", "[127.0.0.1]",
                                       "[IPv6:::1]",       "localhost", "10.0.0.1"};
    static const struct slice bad[] = {
        LITERAL(""),
        LITERAL("a b"),
        LITERAL("[999.1.1.1]"),
        LITERAL("[x]"),
        LITERAL("-x"),
        LITERAL(".x"),
        LITERAL("a\0b"),
        LITERAL("a\rb"),
        LITERAL("b\xc3\xbc"
                "cher"),
        LITERAL("<script>"),
        LITERAL("a(b)"),
        LITERAL("a;b"),
        LITERAL("{17}"),
    };
    struct slice name;
    struct reply_text refusal;
    char longer[1000];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(command_parse_helo(slice_str(good[i]), &name, &refusal), PARSE_OK);
        assert_true(slice_eq(name, slice_str(good[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(command_parse_helo(bad[i], &name, &refusal), PARSE_BAD);
        assert_int_equal(refusal.code, 501);
    }
    memset(longer, 'x', sizeof(longer));
    assert_int_equal(command_parse_helo(slice_from(longer, 1000), &name, &refusal), PARSE_BAD);
    assert_int_equal(command_parse_helo(slice_from(longer, 253), &name, &refusal), PARSE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test_setup_teardown(test_mail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_mail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_envid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rcpt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_rcpt, setup, teardown),
        cmocka_unit_test(test_budget_is_a_452),
        cmocka_unit_test(test_bdat),
        cmocka_unit_test(test_helo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
