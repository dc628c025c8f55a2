/* Names of captures, and the line that describes one. */
#include "relay/sandbox/capture.h"

#include <gmime/gmime.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

#define ID "01901234-5678-7abc-8def-0123456789ab"

static struct msg_id
id_of(const char *text)
{
    struct msg_id id;
    assert_true(id_parse(slice_str(text), &id));
    return id;
}

static void
names_go_both_ways(void **state)
{
    (void)state;
    struct capture_name n = {.sequence = 0xfedc, .id = id_of(ID)}, back;
    char text[CAPTURE_NAME_BYTES + 1];
    capture_name_format(&n, text);
    assert_string_equal(text, "000000000000fedc-" ID ".eml");
    assert_true(capture_name_parse(slice_str(text), &back));
    assert_int_equal(back.sequence, n.sequence);
    assert_true(id_eq(back.id, n.id));
    assert_false(back.temporary);
    n.temporary = true;
    n.sequence = UINT64_MAX;
    capture_name_format(&n, text);
    assert_true(capture_name_parse(slice_str(text), &back));
    assert_true(back.temporary);
    assert_int_equal(back.sequence, UINT64_MAX);
}

static void
other_names_are_not_ours(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        ".",
        "..",
        "000000000000fedc-" ID,
        "000000000000fedc-" ID ".txt",
        "000000000000fedg-" ID ".eml",
        "000000000000fedc_" ID ".eml",
        "000000000000FEDC-" ID ".eml",
        "00000000000fedc-" ID ".eml",
        "000000000000fedc-01901234-5678-7abc-8def-0123456789xb.eml",
        "000000000000fedc-" ID ".emlx",
    };
    struct capture_name n;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_false(capture_name_parse(slice_str(names[i]), &n));
}

static json_t *
line_of(struct slice from, const struct slice *to, size_t to_count, const char *message)
{
    struct buf line;
    buf_init(&line, SANDBOX_META_LINE_MAX);
    assert_true(capture_add_line(&(struct capture){.id = id_of(ID),
                                                   .from = from,
                                                   .to = to,
                                                   .to_count = to_count,
                                                   .message = slice_str(message),
                                                   .received_at_unix_ms = 1000},
                                 &line));
    struct slice s = buf_slice(&line);
    assert_int_equal(slice_find(s, '\n'), s.n - 1);
    json_t *j = json_loadb(s.p, s.n, 0, NULL);
    assert_non_null(j);
    buf_fini(&line);
    return j;
}

static const char *
text_at(json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void
line_describes_the_message(void **state)
{
    (void)state;
    struct slice to[] = {SLICE("a@x.test"), SLICE("\"q\\\"\"@y.test")};
    static const char message[] = "Received: from c (c [127.0.0.1]) by gw with ESMTPSA\r\n"
                                  "\tid 01900000-0000-7000-8000-000000000001; today\r\n"
                                  "Received: by other id 01900000-0000-7000-8000-000000000002\r\n"
                                  "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n \"you\"\r\n"
                                  "\r\nbody\r\n";
    json_t *j = line_of(SLICE("s@x.test"), to, 2, message);
    assert_string_equal(text_at(j, "id"), ID);
    assert_string_equal(text_at(j, "message"), "01900000-0000-7000-8000-000000000001");
    assert_string_equal(text_at(j, "from"), "s@x.test");
    assert_int_equal(json_array_size(json_object_get(j, "to")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "to"), 1)),
                        "\"q\\\"\"@y.test");
    assert_string_equal(text_at(j, "subject"), "Gr\xc3\xbc\xc3\x9f"
                                               "e \"you\"");
    assert_int_equal(json_integer_value(json_object_get(j, "size")), strlen(message));
    assert_string_equal(text_at(j, "received_at"), "1970-01-01T00:00:01.000Z");
    json_decref(j);
}

static void
line_of_a_message_without_anything(void **state)
{
    (void)state;
    static const char *const messages[] = {
        "",
        "\r\n",
        "no header\r\n",
        "Received: by x id not-an-id; then\r\n\r\n",
        "Received: id\r\n\r\n",
        /* only the topmost one counts */
        "Received: by x with SMTP\r\nReceived: by gw id " ID "; now\r\n\r\n",
        /* the body does not */
        "X: y\r\n\r\nReceived: by gw id " ID "; now\r\nSubject: no\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        json_t *j = line_of(SLICE(""), NULL, 0, messages[i]);
        assert_true(json_is_null(json_object_get(j, "message")));
        assert_string_equal(text_at(j, "from"), "");
        assert_string_equal(text_at(j, "subject"), "");
        json_decref(j);
    }
}

static void
line_holds_any_subject(void **state)
{
    (void)state;
    char message[3000] = "Subject: ";
    memset(message + 9, 0xc3, 2900); /* invalid UTF-8, long */
    strcat(message, "\r\n\r\n");
    json_t *j = line_of(SLICE("\xff@x\n"), NULL, 0, message);
    assert_in_range(strlen(text_at(j, "subject")), 1, 3 * SANDBOX_SUBJECT_MAX);
    json_decref(j);
}

static int
init(void **state)
{
    (void)state;
    g_mime_init();
    return 0;
}

static int
fini(void **state)
{
    (void)state;

    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(other_names_are_not_ours),
        cmocka_unit_test(line_describes_the_message),
        cmocka_unit_test(line_of_a_message_without_anything),
        cmocka_unit_test(line_holds_any_subject),
    };
    return cmocka_run_group_tests(tests, init, fini);
}
