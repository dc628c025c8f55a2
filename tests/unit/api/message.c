#include "api/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <gmime/gmime.h>
#include <jansson.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

enum { BYTES_MAX = 1 << 20, PROPERTY_ROUNDS = 3000, KEPT_FOR_PYTHON = 150 };

static void
compile(struct message *m, const char *json)
{
    message_init(m, slice_str(json), BYTES_MAX);
    message_compile(m);
}

static int
set_up(void **state)
{
    (void)state;
    message_setup();
    return 0;
}

/* ---- what is refused ---------------------------------------------------- */

#define GOOD "\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\""

static const struct {
    const char *json, *pointer, *code;
} INVALID[] = {
    /* unknown fields: a typo must not be silent */
    {"{" GOOD ",\"form\":1}", "/form", "unknown_field"},
    {"{" GOOD ",\"a/b~c\":1}", "/a~1b~0c", "unknown_field"},
    {"{" GOOD ",\"__proto__\":{}}", "/__proto__", "unknown_field"},
    {"{\"from\":{\"email\":\"a@b.example\",\"nmae\":\"x\"},\"to\":\"c@d.example\",\"text\":\"x\"}",
     "/from/nmae", "unknown_field"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"\",\"x\":1}]}",
     "/attachments/0/x", "unknown_field"},
    /* what must be there */
    {"{}", "/from", "required"},
    {"{\"from\":\"a@b.example\",\"text\":\"x\"}", "/to", "required"},
    {"{\"from\":\"a@b.example\",\"to\":[],\"text\":\"x\"}", "/to", "required"},
    {"{\"from\":\"a@b.example\",\"to\":\"c@d.example\"}", "/text", "required"},
    {"{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":null}", "/text", "required"},
    {"{\"from\":[],\"to\":\"c@d.example\",\"text\":\"x\"}", "/from", "one_sender"},
    {"{\"from\":[\"a@b.example\",\"e@b.example\"],\"to\":\"c@d.example\",\"text\":\"x\"}", "/from",
     "one_sender"},
    {"{" GOOD ",\"attachments\":[{\"content\":\"\"}]}", "/attachments/0/filename", "required"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"\",\"content\":\"\"}]}", "/attachments/0/filename",
     "required"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\"}]}", "/attachments/0/content", "required"},
    {"{" GOOD ",\"cc\":{\"name\":\"x\"}}", "/cc/email", "required"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"  \"}}", "/headers/X-A", "required"},
    /* types */
    {"{\"from\":7,\"to\":\"c@d.example\",\"text\":\"x\"}", "/from", "wrong_type"},
    {"{" GOOD ",\"cc\":[[\"a@b.example\"]]}", "/cc/0", "wrong_type"},
    {"{" GOOD ",\"cc\":{\"email\":[]}}", "/cc/email", "wrong_type"},
    {"{" GOOD ",\"cc\":{\"email\":\"a@b.example\",\"name\":1}}", "/cc/name", "wrong_type"},
    {"{" GOOD ",\"subject\":{}}", "/subject", "wrong_type"},
    {"{" GOOD ",\"html\":1e400000}", NULL, NULL},
    {"{" GOOD ",\"html\":false}", "/html", "wrong_type"},
    {"{" GOOD ",\"headers\":[]}", "/headers", "wrong_type"},
    {"{" GOOD ",\"headers\":{\"X-A\":1}}", "/headers/X-A", "wrong_type"},
    {"{" GOOD ",\"attachments\":{}}", "/attachments", "wrong_type"},
    {"{" GOOD ",\"attachments\":[\"a\"]}", "/attachments/0", "wrong_type"},
    {"{" GOOD ",\"attachments\":[{\"filename\":1,\"content\":\"\"}]}", "/attachments/0/filename",
     "wrong_type"},
    /* addresses */
    {"{" GOOD ",\"cc\":\"\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"nobody\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":[\"a@b.example\",\"a@\"]}", "/cc/1", "invalid_address"},
    {"{" GOOD ",\"cc\":\"a@b.example, c@d.example\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"<a@b.example>,<c@d.example>\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"<>\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"a@b.example>\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"a@[127.0.0.1]\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"\\u00fc\\u0085@b.example\"}", "/cc", "control_character"},
    {"{" GOOD ",\"cc\":{\"email\":\"\\u00fc\\u202e@b.example\"}}", "/cc/email", "invalid_address"},
    {"{" GOOD ",\"cc\":\"=?utf-8?q?a?=@b.example\"}", "/cc", "invalid_address"},
    /* INJ-01: line breaks and controls, wherever a header field begins */
    {"{" GOOD ",\"subject\":\"a\\r\\nBcc: x@y.example\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\rb\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\nb\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\u0000b\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\u0085b\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\u2028b\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\u2029b\"}", "/subject", "control_character"},
    {"{" GOOD ",\"subject\":\"a\\u202eb\"}", "/subject", "control_character"},
    {"{" GOOD ",\"cc\":\"N\\r\\nX: y <a@b.example>\"}", "/cc", "control_character"},
    {"{" GOOD ",\"cc\":\"a@b.example\\r\\nX: y\"}", "/cc", "control_character"},
    {"{" GOOD ",\"cc\":{\"email\":\"a@b.example\\r\\n\"}}", "/cc/email", "invalid_address"},
    {"{" GOOD ",\"cc\":{\"email\":\"\\\"a\\r\\nb\\\"@b.example\"}}", "/cc/email",
     "invalid_address"},
    {"{" GOOD ",\"cc\":{\"email\":\"a\\u0000@b.example\"}}", "/cc/email", "invalid_address"},
    {"{" GOOD ",\"cc\":{\"email\":\"a@b.example\",\"name\":\"x\\ny\"}}", "/cc/name",
     "control_character"},
    {"{" GOOD ",\"reply_to\":[{\"email\":\"a@b.example\",\"name\":\"x\\u0000\"}]}",
     "/reply_to/0/name", "control_character"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"a\\nb\"}}", "/headers/X-A", "control_character"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"a\\r\\n\"}}", "/headers/X-A", "control_character"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"\\n\"}}", "/headers/X-A", "control_character"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"\\u0000\"}}", "/headers/X-A", "control_character"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\\r\\nX: y\",\"content\":\"\"}]}",
     "/attachments/0/filename", "control_character"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\\u202etxt.exe\",\"content\":\"\"}]}",
     "/attachments/0/filename", "control_character"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"\",\"content_type\":"
     "\"text/plain\\r\\nX: y\"}]}",
     "/attachments/0/content_type", "control_character"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"\",\"content_id\":\"a>\\r\\nX: "
     "y\"}]}",
     "/attachments/0/content_id", "invalid_content_id"},
    {"{" GOOD ",\"html\":\"a\\u0000b\"}", "/html", "control_character"},
    /* INJ-02: header names */
    {"{" GOOD ",\"headers\":{\"\":\"x\"}}", "/headers/", "invalid_header_name"},
    {"{" GOOD ",\"headers\":{\"X A\":\"x\"}}", "/headers/X A", "invalid_header_name"},
    {"{" GOOD ",\"headers\":{\"X-A:\":\"x\"}}", "/headers/X-A:", "invalid_header_name"},
    {"{" GOOD ",\"headers\":{\"X\\r\\nBcc\":\"x\"}}", "/headers/X\r\nBcc", "invalid_header_name"},
    {"{" GOOD ",\"headers\":{\"X\\u00fc\":\"x\"}}", "/headers/X\xc3\xbc", "invalid_header_name"},
    {"{" GOOD ",\"headers\":{\"X-A\":\"1\",\"x-a\":\"2\"}}", NULL, "duplicate_header"},
    {"{" GOOD ",\"cc\":\"a@b.example, Bob <c@d.example>\"}", "/cc", "invalid_address"},
    {"{" GOOD ",\"cc\":\"a@b.example; Bob <c@d.example>\"}", "/cc", "invalid_address"},
    /* attachments */
    {"{" GOOD ",\"attachments\":[{\"filename\":\"=?utf-8?q?a?=\",\"content\":\"\"}]}",
     "/attachments/0/filename", "invalid_filename"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"\",\"content_id\":\"l\"},"
     "{\"filename\":\"b\",\"content\":\"\",\"content_id\":\"<l>\"}]}",
     "/attachments/1/content_id", "duplicate_content_id"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"!\"}]}",
     "/attachments/0/content", "invalid_base64"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"QQ\"}]}",
     "/attachments/0/content", "invalid_base64"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"QQ=\\n=\"}]}",
     "/attachments/0/content", "invalid_base64"},
    {"{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"QR==\"}]}",
     "/attachments/0/content", "invalid_base64"},
};

