/* relay/wire/header: scanning and checking a header section. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/header.h"

#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static void
test_sections(void **state)
{
    (void)state;
    static const struct {
        const char *message, *section, *body;
    } cases[] = {
        {"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n", "A: 1\r\nB: 2\r\n", "body\r\n\r\n"},
        {"\r\nbody", "", "body"}, /* SMG-12 */
        {"A: 1\r\n", "A: 1\r\n", ""},
        {"A: 1\r\n\r\n", "A: 1\r\n", ""},
        {"", "", ""},
        {"A: 1\r\n \r\n\r\nbody", "A: 1\r\n \r\n", "body"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice message = slice_str(cases[i].message);
        size_t body_at;
        assert_true(slice_eq(header_section(message, &body_at), slice_str(cases[i].section)));
        assert_true(slice_eq(slice_skip(message, body_at), slice_str(cases[i].body)));
    }
}

static void
test_fields(void **state)
{
    (void)state;
    struct slice s = SLICE("Subject: one\r\n\ttwo\r\n three\r\nX:\r\nTo:a@b");
    struct header_field f;
    struct buf out;
    buf_init(&out, 100);
    assert_int_equal(header_cut(&s, &f), PARSE_OK);
    assert_true(slice_eq(f.name, SLICE("Subject")));
    assert_true(slice_eq(f.value, SLICE(" one\r\n\ttwo\r\n three")));
    assert_true(slice_eq(f.raw, SLICE("Subject: one\r\n\ttwo\r\n three\r\n")));
    assert_true(header_unfold(f.value, &out));
    assert_true(slice_eq(buf_slice(&out), SLICE("one\ttwo three")));
    assert_int_equal(header_cut(&s, &f), PARSE_OK);
    assert_true(slice_eq(f.name, SLICE("X")) && f.value.n == 0);
    assert_int_equal(header_cut(&s, &f), PARSE_OK);
    assert_true(slice_eq(f.name, SLICE("To")) && slice_eq(f.value, SLICE("a@b")));
    assert_int_equal(header_cut(&s, &f), PARSE_MORE);
    s = SLICE("no colon\r\n");
    assert_int_equal(header_cut(&s, &f), PARSE_BAD);
    assert_int_equal(s.n, 10);
    assert_true(header_find(SLICE("A: 1\r\nb: 2\r\nB: 3\r\n"), SLICE("B"), &f));
    assert_true(slice_eq(f.value, SLICE(" 2")));
    assert_false(header_find(SLICE("A: 1\r\n"), SLICE("B"), &f));
    assert_false(header_find(SLICE("A: 1\r\nbad\r\nB: 2\r\n"), SLICE("B"), &f));
    buf_fini(&out);
    buf_init(&out, 5);
    assert_false(header_unfold(SLICE(" one\r\n two"), &out));
    assert_int_equal(buf_slice(&out).n, 0);
    buf_fini(&out);
}

