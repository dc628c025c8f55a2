#include "relay/accept/lint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

static const char *const OWNED[] = {"b.example"};
static const struct config_credential CREDENTIAL = {
    .user = "shop", .senders = (const char **)(uintptr_t)OWNED, .sender_count = 1};
static const struct config_dkim_key KEYS[] = {{.domain = "b.example"}};
static const struct config CONFIG = {
    .dkim_keys = KEYS, .dkim_key_count = 1, .message_bytes_max = 50 << 20};

static struct lint_report report;

static void
lint(const char *message, const struct lint_facts *facts)
{
    struct blob *b = blob_new_copy(slice_str(message));
    lint_message(b, facts, &report);
    blob_unref(&b);
}

static const struct lint_finding *
found(const char *id)
{
    for (unsigned i = 0; i < report.count; i++)
        if (strcmp(report.v[i].id, id) == 0)
            return &report.v[i];
    return NULL;
}

#define USUAL "From: a@b.example\r\nSubject: s\r\nDate: d\r\nMessage-ID: <m@b.example>\r\n"
#define TEXT "\r\nx\r\n"
#define POST "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
#define LIST "List-Unsubscribe: <https://x.example/u>\r\n"

static void
finds_nothing_in_a_good_one(void **state)
{
    (void)state;
    const struct lint_facts facts = {.config = &CONFIG, .credential = &CREDENTIAL};
    const struct lint_facts bulk = {.bulk = true, .config = &CONFIG, .credential = &CREDENTIAL};
    lint(USUAL "Auto-Submitted: auto-generated\r\n" TEXT, &facts);
    assert_int_equal(report.count, 0);
    assert_false(report.errors);
    lint(USUAL LIST POST "List-Id: <l.b.example>\r\nFeedback-ID: a:b:c:sender\r\n" TEXT, &bulk);
    assert_int_equal(report.count, 0);
}

static const struct {
    const char *message, *id;
    enum lint_severity severity;
    bool bulk;
} ROWS[] = {
    {"Subject: s\r\n" TEXT, "from-missing", LINT_ERROR, false},
    {"From: a@b.example\r\nFrom: c@b.example\r\n" TEXT, "duplicate-field", LINT_ERROR, false},
    {USUAL "subject: two\r\n" TEXT, "duplicate-field", LINT_ERROR, false},
    {"From: a@b.example, c@b.example\r\nSubject: s\r\n" TEXT, "refused", LINT_ERROR, false},
    {"From: nobody\r\n" TEXT, "refused", LINT_ERROR, false},
    {"From: a@b.example\r\n" TEXT, "subject-missing", LINT_WARNING, false},
    {"From: a@b.example\r\n" TEXT, "date-missing", LINT_INFO, false},
    {"From: a@b.example\r\n" TEXT, "message-id-missing", LINT_INFO, false},
    {USUAL "Bcc: x@y.example\r\n" TEXT, "bcc-field", LINT_ERROR, false},
    {USUAL "X-A: gr\xc3\xbc\xc3\x9f\r\n" TEXT, "eight-bit-header", LINT_WARNING, false},
    {USUAL TEXT, "bulk-without-one-click", LINT_ERROR, true},
    {USUAL LIST TEXT, "bulk-without-one-click", LINT_ERROR, true},
    {USUAL LIST "List-Unsubscribe-Post: yes\r\n" TEXT, "one-click-malformed", LINT_ERROR, true},
    {USUAL "List-Unsubscribe: <mailto:u@b.example>\r\n" POST TEXT, "one-click-without-https",
     LINT_ERROR, true},
    {USUAL "List-Unsubscribe: <http://x.example>\r\n" POST TEXT, "one-click-without-https",
     LINT_ERROR, true},
    {USUAL "List-Unsubscribe: =?utf-8?q?=3Chttps://x=3E?=\r\n" TEXT, "unsubscribe-encoded",
     LINT_ERROR, false},
    {USUAL LIST POST "DKIM-Signature: v=1; d=b.example;\r\n h=from:list-unsubscribe; b=x\r\n" TEXT,
     "one-click-not-signed", LINT_WARNING, true},
    {USUAL LIST POST TEXT, "one-click-on-transactional", LINT_INFO, false},
    {USUAL "Feedback-ID: a:b:c:d:sender\r\n" TEXT, "feedback-id-malformed", LINT_WARNING, false},
    {USUAL "Feedback-ID: a:b:c:abcd\r\n" TEXT, "feedback-id-malformed", LINT_WARNING, false},
    {USUAL "Feedback-ID: a:1234567890123456\r\n" TEXT, "feedback-id-malformed", LINT_WARNING,
     false},
    {USUAL "Feedback-ID: a:sender\r\nFeedback-ID: b:sender\r\n" TEXT, "duplicate-field", LINT_ERROR,
     false},
    {USUAL TEXT, "auto-submitted-missing", LINT_INFO, false},
    {USUAL LIST POST TEXT, "list-id-missing", LINT_INFO, true},
    {"From: a@gmail.com\r\nSubject: s\r\n" TEXT, "free-mail-from", LINT_ERROR, false},
    {"From: a@other.example\r\nSubject: s\r\n" TEXT, "sender-not-owned", LINT_ERROR, false},
    {"From: a@other.example\r\nSubject: s\r\n" TEXT, "no-dkim-key", LINT_ERROR, false},
    {USUAL "Content-Type: text/html\r\n" TEXT, "no-text-part", LINT_WARNING, false},
    {USUAL "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n"
           "\r\nx\r\n--b--\r\n",
     "no-text-part", LINT_WARNING, false},
    {USUAL
     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
     "Content-Disposition: attachment;\r\n filename=\"Invoice.PDF.exe\"\r\n\r\nx\r\n--b--\r\n",
     "executable-attachment", LINT_WARNING, false},
    {USUAL "Content-Type: application/octet-stream; name*=utf-8''a.js\r\n" TEXT,
     "executable-attachment", LINT_WARNING, false},
    {USUAL "X-PM-TrackOpens: true\r\n" TEXT, "control-ignored", LINT_INFO, false},
    {USUAL "X-Stagepost-Tga: a\r\n" TEXT, "refused", LINT_ERROR, false},
    {USUAL "\r\na\nb\r\n", "bare-line-end", LINT_ERROR, false},
    {USUAL "\r\na\rb\r\n", "bare-line-end", LINT_ERROR, false},
    {USUAL "\r\nno end", "bare-line-end", LINT_ERROR, false},
};