static bool
has_error(const struct message *m, const char *pointer, const char *code)
{
    for (unsigned i = 0; i < m->errors.count; i++)
        if (strcmp(m->errors.v[i].code, code) == 0 &&
            (pointer == NULL || slice_eq(m->errors.v[i].pointer, slice_str(pointer))))
            return true;
    return false;
}

static void
names_the_wrong_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(INVALID); i++) {
        struct message m;
        compile(&m, INVALID[i].json);
        if (INVALID[i].code == NULL) {
            assert_int_equal(m.result, MESSAGE_NOT_JSON);
        } else if (m.result != MESSAGE_INVALID ||
                   (m.errors.total != 1 && strcmp(INVALID[i].json, "{}") != 0) ||
                   !has_error(&m, INVALID[i].pointer, INVALID[i].code)) {
            fail_msg("row %zu: result %d, %u errors\n%s", i, m.result, m.errors.total,
                     INVALID[i].json);
        }
        assert_int_equal(m.mime.len, 0);
        message_fini(&m);
    }
}

/* INJ-02: fields of the gateway, of the envelope and of receivers. */
static void
denies_header_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"From",
                                        "TO",
                                        "cc",
                                        "Bcc",
                                        "Sender",
                                        "Reply-To",
                                        "Subject",
                                        "Date",
                                        "Message-ID",
                                        "Received",
                                        "Received-SPF",
                                        "Return-Path",
                                        "DKIM-Signature",
                                        "ARC-Seal",
                                        "ARC-Message-Signature",
                                        "Authentication-Results",
                                        "MIME-Version",
                                        "Content-Type",
                                        "content-transfer-encoding",
                                        "Content-Anything",
                                        "Resent-From",
                                        "X-Stagepost-Tag",
                                        "Resend-Idempotency-Key"};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        struct message m;
        char json[256], pointer[64];
        snprintf(json, sizeof json, "{" GOOD ",\"headers\":{\"%s\":\"x\"}}", NAMES[i]);
        snprintf(pointer, sizeof pointer, "/headers/%s", NAMES[i]);
        compile(&m, json);
        if (!has_error(&m, pointer, "header_not_allowed"))
            fail_msg("%s was let through", NAMES[i]);
        message_fini(&m);
    }
}

