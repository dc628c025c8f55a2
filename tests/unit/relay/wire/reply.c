/* relay/wire/reply: replies read and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/reply.h"

/* SLICE() for static tables. */
#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static void
test_replies(void **state)
{
    (void)state;
    static const struct {
        struct slice wire;
        unsigned code, lines;
        const char *enhanced, *text;
    } cases[] = {
        {LITERAL("250 2.1.0 Ok\r\n"), 250, 1, "2.1.0", "Ok"},
        {LITERAL("250 Ok\r\n"), 250, 1, "", "Ok"},
        {LITERAL("250-a\r\n250-b\r\n250 c\r\n"), 250, 3, "", "a\nb\nc"},
        {LITERAL("550-5.1.1 no such\r\n550 5.1.1 user\r\n"), 550, 2, "5.1.1", "no such\nuser"},
        /* MXR-02: no text, on any line */
        {LITERAL("421\r\n"), 421, 1, "", ""},
        {LITERAL("421 \r\n"), 421, 1, "", ""},
        {LITERAL("250-\r\n250\r\n"), 250, 2, "", "\n"},
        {LITERAL("250-2.0.0\r\n250 2.0.0\r\n"), 250, 2, "2.0.0", "\n"},
        /* MXR-03: what could hurt a reader is replaced */
        {LITERAL("550 a\0b\x1b[31mc\rd\ne\t\xff\r\n"), 550, 1, "", "a?b?[31mc?d?e ?"},
        {LITERAL("550 gr\xc3\xbc\xc3\x9f \xc2\x9b\r\n"), 550, 1, "", "gr\xc3\xbc\xc3\x9f ??"},
        {LITERAL("550 x\n.\ny\r\n"), 550, 1, "", "x?.?y"},
        /* MXR-15: a code of another class is no code */
        {LITERAL("450 5.1.1 later\r\n"), 450, 1, "", "later"},
        {LITERAL("550 2.0.0 odd\r\n"), 550, 1, "", "odd"},
        {LITERAL("550 9.1.1 odd\r\n"), 550, 1, "", "9.1.1 odd"},
        {LITERAL("550 5.1 odd\r\n"), 550, 1, "", "5.1 odd"},
        {LITERAL("550 5.1111.1 x\r\n"), 550, 1, "", "5.1111.1 x"},
        {LITERAL("550 5.01.1 x\r\n"), 550, 1, "", "5.01.1 x"},
        {LITERAL("550 5.1.1: x\r\n"), 550, 1, "", "5.1.1: x"},
        {LITERAL("550-x\r\n550 5.7.1 y\r\n"), 550, 2, "5.7.1", "x\ny"},
        {LITERAL("354 go\r\n"), 354, 1, "", "go"},
        {LITERAL("599 x\r\n"), 599, 1, "", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        /* Every prefix wants more, and more behind it is left alone. */
        for (size_t n = 0; n <= cases[i].wire.n; n++) {
            struct slice in = slice_from(cases[i].wire.p, n);
            struct reply r;
            struct buf text;
            char enhanced[ENHANCED_TEXT_BYTES + 1];
            buf_init(&text, REPLY_BYTES_MAX);
            enum parse verdict = reply_cut(&in, &text, &r);
            if (n < cases[i].wire.n) {
                if (verdict != PARSE_MORE)
                    fail_msg("case %zu, prefix %zu: %d", i, n, (int)verdict);
                assert_int_equal(in.n, n);
                assert_int_equal(buf_slice(&text).n, 0);
                buf_fini(&text);
                continue;
            }
            assert_int_equal(verdict, PARSE_OK);
            assert_int_equal(in.n, 0);
            assert_int_equal(r.code, cases[i].code);
            assert_int_equal(r.lines, cases[i].lines);
            enhanced_format(r.enhanced, enhanced);
            assert_string_equal(enhanced, cases[i].enhanced);
            if (!slice_eq(r.text, slice_str(cases[i].text)))
                fail_msg("case %zu: '%.*s'", i, SLICE_FMT(r.text));
            buf_fini(&text);
        }
    }
}

/* MXR-01, MXR-15 */
static void
test_not_replies(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "2200 x\r\n",         "bogus\r\n",           "\r\n",       "25\r\n",
        "600 x\r\n",          "999 x\r\n",           "199 x\r\n",  "250x\r\n",
        "250-a\r\n251 b\r\n", "250-a\r\n550 b\r\n",  " 250 a\r\n", "2a0 x\r\n",
        "250-a\r\nbogus\r\n", "250\rx\r\n",          "-1",         "x",
        "250-a\r\n.",         "SSH-2.0-OpenSSH\r\n", "250\tx\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i]), before = in;
        struct reply r = {.code = 1};
        struct buf text;
        buf_init(&text, REPLY_BYTES_MAX);
        if (reply_cut(&in, &text, &r) != PARSE_BAD)
            fail_msg("'%s' taken", cases[i]);
        assert_true(slice_eq(in, before));
        assert_int_equal(r.code, 1);
        assert_int_equal(buf_slice(&text).n, 0);
        buf_fini(&text);
    }
}

static enum parse
cut_repeated(const char *line, size_t times, const char *last, size_t *kept)
{
    struct buf wire, text;
    struct reply r;
    buf_init(&wire, 16 << 20);
    buf_init(&text, REPLY_BYTES_MAX);
    for (size_t i = 0; i < times; i++)
        assert_true(buf_add_str(&wire, line));
    assert_true(buf_add_str(&wire, last));
    struct slice in = buf_slice(&wire);
    enum parse verdict = reply_cut(&in, &text, &r);
    *kept = buf_slice(&text).n;
    buf_fini(&wire);
    buf_fini(&text);
    return verdict;
}