static void
finds_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        const struct lint_facts facts = {
            .bulk = ROWS[i].bulk, .config = &CONFIG, .credential = &CREDENTIAL};
        lint(ROWS[i].message, &facts);
        const struct lint_finding *f = found(ROWS[i].id);
        if (f == NULL)
            fail_msg("no %s in: %s", ROWS[i].id, ROWS[i].message);
        assert_int_equal(f->severity, ROWS[i].severity);
        assert_true(f->detail[0] != '\0');
        assert_int_equal(report.errors, report.errors || f->severity == LINT_ERROR);
    }
}

static void
does_not_find_what_is_right(void **state)
{
    (void)state;
    const struct lint_facts facts = {.bulk = true, .config = &CONFIG, .credential = &CREDENTIAL};
    lint(USUAL LIST POST "DKIM-Signature: v=1; h=from : List-Unsubscribe:\r\n"
                         " list-unsubscribe-post; b=x\r\n"
                         "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
                         "Content-Type: text/plain\r\n\r\nname=x.exe\r\n--b\r\n"
                         "Content-Type: text/html\r\n\r\nx\r\n--b--\r\n",
         &facts);
    assert_null(found("one-click-not-signed"));
    assert_null(found("no-text-part"));
    assert_null(found("executable-attachment"));
    assert_false(report.errors);
}

/* Without configuration and credential nothing is said of what they know. */
static void
does_not_judge_what_it_does_not_know(void **state)
{
    (void)state;
    const struct lint_facts facts = {.bulk = false};
    lint("From: a@other.example\r\nSubject: s\r\n" TEXT, &facts);
    assert_null(found("no-dkim-key"));
    assert_null(found("sender-not-owned"));
    assert_false(report.errors);
}

static void
says_what_others_know(void **state)
{
    (void)state;
    static const struct {
        enum believed result;
        const char *id;
        bool error;
    } ROWS_OF[] = {{BELIEVED_FAIL, "not-believed", true},
                   {BELIEVED_WEAK, "weakly-authenticated", false},
                   {BELIEVED_UNKNOWN, "authentication-unknown", false}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS_OF); i++) {
        struct believed_verdict v = {.result = ROWS_OF[i].result, .text = "publish this"};
        const struct lint_facts facts = {.believed = &v};
        lint(USUAL TEXT, &facts);
        assert_non_null(found(ROWS_OF[i].id));
        assert_string_equal(found(ROWS_OF[i].id)->detail, "publish this");
        assert_int_equal(report.errors, ROWS_OF[i].error);
    }
    const struct slice to[] = {SLICE("a@x.example"), SLICE("b@x.example")};
    const bool suppressed[] = {false, true};
    const struct lint_facts facts = {
        .recipients = to, .suppressed = suppressed, .recipient_count = 2};
    lint(USUAL TEXT, &facts);
    assert_non_null(strstr(found("suppressed-recipient")->detail, "b@x.example"));
    const struct config small = {.message_bytes_max = 10};
    const struct lint_facts limited = {.config = &small};
    lint(USUAL TEXT, &limited);
    assert_non_null(found("too-large"));
}

/* More than anybody reads, and texts without an end. */
static void
stays_bounded(void **state)
{
    (void)state;
    struct buf b;
    const struct lint_facts facts = {.bulk = true};
    buf_init(&b, 4 << 20);
    buf_add_str(&b, USUAL "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        buf_add_str(&b, "--b\r\nContent-Disposition: x; filename=a.exe\r\n\r\n\r\n");
    for (int i = 0; i < 300000; i++)
        buf_add_str(&b, "name=name");
    buf_add(&b, slice_from("\r\n", 3));
    lint(buf_slice(&b).p, &facts);
    assert_int_equal(report.count, LINT_FINDINGS_MAX);
    assert_true(report.errors); /* the long line, though it was not kept */
    buf_fini(&b);
}

static void
reads_the_from_domain(void **state)
{
    (void)state;
    struct arena arena;
    struct slice domain;
    arena_init(&arena, 1 << 20);
    assert_true(lint_from_domain(SLICE("From: X <a@B.Example>\r\n\r\n"), &arena, &domain));
    assert_true(slice_eq(domain, SLICE("b.example")));
    assert_false(lint_from_domain(SLICE("To: a@b.example\r\n\r\n"), &arena, &domain));
    assert_false(lint_from_domain(SLICE("From: nobody\r\n\r\n"), &arena, &domain));
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_nothing_in_a_good_one),
        cmocka_unit_test(finds_what_is_wrong),
        cmocka_unit_test(does_not_find_what_is_right),
        cmocka_unit_test(does_not_judge_what_it_does_not_know),
        cmocka_unit_test(says_what_others_know),
        cmocka_unit_test(stays_bounded),
        cmocka_unit_test(reads_the_from_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