static void
judges_content_types(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        bool good;
    } ROWS[] = {
        {"application/pdf", true},
        {"text/calendar; method=REQUEST; charset=\\\"utf-8\\\"", true},
        {"text/plain;charset=utf-8;format=flowed", true},
        {"image/svg+xml", true},
        {"multipart/mixed", false},
        {"message/rfc822", false},
        {"application", false},
        {"application/", false},
        {"/pdf", false},
        {"a/b/c", false},
        {"text/plain; charset", false},
        {"text/plain; charset=", false},
        {"text/plain; charset=\\\"a", false},
        {"text/plain; charset=\\\"a\\\\\\\"b\\\"", false},
        {"text/plain; charset=a b", false},
        {"text/plain; a=1; A=2", false},
        {"text/plain; name=x", false},
        {"text/plain; boundary=x", false},
        {"text/plain; charset*=utf-8''x", false},
        {"text/plain;", true},
        {"te xt/plain", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct message m;
        char json[512];
        snprintf(json, sizeof json,
                 "{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":\"\","
                 "\"content_type\":\"%s\"}]}",
                 ROWS[i].type);
        compile(&m, json);
        bool refused = has_error(&m, "/attachments/0/content_type", "invalid_content_type");
        if (refused == ROWS[i].good || (m.result == MESSAGE_OK) != ROWS[i].good)
            fail_msg("%s: result %d", ROWS[i].type, m.result);
        message_fini(&m);
    }
}