/* SMG-17, SMG-19, SMG-21, SMG-22 */
static void
test_faults(void **state)
{
    (void)state;
    static const struct {
        struct slice message;
        bool smtputf8;
        enum header_fault fault;
    } cases[] = {
        {LITERAL("From: a@b\r\nSubject: x\r\n\r\nbody: no\r\nbody\r\n"), false, HEADER_FINE},
        {LITERAL("\r\nno header\r\n"), false, HEADER_FINE},
        {LITERAL("Subject:\r\n\r\n"), false, HEADER_FINE},
        {LITERAL("Subject: \r\n x\r\n\r\n"), false, HEADER_FINE},
        {LITERAL("From x\r\n\r\n"), false, HEADER_FROM_LINE},
        {LITERAL("From x@y Mon Nov 23 12:00:00 2026\r\nSubject: x\r\n\r\n"), false,
         HEADER_FROM_LINE},
        {LITERAL(">From x\r\n\r\n"), false, HEADER_FROM_LINE},
        {LITERAL("no colon\r\n\r\n"), false, HEADER_NO_COLON},
        {LITERAL("A: b\r\nno colon\r\n\r\n"), false, HEADER_NO_COLON},
        {LITERAL("word\r\n fold: x\r\n\r\n"), false, HEADER_NO_COLON},
        {LITERAL("From : a@b\r\n\r\n"), false, HEADER_SPACE_BEFORE_COLON},
        {LITERAL("From\t: a@b\r\n\r\n"), false, HEADER_SPACE_BEFORE_COLON},
        {LITERAL("From \r\n : a@b\r\n\r\n"), false, HEADER_NO_COLON},
        {LITERAL(" Subject: x\r\n\r\n"), false, HEADER_LEADING_SPACE},
        {LITERAL("\tx\r\n\r\n"), false, HEADER_LEADING_SPACE},
        {LITERAL(": x\r\n\r\n"), false, HEADER_BAD_NAME},
        {LITERAL("A b: x\r\n\r\n"), false, HEADER_BAD_NAME},
        {LITERAL("A\xc3\xbc: x\r\n\r\n"), true, HEADER_BAD_NAME},
        {LITERAL("A: x\r\n \r\nB: y\r\n\r\n"), false, HEADER_BLANK_FOLD},
        {LITERAL("A: x\r\n\t \r\n\r\n"), false, HEADER_BLANK_FOLD},
        {LITERAL("A: x\0y\r\n\r\n"), false, HEADER_BAD_OCTET},
        {LITERAL("A: x\ny\r\n\r\n"), false, HEADER_BAD_OCTET},
        {LITERAL("A: x\ry\r\n\r\n"), false, HEADER_BAD_OCTET},
        {LITERAL("A: x\n\nbody\r\n\r\n"), false, HEADER_BAD_OCTET},
        {LITERAL("A: \x1b\r\n\r\n"), false, HEADER_BAD_OCTET},
        {LITERAL("A: x\ty\r\n\r\n"), false, HEADER_FINE},
        {LITERAL("A: \xc3\xbc\r\n\r\n"), false, HEADER_EIGHT_BIT},
        {LITERAL("A: \xc3\xbc\r\n\r\n"), true, HEADER_FINE},
        {LITERAL("A: \xff\r\n\r\n"), true, HEADER_BAD_UTF8},
        {LITERAL("A: x\r\n\r\n\xc3\xbc"), false, HEADER_FINE},
        {LITERAL("From: a@b\r\nfrom: c@d\r\n\r\n"), false, HEADER_DUPLICATE},
        {LITERAL("X: 1\r\nX: 1\r\nReceived: a\r\nReceived: b\r\n\r\n"), false, HEADER_FINE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct header_facts facts = {.fields = 77};
        enum header_fault fault = header_check(cases[i].message, cases[i].smtputf8, &facts);
        if (fault != cases[i].fault)
            fail_msg("'%.*s': %d, not %d", SLICE_FMT(cases[i].message), (int)fault,
                     (int)cases[i].fault);
        if (fault != HEADER_FINE)
            assert_int_equal(facts.fields, 77);
    }
}

/* SMG-21 */
static void
test_duplicates(void **state)
{
    (void)state;
    static const char *const once[] = {
        "From",         "Sender",
        "Reply-To",     "To",
        "Cc",           "Bcc",
        "Date",         "Message-ID",
        "In-Reply-To",  "References",
        "Subject",      "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    };
    assert_int_equal(ARRAY_LEN(once), HEADER_KNOWN_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(once); i++) {
        struct header_facts facts;
        struct buf m;
        buf_init(&m, 200);
        assert_true(buf_addf(&m, "%s: 1\r\nX: y\r\n", once[i]));
        assert_int_equal(header_check(buf_slice(&m), false, &facts), HEADER_FINE);
        assert_true(slice_eq(facts.known[i].name, slice_str(once[i])));
        assert_true(buf_addf(&m, "%s: 1\r\n\r\n", once[i]));
        assert_int_equal(header_check(buf_slice(&m), false, &facts), HEADER_DUPLICATE);
        buf_fini(&m);
    }
}

static enum header_fault
check_repeated(const char *line, size_t times, const char *last)
{
    struct header_facts facts;
    struct buf m;
    buf_init(&m, 4 << 20);
    for (size_t i = 0; i < times; i++)
        assert_true(buf_add_str(&m, line));
    assert_true(buf_add_str(&m, last) && buf_add_str(&m, "\r\n"));
    enum header_fault fault = header_check(buf_slice(&m), false, &facts);
    buf_fini(&m);
    return fault;
}

/* SMG-18, SMG-21, LOP-01 */
static void
test_limits(void **state)
{
    (void)state;
    char line[1100], name[100];
    assert_int_equal(check_repeated("X: y\r\n", HEADER_FIELDS_MAX, ""), HEADER_FINE);
    assert_int_equal(check_repeated("X: y\r\n", HEADER_FIELDS_MAX + 1, ""), HEADER_TOO_MANY_FIELDS);
    assert_int_equal(check_repeated("Received: y\r\n", RECEIVED_FIELDS_MAX, ""), HEADER_FINE);
    assert_int_equal(check_repeated("Received: y\r\n", RECEIVED_FIELDS_MAX + 1, ""), HEADER_LOOP);
    struct buf m;
    struct header_facts facts;
    buf_init(&m, 4 << 20);
    assert_true(buf_add_str(&m, "X: 567\r\n"));
    while (buf_slice(&m).n + 10 <= HEADER_FIELD_MAX)
        assert_true(buf_add_str(&m, " 2345678\r\n"));
    assert_int_equal(header_check(buf_slice(&m), false, &facts), HEADER_FINE);
    assert_true(buf_add_str(&m, " 2345678\r\n"));
    assert_int_equal(header_check(buf_slice(&m), false, &facts), HEADER_FIELD_TOO_LONG);
    buf_fini(&m);
    assert_int_equal(check_repeated("X: 5678\r\n", HEADER_SECTION_MAX / 9 + 1, ""),
                     HEADER_SECTION_TOO_LONG);
    memset(line, 'x', sizeof(line));
    memcpy(line, "X: ", 3);
    memcpy(line + 998, "\r\n", 3);
    assert_int_equal(check_repeated(line, 1, ""), HEADER_FINE);
    memset(line + 998, 'x', 1);
    memcpy(line + 999, "\r\n", 3);
    assert_int_equal(check_repeated(line, 1, ""), HEADER_LINE_TOO_LONG);
    memset(name, 'n', sizeof(name));
    memcpy(name + HEADER_NAME_MAX, ": \r\n", 5);
    assert_int_equal(check_repeated(name, 1, ""), HEADER_FINE);
    memset(name, 'n', sizeof(name));
    memcpy(name + HEADER_NAME_MAX + 1, ": \r\n", 5);
    assert_int_equal(check_repeated(name, 1, ""), HEADER_NAME_TOO_LONG);
}

static void
test_facts(void **state)
{
    (void)state;
    struct header_facts f;
    struct slice m =
        SLICE("Received: a\r\nReceived: b\r\nFROM: a@b\r\nSubject: \xc3\xbc\r\n\r\nbody");
    assert_int_equal(header_check(m, true, &f), HEADER_FINE);
    assert_int_equal(f.fields, 4);
    assert_int_equal(f.received, 2);
    assert_true(f.eight_bit);
    assert_true(slice_eq(f.known[HEADER_FROM].value, SLICE(" a@b")));
    assert_int_equal(f.known[HEADER_DATE].raw.n, 0);
    assert_true(slice_eq(slice_skip(m, f.body_at), SLICE("body")));
}

static void
test_replies(void **state)
{
    (void)state;
    for (int i = HEADER_FINE + 1; i < HEADER_FAULT_COUNT; i++) {
        struct reply_text r = header_fault_reply((enum header_fault)i);
        assert_true(r.code >= 550 && r.code <= 554);
        assert_int_equal(r.enhanced[0], '5');
        assert_non_null(r.text);
    }
    assert_string_equal(header_fault_reply(HEADER_LOOP).enhanced, "5.4.6");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections), cmocka_unit_test(test_fields),
        cmocka_unit_test(test_faults),   cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_facts),
        cmocka_unit_test(test_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
