#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/message.h"
#include "relay/sys/base/bug.h"

#define GOOD "\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\""
#define WITH(u) "{" GOOD ",\"list_unsubscribe\":" u "}"

static int
set_up(void **state)
{
    (void)state;
    message_setup();
    return 0;
}

static void
compile(struct message *m, const char *json)
{
    message_init(m, slice_str(json), 1 << 20);
    message_compile(m);
}

static bool
mime_has(const struct message *m, const char *text)
{
    return memmem(m->mime.mem, m->mime.len, text, strlen(text)) != NULL;
}

static void
writes_the_fields(void **state)
{
    (void)state;
    static const struct {
        const char *json, *field;
        bool post;
    } ROWS[] = {
        {WITH("{\"url\":\"https://x.example/u?t=1\",\"one_click\":true}"),
         "\r\nList-Unsubscribe: <https://x.example/u?t=1>\r\n", true},
        {WITH("{\"url\":\"https://x.example/u\",\"mailto\":\"u+1@b.example\"}"),
         "\r\nList-Unsubscribe: <https://x.example/u>, <mailto:u+1@b.example>\r\n", false},
        {WITH("{\"mailto\":\"mailto:u@b.example?subject=no%20more\"}"),
         "\r\nList-Unsubscribe: <mailto:u@b.example?subject=no%20more>\r\n", false},
        {WITH("{\"url\":\"http://x.example/u\",\"one_click\":false}"),
         "\r\nList-Unsubscribe: <http://x.example/u>\r\n", false},
        {WITH("null"), "\r\nMIME-Version: 1.0\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct message m;
        compile(&m, ROWS[i].json);
        assert_int_equal(m.result, MESSAGE_OK);
        assert_true(mime_has(&m, ROWS[i].field));
        assert_int_equal(mime_has(&m, "\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
                         ROWS[i].post);
        message_fini(&m);
    }
}

static void
refuses_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *json, *pointer, *code;
    } ROWS[] = {
        {WITH("\"https://x.example\""), "/list_unsubscribe", "wrong_type"},
        {WITH("{}"), "/list_unsubscribe/url", "required"},
        {WITH("{\"uri\":\"https://x.example\"}"), "/list_unsubscribe/uri", "unknown_field"},
        {WITH("{\"url\":7}"), "/list_unsubscribe/url", "wrong_type"},
        {WITH("{\"url\":\"x.example/u\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"https://\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"https:///u\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"javascript:alert(1)\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"https://x.example/>, <https://y.example\"}"), "/list_unsubscribe/url",
         "invalid_url"},
        {WITH("{\"url\":\"https://x.example/\\r\\nBcc: a@b\"}"), "/list_unsubscribe/url",
         "invalid_url"},
        {WITH("{\"url\":\"https://x.example/\\u00fc\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"https://x.example/\\u0000\"}"), "/list_unsubscribe/url", "invalid_url"},
        {WITH("{\"url\":\"http://x.example/u\",\"one_click\":true}"), "/list_unsubscribe/url",
         "https_needed"},
        {WITH("{\"mailto\":\"u@b.example\",\"one_click\":true}"), "/list_unsubscribe/url",
         "https_needed"},
        {WITH("{\"url\":\"https://x.example/u\",\"one_click\":1}"), "/list_unsubscribe/one_click",
         "wrong_type"},
        {WITH("{\"mailto\":\"nobody\"}"), "/list_unsubscribe/mailto", "invalid_address"},
        {WITH("{\"mailto\":\"a/b@b.example\"}"), "/list_unsubscribe/mailto", "invalid_address"},
        {WITH("{\"mailto\":\"mailto:a b@b.example\"}"), "/list_unsubscribe/mailto", "invalid_url"},
        {WITH("{\"mailto\":\"mailto:nobody\"}"), "/list_unsubscribe/mailto", "invalid_url"},
        {"{" GOOD ",\"list_unsubscribe\":{\"url\":\"https://x.example/u\"},"
         "\"headers\":{\"list-unsubscribe\":\"<https://y.example>\"}}",
         "/headers/list-unsubscribe", "duplicate_header"},
        {"{" GOOD ",\"list_unsubscribe\":{\"url\":\"https://x.example/u\"},"
         "\"headers\":{\"List-Unsubscribe-Post\":\"x\"}}",
         "/headers/List-Unsubscribe-Post", "duplicate_header"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct message m;
        compile(&m, ROWS[i].json);
        if (m.result != MESSAGE_INVALID)
            fail_msg("taken: %s", ROWS[i].json);
        assert_string_equal(m.errors.v[0].pointer.p, ROWS[i].pointer);
        assert_string_equal(m.errors.v[0].code, ROWS[i].code);
        message_fini(&m);
    }
}

/* The longest one still stands on lines of at most 998 octets. */
static void
keeps_lines_short(void **state)
{
    (void)state;
    for (size_t n = 849; n <= 851; n++) {
        char url[900] = "https://x.example/", json[2048];
        memset(url + 18, 'u', n - 18);
        url[n] = '\0';
        snprintf(json, sizeof json, WITH("{\"url\":\"%s\",\"mailto\":\"mailto:%.*s@b.example\"}"),
                 url, 800, url + 18);
        struct message m;
        compile(&m, json);
        assert_int_equal(m.result, n <= 850 ? MESSAGE_OK : MESSAGE_INVALID);
        struct slice rest = buf_slice(&m.mime);
        while (rest.n > 0)
            assert_in_range(slice_cut_at(&rest, '\n').n, 0, 999);
        message_fini(&m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_fields),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(keeps_lines_short),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