/* INJ-06 */
static void
refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "",
        "{",
        "[]",
        "\"x\"",
        "{" GOOD "} ",
        "{" GOOD "}x",
        "{\"from\":\"a@b.example\",\"from\":\"c@d.example\"}",
        "{" GOOD ",\"headers\":{\"X\":\"1\",\"X\":\"2\"}}",
        "{" GOOD ",\"subject\":\"\xff\"}",
        "{" GOOD ",\"subject\":\"\xc0\x80\"}",
        "{" GOOD ",\"subject\":\"\xed\xa0\x80\"}",
        "{" GOOD ",\"subject\":\"\\ud800\"}",
        "{" GOOD ",\"subject\":\"a\nb\"}",
        "{" GOOD ",\"subject\":NaN}",
        "{" GOOD ",\"subject\":99999999999999999999}",
        "{" GOOD ",}",
        "{'from':1}",
        "\xef\xbb\xbf{" GOOD "}",
        "{" GOOD ",\"a\\u0000b\":1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++) {
        struct message m;
        compile(&m, TEXTS[i]);
        bool padded = i == 4; /* white space behind is JSON */
        if (m.result != (padded ? MESSAGE_OK : MESSAGE_NOT_JSON))
            fail_msg("row %zu: result %d", i, m.result);
        assert_true(padded || m.detail[0] != '\0');
        message_fini(&m);
    }
}

static char *
repeat(const char *before, const char *piece, unsigned n, const char *after)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    buf_add_str(&b, before);
    for (unsigned i = 0; i < n; i++)
        buf_add_str(&b, piece);
    buf_add_str(&b, after);
    buf_add(&b, slice_from("", 1));
    return b.mem;
}

static enum message_result
result_of(char *json, const char *pointer, const char *code)
{
    struct message m;
    compile(&m, json);
    enum message_result result = m.result;
    if (code != NULL)
        assert_true(has_error(&m, pointer, code));
    message_fini(&m);
    free(json);
    return result;
}

/* A tree must not cost much more than its text. */
static void
bounds_json(void **state)
{
    (void)state;
    assert_int_equal(result_of(repeat("{\"a\":", "[", 100000, ""), NULL, NULL), MESSAGE_NOT_JSON);
    assert_int_equal(result_of(repeat("{\"a\":[", "[],", 1000000, "1]}"), NULL, NULL),
                     MESSAGE_NOT_JSON);
    assert_int_equal(
        result_of(repeat("{\"x\":\"", "[[[,,,\\\"", 100000, "\"}"), "/x", "unknown_field"),
        MESSAGE_INVALID); /* brackets in a string are no structure */
}

static void
keeps_limits(void **state)
{
    (void)state;
    assert_int_equal(
        result_of(repeat("{" GOOD ",\"subject\":\"", "a", API_SUBJECT_MAX, "\"}"), NULL, NULL),
        MESSAGE_OK);
    result_of(repeat("{" GOOD ",\"subject\":\"", "a", API_SUBJECT_MAX + 1, "\"}"), "/subject",
              "too_long");
    result_of(repeat("{" GOOD ",\"cc\":[", "\"a@b.example\",", API_RECIPIENTS_MAX, "\"x@y.z\"]}"),
              "/cc", "too_many");
    result_of(repeat("{" GOOD ",\"attachments\":[", "{},", API_ATTACHMENTS_MAX, "{}]}"),
              "/attachments", "too_many");
    result_of(repeat("{" GOOD ",\"headers\":{\"", "A", HEADER_NAME_MAX + 1, "\":\"x\"}}"), NULL,
              "invalid_header_name");
    result_of(repeat("{" GOOD ",\"headers\":{\"X\":\"", "a", API_TOKEN_MAX + 1, "\"}}"),
              "/headers/X", "too_long");
    result_of(repeat("{" GOOD ",\"headers\":{\"X\":\"", "a ", API_HEADER_VALUE_MAX / 2, "b\"}}"),
              "/headers/X", "too_long");
    result_of(repeat("{" GOOD ",\"cc\":{\"email\":\"a@b.example\",\"name\":\"", "a",
                     API_NAME_MAX + 1, "\"}}"),
              "/cc/name", "too_long");
    result_of(repeat("{" GOOD ",\"attachments\":[{\"content\":\"\",\"filename\":\"", "a",
                     API_FILENAME_MAX + 1, "\"}]}"),
              "/attachments/0/filename", "too_long");
    assert_int_equal(
        result_of(repeat("{" GOOD ",\"html\":\"", "a", BYTES_MAX + 1, "\"}"), NULL, NULL),
        MESSAGE_TOO_LARGE);
    assert_int_equal(
        result_of(repeat("{" GOOD ",\"html\":\"", "=", BYTES_MAX / 2, "\"}"), NULL, NULL),
        MESSAGE_TOO_LARGE); /* =3D */
    assert_int_equal(result_of(repeat("{" GOOD ",\"attachments\":[{\"filename\":\"a\",\"content\":"
                                      "\"",
                                      "AAAA", BYTES_MAX / 4, "\"}]}"),
                               NULL, NULL),
                     MESSAGE_TOO_LARGE);
}