/* MXR-01, MXR-02: nothing endless is read to its end. */
static void
test_reply_limits(void **state)
{
    (void)state;
    size_t kept;
    assert_int_equal(cut_repeated("250-x\r\n", REPLY_LINES_MAX - 1, "250 x\r\n", &kept), PARSE_OK);
    assert_int_equal(cut_repeated("250-x\r\n", REPLY_LINES_MAX, "250 x\r\n", &kept), PARSE_BAD);
    assert_int_equal(cut_repeated("250-x\r\n", REPLY_LINES_MAX, "", &kept), PARSE_BAD);
    assert_int_equal(cut_repeated("250 xxxx", REPLY_LINE_MAX / 8 - 1, "", &kept), PARSE_MORE);
    assert_int_equal(cut_repeated("250 xxxx", REPLY_LINE_MAX / 8, "", &kept), PARSE_BAD);
    assert_int_equal(cut_repeated("250 xxxx", REPLY_LINE_MAX / 8, "\r\n", &kept), PARSE_BAD);
    assert_int_equal(cut_repeated("250 xxxx", 1000, "\r\n", &kept), PARSE_OK);
    assert_int_equal(kept, REPLY_LINE_KEPT_MAX);
}

static void
test_only_one_reply_is_cut(void **state)
{
    (void)state;
    struct slice in = SLICE("250 a\r\n550 b\r\n25");
    struct reply first, second, third;
    struct buf text;
    buf_init(&text, REPLY_BYTES_MAX);
    assert_int_equal(reply_cut(&in, &text, &first), PARSE_OK);
    assert_int_equal(reply_cut(&in, &text, &second), PARSE_OK);
    assert_int_equal(first.code, 250);
    assert_int_equal(second.code, 550);
    assert_true(slice_eq(second.text, SLICE("b")));
    assert_int_equal(reply_cut(&in, &text, &third), PARSE_MORE);
    assert_int_equal(in.n, 2);
    buf_fini(&text);
}

static void
test_text_that_does_not_fit_is_left_out(void **state)
{
    (void)state;
    struct slice in = SLICE("250-abc\r\n250 defghijk\r\n");
    struct reply r;
    struct buf text;
    buf_init(&text, 5);
    assert_int_equal(reply_cut(&in, &text, &r), PARSE_OK);
    assert_int_equal(r.code, 250);
    assert_int_equal(r.lines, 2);
    assert_true(slice_starts(r.text, SLICE("abc")));
    buf_fini(&text);
}

static void
test_enhanced(void **state)
{
    (void)state;
    struct enhanced e;
    char text[ENHANCED_TEXT_BYTES + 1];
    assert_true(enhanced_parse(SLICE("5.7.509"), &e));
    enhanced_format(e, text);
    assert_string_equal(text, "5.7.509");
    static const char *const bad[] = {"",      "5",      "5.1",      "5.1.",
                                      "3.1.1", "5.1.1 ", "5.1.1000", "a.b.c"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(enhanced_parse(slice_str(bad[i]), &e));
    enhanced_format(enhanced_derive(550), text);
    assert_string_equal(text, "5.0.0");
    enhanced_format(enhanced_derive(421), text);
    assert_string_equal(text, "4.0.0");
    enhanced_format(enhanced_derive(354), text);
    assert_string_equal(text, "");
    enhanced_format(enhanced_derive(0), text);
    assert_string_equal(text, "");
}

/* CMD-12 */
static void
test_written_replies(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_true(reply_add(&out, &(struct reply_text){250, "2.0.0", "Ok"}));
    assert_true(slice_eq(buf_slice(&out), SLICE("250 2.0.0 Ok\r\n")));
    buf_clear(&out);
    assert_true(reply_addf(&out, 250, NULL, "%s\nSIZE %d\nHELP", "host", 5));
    assert_true(slice_eq(buf_slice(&out), SLICE("250-host\r\n250-SIZE 5\r\n250 HELP\r\n")));
    buf_clear(&out);
    assert_true(reply_addf(&out, 550, "5.1.1", "a\rb\x1b\xc3\xbc\nc"));
    assert_true(slice_eq(buf_slice(&out), SLICE("550-5.1.1 a?b???\r\n550 5.1.1 c\r\n")));
    buf_clear(&out);
    assert_true(reply_add(&out, &(struct reply_text){221, NULL, NULL}));
    assert_true(slice_eq(buf_slice(&out), SLICE("221 \r\n")));
    buf_clear(&out);
    char longer[1000];
    memset(longer, 'x', sizeof(longer));
    assert_true(reply_addf(&out, 250, "2.0.0", "%.*s", (int)sizeof(longer), longer));
    assert_int_equal(buf_slice(&out).n, REPLY_WRITTEN_LINE_MAX);
    buf_fini(&out);
    buf_init(&out, 20);
    assert_false(reply_addf(&out, 250, "2.0.0", "one\ntwo"));
    assert_int_equal(buf_slice(&out).n, 0);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_not_replies),
        cmocka_unit_test(test_reply_limits),
        cmocka_unit_test(test_only_one_reply_is_cut),
        cmocka_unit_test(test_text_that_does_not_fit_is_left_out),
        cmocka_unit_test(test_enhanced),
        cmocka_unit_test(test_written_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
