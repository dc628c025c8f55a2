/* What libopendkim would sign wrongly is refused (dkim/guard.h). */
#include "dkim/guard.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"

static int
lines_in_two(struct slice text, size_t cut, struct err *err)
{
    struct guard_lines g = {0};
    if (guard_lines_feed(&g, slice_from(text.p, cut), err) != 0 ||
        guard_lines_feed(&g, slice_skip(text, cut), err) != 0)
        return -1;
    return guard_lines_end(&g, err);
}

static void
lines_are_judged_alike_wherever_cut(void **state)
{
    (void)state;
    const struct {
        struct slice text;
        const char *why; /* NULL: fine */
    } cases[] = {
        {SLICE("a\r\n\r\nb\r\n"), NULL},
        {SLICE(""), NULL},
        {SLICE("a\rb\r\n"), "bare CR"},
        {SLICE("a\r\r\n"), "bare CR"},
        {SLICE("a\nb\r\n"), "bare LF"},
        {SLICE("\n"), "bare LF"},
        {SLICE("a\r\n\n"), "bare LF"},
        {SLICE("a\0b\r\n"), "NUL byte"},
        {SLICE("a line of text\nand a NUL\0\r\n"), "bare LF"}, /* the first of several */
        {SLICE("first\r\nsecond\0\nthird\r\n"), "NUL byte"},
        {SLICE("first\r\nsecond\rthird\n"), "bare CR"},
        {SLICE("a"), "message does not end in CRLF"},
        {SLICE("a\r"), "message does not end in CRLF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t cut = 0; cut <= cases[i].text.n; cut++) {
            struct err err = {0};
            int rc = lines_in_two(cases[i].text, cut, &err);
            assert_int_equal(rc, cases[i].why != NULL ? -1 : 0);
            assert_string_equal(err.text, cases[i].why != NULL ? cases[i].why : "");
        }
    }
}

static void
line_of_998_is_the_longest(void **state)
{
    (void)state;
    char line[1001];
    struct err err = {0};
    memset(line, 'x', sizeof line);
    memcpy(line + 998, "\r\n", 2);
    assert_int_equal(lines_in_two(slice_from(line, 1000), 500, &err), 0);
    memcpy(line + 998, "x\r\n", 3);
    assert_int_equal(lines_in_two(slice_from(line, 1001), 500, &err), -1);
    assert_string_equal(err.text, "line longer than 998 bytes");
    line[998] = '\n';
    assert_int_equal(lines_in_two(slice_from(line, 1001), 500, &err), -1);
    assert_string_equal(err.text, "bare LF");
}

static bool
subject_or_from(struct slice name)
{
    return slice_eq_nocase(name, SLICE("Subject")) || slice_eq_nocase(name, SLICE("From"));
}

static void
refused(struct slice section, const char *why)
{
    struct err err = {0};
    unsigned count;
    assert_int_equal(guard_section(section, subject_or_from, &count, &err), -1);
    assert_int_equal(err.code, ERR_BAD);
    assert_non_null(strstr(err.text, why));
}

static void
good_sections_pass_and_are_counted(void **state)
{
    (void)state;
    struct err err = {0};
    unsigned count = 0;
    struct slice section = SLICE("FROM: a@b\r\nX-Other:\f1\r\nsubject:\r\n two\r\n\tlines\r\n"
                                 "Subject: again\r\n");
    assert_int_equal(guard_section(section, subject_or_from, &count, &err), 0);
    assert_int_equal(count, 3);
}