/* All errors at once, but only so many. */
static void
collects_errors(void **state)
{
    (void)state;
    struct message m;
    char *json = repeat("{\"cc\":[", "\"x\",", 99, "\"y\"]}");
    compile(&m, json);
    assert_int_equal(m.result, MESSAGE_INVALID);
    assert_int_equal(m.errors.total, 100);
    assert_int_equal(m.errors.count, API_ERRORS_MAX);
    assert_true(slice_eq(m.errors.v[7].pointer, SLICE("/cc/7")));
    message_fini(&m);
    free(json);
}

/* ---- what is built ------------------------------------------------------ */

static void
collects_recipients(void **state)
{
    (void)state;
    struct message m;
    compile(&m, "{\"from\":\"Shop <Shop@B\xc3\xbc"
                "cher.Example>\",\"text\":\"x\","
                "\"to\":[\"a@X.example\",{\"email\":\"b@x.example\",\"name\":\"B\"}],"
                "\"cc\":\"a@x.EXAMPLE\",\"bcc\":[\"secret@y.example\",\"b@x.example\"]}");
    assert_int_equal(m.result, MESSAGE_OK);
    assert_true(slice_eq(m.from, SLICE("Shop@xn--bcher-kva.example")));
    assert_true(slice_eq(m.from_domain, SLICE("xn--bcher-kva.example")));
    assert_int_equal(m.recipient_count, 3); /* each address once */
    assert_true(slice_eq(m.recipients[0].address, SLICE("a@x.example")));
    assert_true(slice_eq(m.recipients[2].address, SLICE("secret@y.example")));
    assert_true(slice_eq(m.recipients[2].domain, SLICE("y.example")));
    /* INJ-03: nothing of Bcc is in the message */
    assert_true(slice_find_slice(buf_slice(&m.mime), SLICE("secret")) == m.mime.len);
    message_fini(&m);
}

/* RFC 6532: a local part stands in its field as it is, a name as an encoded word, a
 * domain in A-labels; only a local part makes a message that needs SMTPUTF8. */
static void
writes_international_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *line; /* NULL: nothing of it in the header */
        bool smtputf8;
    } ROWS[] = {
        {"\"from\":\"a@b.example\",\"to\":{\"email\":\"j\xc3\xbcrg@B\xc3\xbc"
         "cher.example\",\"name\":\"J\xc3\xbcrg\"}",
         "To: =?utf-8?B?SsO8cmc=?= <j\xc3\xbcrg@xn--bcher-kva.example>\r\n", true},
        {"\"from\":\"\xe4\xbe\xa1 <\xe4\xbe\xa1@b.example>\",\"to\":\"c@d.example\"",
         "From: =?utf-8?B?5L6h?= <\xe4\xbe\xa1@b.example>\r\n", true},
        {"\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"reply_to\":\"\xc3\xbc@b.example\"",
         "Reply-To: \xc3\xbc@b.example\r\n", true},
        {"\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"bcc\":\"\xc3\xbc@b.example\"", NULL,
         true},
        {"\"from\":\"a@b.example\",\"to\":\"c@d\xc3\xbc.example\"", "To: c@xn--d-eha.example\r\n",
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        char json[400];
        struct message m;
        struct submit_op op = {.recipient_count = 0};
        snprintf(json, sizeof json, "{%s,\"text\":\"x\"}", ROWS[i].fields);
        compile(&m, json);
        if (m.result != MESSAGE_OK)
            fail_msg("%s: result %d", json, m.result);
        struct slice mime = buf_slice(&m.mime);
        if (ROWS[i].line != NULL)
            assert_true(slice_find_slice(mime, slice_str(ROWS[i].line)) < mime.n);
        else
            assert_true(text_is_ascii(mime));
        message_fill(&m, &op);
        assert_true(op.envelope.smtputf8 == ROWS[i].smtputf8);
        blob_unref(&op.message);
        message_fini(&m);
    }
}

