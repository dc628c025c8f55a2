#include "api/mime_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/header.h"

static void
assert_field(struct buf *out, const char *wanted)
{
    if (!slice_eq(buf_slice(out), slice_str(wanted)))
        fail_msg("%.*s is not %s", SLICE_FMT(buf_slice(out)), wanted);
    buf_clear(out);
}

static void
writes_texts(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, HEADER_FIELD_MAX);
    mime_add_text_field(&out, SLICE("Subject"), SLICE("Hello  world"));
    assert_field(&out, "Subject: Hello  world\r\n");
    mime_add_text_field(&out, SLICE("Subject"), SLICE(""));
    assert_field(&out, "Subject: \r\n");
    mime_add_text_field(&out, SLICE("Subject"), SLICE("gr\xc3\xbc\xc3\x9f"));
    assert_field(&out, "Subject: =?utf-8?B?Z3LDvMOf?=\r\n");
    mime_add_text_field(&out, SLICE("Subject"), SLICE("=?x"));
    assert_field(&out, "Subject: =?utf-8?B?PT94?=\r\n");
    mime_add_custom_field(&out, SLICE("X"), SLICE("=?x"));
    assert_field(&out, "X: =?x\r\n");
    buf_fini(&out);
}

static void
writes_addresses(void **state)
{
    (void)state;
    struct draft_mailbox v[] = {
        {.address = SLICE("a@b.example")},
        {.name = SLICE("Ann Lee"), .address = SLICE("ann@b.example")},
        {.name = SLICE("J. \"X\" \\ Doe"), .address = SLICE("j@b.example")},
        {.name = SLICE("\xc3\x9c"), .address = SLICE("\"u u\"@b.example")},
    };
    struct draft_list list = {v, ARRAY_LEN(v)};
    struct buf out;
    buf_init(&out, HEADER_FIELD_MAX);
    mime_add_address_field(&out, SLICE("To"), &list);
    assert_field(
        &out,
        "To: a@b.example, Ann Lee <ann@b.example>, \"J. \\\"X\\\" \\\\ Doe\" <j@b.example>,\r\n"
        " =?utf-8?B?w5w=?= <\"u u\"@b.example>\r\n");
    list.count = 0;
    mime_add_address_field(&out, SLICE("To"), &list);
    assert_field(&out, "");
    buf_fini(&out);
}

static bool
lines_fit(struct slice field, size_t most)
{
    while (field.n > 0) {
        struct slice line = slice_cut_at(&field, '\n');
        if (line.n == 0 || line.n - 1 > most || slice_trim(line).n == 0)
            return false;
    }
    return true;
}

/* Whatever the lengths of its words, a field unfolds to its value. */
static void
unfolding_gives_the_value(void **state)
{
    (void)state;
    for (size_t word = 1; word < 200; word++)
        for (size_t spaces = 1; spaces < 4; spaces++) {
            char value[2048] = "";
            for (int i = 0; i < 5; i++)
                sprintf(value + strlen(value), "%*s%0*d", i > 0 ? (int)spaces : 0, "", (int)word,
                        i);
            struct buf out, back;
            struct header_field f;
            buf_init(&out, HEADER_FIELD_MAX);
            buf_init(&back, HEADER_FIELD_MAX);
            mime_add_custom_field(&out, SLICE("X-Long"), slice_str(value));
            struct slice section = buf_slice(&out);
            assert_int_equal(header_cut(&section, &f), PARSE_OK);
            assert_int_equal(section.n, 0);
            assert_true(header_unfold(f.value, &back));
            assert_true(slice_eq(buf_slice(&back), slice_str(value)));
            assert_true(lines_fit(buf_slice(&out), word < 60 ? 76 : word + spaces + 8));
            buf_fini(&out);
            buf_fini(&back);
        }
}

/* No encoded word splits a character, none is longer than 75. */
static void
encoded_words_fit(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 80; pad++) {
        char text[1024];
        int n = snprintf(
            text, sizeof text, "%.*s", (int)pad,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        for (int i = 0; i < 60; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "\xf0\x9f\x93\xa7");
        struct buf out;
        buf_init(&out, HEADER_FIELD_MAX);
        mime_add_text_field(&out, SLICE("Subject"), slice_str(text));
        assert_true(lines_fit(buf_slice(&out), 76));
        buf_fini(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_texts),
        cmocka_unit_test(writes_addresses),
        cmocka_unit_test(unfolding_gives_the_value),
        cmocka_unit_test(encoded_words_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