static void
sections_that_would_be_signed_wrongly_are_refused(void **state)
{
    (void)state;
    refused(SLICE(""), "no From");
    refused(SLICE("Subject: x\r\n"), "no From");
    refused(SLICE("From: a@b\r\nfrom: c@d\r\n"), "more than one From");
    refused(SLICE("From : a@b\r\n"), "space before its colon");
    refused(SLICE("From\t: a@b\r\n"), "space before its colon");
    refused(SLICE("Fr\xc3\xb6m: a@b\r\n"), "no field");
    refused(SLICE(": a@b\r\n"), "without a name");
    refused(SLICE(" From: a@b\r\n"), "no field");
    refused(SLICE("From: a@b\r\ngarbage\r\n"), "no field");
    refused(SLICE("From a@b Mon Jan  1 00:00:00 2026\r\nFrom: a@b\r\n"), "no field");
    refused(SLICE("From: a@b\r\nSubject: a\vb\r\n"), "VT or FF");
    refused(SLICE("From: a@b\r\nSubject: a\fb\r\n"), "VT or FF");
    refused(SLICE("From: a@b"), "does not end in CRLF");
    refused(SLICE("From: a@b\r\nSubject: x"), "does not end in CRLF");
}

static void
add_repeated(struct buf *b, const char *line, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_true(buf_add_str(b, line));
}

/* Checks the limit itself and one step above it. */
static void
limit_is_sharp(struct slice at_limit, struct slice above, const char *why)
{
    struct err err = {0};
    unsigned count;
    assert_int_equal(guard_section(at_limit, subject_or_from, &count, &err), 0);
    refused(above, why);
}

static void
counts_are_limited(void **state)
{
    (void)state;
    struct buf b;
    struct err err = {0};
    unsigned count;
    buf_init(&b, HEADER_SECTION_MAX * 2);
    buf_add_str(&b, "From: a@b\r\n");
    add_repeated(&b, "Subject: x\r\n", SIGN_FIELDS_MAX - 1);
    assert_int_equal(guard_section(buf_slice(&b), subject_or_from, &count, &err), 0);
    add_repeated(&b, "Subject: x\r\n", 1);
    refused(buf_slice(&b), "header fields to sign");
    buf_clear(&b);
    buf_add_str(&b, "From: a@b\r\n");
    add_repeated(&b, "X: x\r\n", HEADER_FIELDS_MAX - 1);
    assert_int_equal(guard_section(buf_slice(&b), subject_or_from, &count, &err), 0);
    add_repeated(&b, "X: x\r\n", 1);
    refused(buf_slice(&b), "header fields");
    buf_fini(&b);
}

static void
sizes_are_limited(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, HEADER_SECTION_MAX * 2);
    buf_add_str(&b, "From: a@b\r\n");
    size_t from = buf_slice(&b).n;
    buf_add_str(&b, "X: ");
    while (buf_slice(&b).n - from < HEADER_FIELD_MAX - 2)
        buf_add_str(&b, "y");
    buf_add_str(&b, "\r\n");
    struct slice at_limit = buf_slice(&b);
    char *longer = malloc(at_limit.n + 1);
    memcpy(longer, at_limit.p, at_limit.n - 2);
    memcpy(longer + at_limit.n - 2, "y\r\n", 3);
    limit_is_sharp(at_limit, slice_from(longer, at_limit.n + 1), "field longer than");
    free(longer);
    add_repeated(&b, "X: xxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", HEADER_SECTION_MAX / 32);
    refused(buf_slice(&b), "header section longer");
    buf_fini(&b);
}

static void
names_are_limited(void **state)
{
    (void)state;
    char section[HEADER_NAME_MAX + 32];
    int head = snprintf(section, sizeof section, "From: a@b\r\n");
    memset(section + head, 'n', HEADER_NAME_MAX + 1);
    memcpy(section + head + HEADER_NAME_MAX, ": x\r\n", 5);
    struct err err = {0};
    unsigned count;
    struct slice at_limit = slice_from(section, (size_t)head + HEADER_NAME_MAX + 5);
    assert_int_equal(guard_section(at_limit, subject_or_from, &count, &err), 0);
    memcpy(section + head + HEADER_NAME_MAX, "n: x\r\n", 6);
    refused(slice_from(section, at_limit.n + 1), "name longer");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_judged_alike_wherever_cut),
        cmocka_unit_test(line_of_998_is_the_longest),
        cmocka_unit_test(good_sections_pass_and_are_counted),
        cmocka_unit_test(sections_that_would_be_signed_wrongly_are_refused),
        cmocka_unit_test(counts_are_limited),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(names_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