/* Lines end in CRLF and are short; everything is ASCII without controls. */
static void
assert_clean(struct slice mime)
{
    struct slice rest = mime;
    assert_true(mime.n > 2 && slice_ends_nocase(mime, SLICE("\r\n")));
    while (rest.n > 0) {
        struct slice line = slice_cut_at(&rest, '\n');
        assert_true(line.n > 0 && line.p[line.n - 1] == '\r');
        assert_true(line.n <= 999);
        for (size_t i = 0; i + 1 < line.n; i++)
            assert_true((line.p[i] >= ' ' && line.p[i] <= '~') || line.p[i] == '\t');
    }
}

static GMimeMessage *
parse_back(struct slice mime)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(mime.p, mime.n);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *m = g_mime_parser_construct_message(parser, NULL);
    g_object_unref(parser);
    g_object_unref(stream);
    assert_non_null(m);
    return m;
}

static bool
has_field(struct slice section, const char *name, unsigned times)
{
    struct header_field field;
    unsigned n = 0;
    while (header_cut(&section, &field) == PARSE_OK)
        n += slice_eq_nocase(field.name, slice_str(name));
    return n == times;
}

static unsigned
count_fields(struct slice section)
{
    struct header_field field;
    unsigned n = 0;
    while (header_cut(&section, &field) == PARSE_OK)
        n++;
    assert_int_equal(section.n, 0);
    return n;
}

/* Strings that an attacker would choose, in pieces. The first ones are unsafe. */
static const char *const PIECES[] = {
    "\r\n", "\n", "\r", "\xe2\x80\xa8", "\xc2\x85", "\xe2\x80\xae", "\x1b[2J", "\t",
    /* from here on all may stand in a field */
    "Bcc: x@y.example", ":", ";", ",", "<", ">", "\"", "\\", "(", ")", "@", "=?utf-8?q?x?=", "=?",
    "?=", "=0D=0A", "%0d%0a", "\xc3\xbc", "\xe2\x9c\x93", "\xf0\x9f\x93\xa7", "a", "word", " ",
    "  ", ".", "..\\..\\", "name*0*=x", "'",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
enum { UNSAFE_PIECES = 8 };

/* A random string; *unsafe when a piece cannot stand in a header field. */
static char *
random_text(bool *unsafe)
{
    char *out = calloc(1, 1024);
    assert_non_null(out);
    unsigned n = 1 + (unsigned)rand() % 7;
    for (unsigned i = 0; i < n; i++) {
        bool bad = rand() % 40 == 0;
        size_t from = bad ? 0 : UNSAFE_PIECES;
        size_t count = bad ? UNSAFE_PIECES : ARRAY_LEN(PIECES) - UNSAFE_PIECES;
        strcat(out, PIECES[from + (size_t)rand() % count]);
        *unsafe = *unsafe || bad;
    }
    return out;
}

struct sample {
    json_t *json;
    char *subject, *name, *header, *filename;
    bool unsafe;
};

static struct sample
random_sample(void)
{
    struct sample s = {0};
    s.subject = random_text(&s.unsafe);
    s.name = random_text(&s.unsafe);
    s.header = random_text(&s.unsafe);
    s.filename = random_text(&s.unsafe);
    s.json =
        json_pack("{s:{s:s,s:s},s:[s],s:s,s:s,s:s,s:s,s:{s:s},s:[{s:s,s:s},{s:s,s:s,s:s}]}", "from",
                  "email", "a@b.example", "name", s.name, "to", "c@d.example", "bcc",
                  "secret@d.example", "subject", s.subject, "text", s.subject, "html", s.header,
                  "headers", "X-Custom", s.header, "attachments", "filename", s.filename, "content",
                  "AAEC", "filename", "logo", "content", "/////w==", "content_id", "logo");
    assert_non_null(s.json);
    return s;
}

static void
sample_free(struct sample *s)
{
    json_decref(s->json);
    free(s->subject);
    free(s->name);
    free(s->header);
    free(s->filename);
}

static bool
is_blank(const char *s)
{
    return s[strspn(s, " ")] == '\0';
}

/* Spaces at the ends are not part of a header field's text. */
static void
assert_same_text(const char *read, const char *meant)
{
    if (read == NULL || !slice_eq(slice_trim(slice_str(read)), slice_trim(slice_str(meant))))
        fail_msg("meant <%s> read <%s>", meant, read != NULL ? read : "nothing");
}

/* GMime leaves folds in what it shows, so the field is unfolded first. */
static void
assert_same_subject(struct slice mime, const char *meant)
{
    struct header_field field;
    struct buf text;
    buf_init(&text, HEADER_FIELD_MAX);
    assert_true(header_find(mime, SLICE("Subject"), &field) && header_unfold(field.value, &text));
    buf_add(&text, slice_from("", 1));
    char *decoded = g_mime_utils_header_decode_text(NULL, buf_slice(&text).p);
    assert_same_text(decoded, meant);
    g_free(decoded);
    buf_fini(&text);
}

/* The parts in order: mixed(alternative(text, related(html, logo)), file). */
static void
assert_same_message(const struct sample *s, struct slice mime)
{
    GMimeMessage *m = parse_back(mime);
    assert_same_subject(mime, s->subject);
    InternetAddressList *from = g_mime_message_get_from(m);
    assert_int_equal(internet_address_list_length(from), 1);
    InternetAddress *author = internet_address_list_get_address(from, 0);
    assert_same_text(internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(author)),
                     "a@b.example");
    if (!is_blank(s->name))
        assert_same_text(internet_address_get_name(author), s->name);
    GMimeObject *mixed = g_mime_message_get_mime_part(m);
    assert_true(GMIME_IS_MULTIPART(mixed));
    assert_int_equal(g_mime_multipart_get_count(GMIME_MULTIPART(mixed)), 2);
    GMimeObject *alternative = g_mime_multipart_get_part(GMIME_MULTIPART(mixed), 0);
    assert_int_equal(g_mime_multipart_get_count(GMIME_MULTIPART(alternative)), 2);
    GMimeObject *related = g_mime_multipart_get_part(GMIME_MULTIPART(alternative), 1);
    assert_int_equal(g_mime_multipart_get_count(GMIME_MULTIPART(related)), 2);
    GMimeObject *logo = g_mime_multipart_get_part(GMIME_MULTIPART(related), 1);
    assert_same_text(g_mime_object_get_content_id(logo), "logo");
    GMimeObject *file = g_mime_multipart_get_part(GMIME_MULTIPART(mixed), 1);
    assert_same_text(g_mime_part_get_filename(GMIME_PART(file)), s->filename);
    assert_same_text(g_mime_object_get_disposition(file), "attachment");
    g_object_unref(m);
}

/* What python's reader is asked to find in it. */
static void
keep_for_python(const char *dir, unsigned n, const struct sample *s, struct slice mime)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%u.json", dir, n);
    assert_int_equal(json_dump_file(s->json, path, 0), 0);
    snprintf(path, sizeof path, "%s/%u.eml", dir, n);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(mime.p, 1, mime.n, f), mime.n);
    fclose(f);
}

/* INJ-01: the fields of the message are the fields asked for, whatever stands
 * in them; what cannot stand in a field is refused, and nothing is built. */
static void
nothing_is_injected(void **state)
{
    (void)state;
    char dir[] = "/tmp/stagepost-mime-XXXXXX", command[256];
    unsigned built = 0, refused = 0;
    assert_non_null(mkdtemp(dir));
    srand(20260101);
    for (unsigned i = 0; i < PROPERTY_ROUNDS; i++) {
        struct sample s = random_sample();
        char *json = json_dumps(s.json, 0);
        struct message m;
        compile(&m, json);
        if (s.unsafe || is_blank(s.header) || is_blank(s.filename) ||
            strstr(s.filename, "=?") != NULL) {
            assert_int_equal(m.result, MESSAGE_INVALID);
            assert_int_equal(m.mime.len, 0);
            refused++;
        } else {
            size_t body_at;
            assert_int_equal(m.result, MESSAGE_OK);
            struct slice section = header_section(buf_slice(&m.mime), &body_at);
            assert_clean(buf_slice(&m.mime));
            assert_int_equal(count_fields(section), 6);
            assert_true(has_field(section, "From", 1) && has_field(section, "To", 1));
            assert_true(has_field(section, "Subject", 1) && has_field(section, "X-Custom", 1));
            assert_true(has_field(section, "MIME-Version", 1));
            assert_true(has_field(section, "Content-Type", 1) && has_field(section, "Bcc", 0));
            assert_same_message(&s, buf_slice(&m.mime));
            if (built < KEPT_FOR_PYTHON)
                keep_for_python(dir, built, &s, buf_slice(&m.mime));
            built++;
        }
        message_fini(&m);
        free(json);
        sample_free(&s);
    }
    assert_true(built > PROPERTY_ROUNDS / 10 && refused > PROPERTY_ROUNDS / 10);
    snprintf(command, sizeof command, "/usr/bin/python3 tests/unit/support/mime_check.py %s", dir);
    int python = system(command);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(python, 0);
}

static struct slice
decoded_text(GMimeObject *part, GByteArray *out)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(out);
    g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(stream), FALSE);
    g_mime_data_wrapper_write_to_stream(g_mime_part_get_content(GMIME_PART(part)), stream);
    g_object_unref(stream);
    return slice_from(out->data, out->len);
}

/* INJ-05: texts come back whole whatever lines they have. */
static void
texts_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *read, *encoding;
    } ROWS[] = {
        {"plain", "plain\r\n", "7bit"},
        {"a\\nb\\r\\nc\\rd\\n", "a\r\nb\r\nc\r\nd\r\n", "7bit"},
        {".\\n..\\nFrom me\\n", ".\r\n..\r\nFrom me\r\n", "7bit"},
        {"", "\r\n", "7bit"},
        {"--=_x\\n--=_x--", "--=_x\r\n--=_x--\r\n", "7bit"},
        {"a \\n", "a \r\n", "7bit"},
        {"tab\\tand esc \\u001b", "tab\tand esc \x1b\r\n", "quoted-printable"},
        {"\xd0\xb6\\n\xd0\xb6\\r\xd0\xb6\\r\\n", "\xd0\xb6\r\n\xd0\xb6\r\n\xd0\xb6\r\n", "base64"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f\r\n", "base64"},
        {"mostly ASCII with one \xc3\xbc in it = fine",
         "mostly ASCII with one \xc3\xbc in it = fine\r\n", "quoted-printable"},
        {"an ASCII line that is much longer than seventy-six characters is folded softly, "
         "so it is encoded \\n.\\n",
         "an ASCII line that is much longer than seventy-six characters is folded softly, "
         "so it is encoded \r\n.\r\n",
         "quoted-printable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct message m;
        char json[1024];
        snprintf(json, sizeof json,
                 "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"html\":\"%s\"}", ROWS[i].text);
        compile(&m, json);
        assert_int_equal(m.result, MESSAGE_OK);
        assert_clean(buf_slice(&m.mime));
        GMimeMessage *parsed = parse_back(buf_slice(&m.mime));
        GMimeObject *part = g_mime_message_get_mime_part(parsed);
        GByteArray *bytes = g_byte_array_new();
        struct slice read = decoded_text(part, bytes);
        assert_true(slice_eq(read, slice_str(ROWS[i].read)));
        assert_string_equal(g_mime_object_get_header(part, "Content-Transfer-Encoding"),
                            ROWS[i].encoding);
        g_byte_array_free(bytes, TRUE);
        g_object_unref(parsed);
        message_fini(&m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_wrong_field),
        cmocka_unit_test(denies_header_names),
        cmocka_unit_test(judges_content_types),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(bounds_json),
        cmocka_unit_test(keeps_limits),
        cmocka_unit_test(collects_errors),
        cmocka_unit_test(collects_recipients),
        cmocka_unit_test(writes_international_addresses),
        cmocka_unit_test(nothing_is_injected),
        cmocka_unit_test(texts_come_back),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
