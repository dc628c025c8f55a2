/* What header fields say about a message, under each of their names. */
#include "relay/accept/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"

static const int64_t NOW = INT64_C(1795420800000); /* 2026-11-23T08:00:00Z */

struct fixture {
    struct arena arena;
    struct controls out;
    const char *why;
};

static bool
read_fields(struct fixture *f, const char *section)
{
    *f = (struct fixture){.out.wishes.now_unix_ms = NOW};
    arena_init(&f->arena, SMTP_TRANSACTION_ARENA_MAX);
    return control_read(slice_str(section), &f->arena, &f->out, &f->why);
}

#define TEXT(s) ((s).n > 0 ? (s).p : "")

static void
each_name_has_its_effect(void **state)
{
    (void)state;
    static const struct {
        const char *section, *key, *tags, *metadata;
        int64_t send_s, expires_s; /* from now; 0: none */
        enum submit_class klass;
        unsigned ignored;
    } ROWS[] = {
        {"Subject: X-Stagepost-Tag: no\r\n", "", "", "", 0, 0, 0, 0},
        {"X-Stagepost-Idempotency-Key: a b\r\n", "a b", "", "", 0, 0, 0, 0},
        {"resend-idempotency-KEY: =?utf-8?q?a?=\r\n", "=?utf-8?q?a?=", "", "", 0, 0, 0, 0},
        {"X-Stagepost-Tag: a\r\nX-PM-TAG: b\r\nx-mailgun-tag: c\r\nX-Mailgun-Tag: a\r\n", "",
         "[\"a\",\"b\",\"c\",\"a\"]", "", 0, 0, 0, 0},
        {"X-Postal-Tag: a\r\n", "", "[\"a\"]", "", 0, 0, 0, 0},
        {"X-SMTPAPI: {\"to\":[]}\r\nX-MSYS-API: {}\r\nX-MC-Tags: a\r\nX-Mailin-Tag: a\r\n", "", "",
         "", 0, 0, 0, 4},
        {"X-Stagepost-Tag: two\r\n words\r\n", "", "[\"two words\"]", "", 0, 0, 0, 0},
        {"X-Stagepost-Tag: =?utf-8?q?gr=C3=BC?=\r\n =?utf-8?q?n?=\r\n", "", "[\"gr\xc3\xbcn\"]", "",
         0, 0, 0, 0},
        {"X-Stagepost-Metadata: order = 17=x\r\nX-Stagepost-Metadata: b=\r\n", "", "",
         "{\"order\":\"17=x\",\"b\":\"\"}", 0, 0, 0, 0},
        {"X-PM-Metadata-Color: \"red\"\r\n", "", "", "{\"Color\":\"\\\"red\\\"\"}", 0, 0, 0, 0},
        {"X-Mailgun-Variables: {\"a\":\"1\",\"n\":-2}\r\nX-Mailgun-Variables: {\"c\":\"3\"}\r\n",
         "", "", "{\"a\":\"1\",\"n\":\"-2\",\"c\":\"3\"}", 0, 0, 0, 0},
        {"X-SES-MESSAGE-TAGS: a=1, b=2\r\n", "", "", "{\"a\":\"1\",\"b\":\"2\"}", 0, 0, 0, 0},
        {"X-Stagepost-Send-At: 2026-11-23T10:00:00+01:00\r\nX-Stagepost-TTL: 60\r\n", "", "", "",
         3600, 3660, 0, 0},
        {"X-Mailgun-Deliver-By: Mon, 23 Nov 2026 09:00:00 +0000\r\n", "", "", "", 3600, 0, 0, 0},
        {"X-Stagepost-Send-At: 2026-11-23T07:00:00Z\r\n", "", "", "", 0, 0, 0, 0}, /* past: now */
        {"X-Stagepost-Expires-At: 2026-11-23T08:00:01Z\r\n", "", "", "", 0, 1, 0, 0},
        {"X-Stagepost-Class: bulk\r\n", "", "", "", 0, 0, SUBMIT_CLASS_BULK, 0},
        {"X-Stagepost-Class: transactional\r\n", "", "", "", 0, 0, SUBMIT_CLASS_TRANSACTIONAL, 0},
        {"X-PM-Message-Stream: Broadcast\r\n", "", "", "", 0, 0, SUBMIT_CLASS_BULK, 0},
        {"X-PM-Message-Stream: outbound\r\n", "", "", "", 0, 0, 0, 0},
        {"X-PM-Message-Stream: letters\r\n", "", "", "", 0, 0, 0, 1},
        {"X-Mailgun-Drop-Message: no\r\nX-Mailgun-Require-TLS: False\r\n", "", "", "", 0, 0, 0, 0},
        {"X-PM-TrackOpens: true\r\nX-Mailgun-Track: yes\r\nX-SES-Configuration-Set: a\r\n", "", "",
         "", 0, 0, 0, 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct fixture f;
        if (!read_fields(&f, ROWS[i].section))
            fail_msg("%s%s", ROWS[i].section, f.why);
        const struct wishes *w = &f.out.wishes;
        assert_string_equal(TEXT(f.out.idempotency_key), ROWS[i].key);
        assert_string_equal(TEXT(w->tags), ROWS[i].tags);
        assert_string_equal(TEXT(w->metadata), ROWS[i].metadata);
        assert_int_equal(w->send_at_unix_ms, ROWS[i].send_s ? NOW + ROWS[i].send_s * 1000 : 0);
        assert_int_equal(w->expires_unix_ms,
                         ROWS[i].expires_s ? NOW + ROWS[i].expires_s * 1000 : 0);
        assert_int_equal(w->klass, ROWS[i].klass);
        assert_int_equal(f.out.ignored_count, ROWS[i].ignored);
        arena_fini(&f.arena);
    }
}

static void
what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *section, *why;
    } ROWS[] = {
        {"X-Stagepost-Tga: a\r\n", "X-Stagepost-Tga: there is no such control field"},
        {"X-Stagepost-: a\r\n", "X-Stagepost-: there is no such control field"},
        {"Resend-Idempotency-Key: a\r\nX-Stagepost-Idempotency-Key: a\r\n",
         "X-Stagepost-Idempotency-Key: was said before"},
        {"X-Stagepost-Idempotency-Key: \r\n", "1 to 256"},
        {"X-Stagepost-Idempotency-Key: a\tb\r\n", "1 to 256"},
        {"X-Stagepost-Tag: \r\n", "X-Stagepost-Tag: a name or value is empty"},
        {"X-PM-Tag: =?utf-8?q?a=0D=0Ab?=\r\n", "X-PM-Tag: line breaks"},
        {"X-PM-Tag: =?utf-8?q?a=00b?=\r\n", "X-PM-Tag: line breaks"},
        {"X-PM-Tag: =?utf-8?q?=E2=80=AE?=\r\n", "X-PM-Tag: line breaks"},
        {"X-PM-Tag: =?utf-7?q?a?=\r\n", "X-PM-Tag: has an encoded word that cannot be read"},
        {"X-Stagepost-Tag: =?utf-8?q?a\r\n", "has an encoded word that cannot be read"},
        {"X-Stagepost-Metadata: a\r\n", "X-Stagepost-Metadata: must be name=value"},
        {"X-Stagepost-Metadata: =a\r\n", "X-Stagepost-Metadata: a name or value is empty"},
        {"X-Stagepost-Metadata: a=1\r\nX-PM-Metadata-a: 2\r\n", "X-PM-Metadata-a: the name stands"},
        {"X-PM-Metadata-: 2\r\n", "X-PM-Metadata-: a name or value is empty"},
        {"X-SES-Message-Tags: a=1,, b=2\r\n", "X-SES-Message-Tags: must be name=value"},
        {"X-Mailgun-Variables: [1]\r\n", "X-Mailgun-Variables: must be a JSON object"},
        {"X-Mailgun-Variables: {\"a\":\"1\",\"a\":\"2\"}\r\n", "must be a JSON object"},
        {"X-Mailgun-Variables: {\"a\":{}}\r\n", "values must be strings or whole numbers"},
        {"X-Mailgun-Variables: {\"a\":\"\\u000a\"}\r\n", "X-Mailgun-Variables: line breaks"},
        {"X-Stagepost-Send-At: tomorrow\r\n", "X-Stagepost-Send-At: must be a time as"},
        {"X-Stagepost-Send-At: 2026-12-23T08:00:01Z\r\n", "more than 30 days"},
        {"X-Mailgun-Deliver-By: 2026-11-23T09:00:00Z\r\n", "must be a date as Mon, 23 Nov"},
        {"X-Mailgun-Deliver-By: Mon, 23 Nov 2026 09:00:00 GMT\r\n"
         "X-Stagepost-Send-At: 2026-11-23T09:00:00Z\r\n",
         "X-Stagepost-Send-At: was said before"},
        {"X-Stagepost-Expires-At: 2026-11-23T08:00:00Z\r\n", "it would expire before it is sent"},
        {"X-Stagepost-TTL: 60\r\nX-Stagepost-Expires-At: 2026-11-24T08:00:00Z\r\n",
         "either a time"},
        {"X-Stagepost-TTL: 0\r\n", "X-Stagepost-TTL: must be a number of seconds"},
        {"X-Stagepost-TTL: 1h\r\n", "X-Stagepost-TTL: must be a number of seconds"},
        {"X-Stagepost-TTL: 60\r\nX-Stagepost-TTL: 60\r\n", "X-Stagepost-TTL: was said before"},
        {"X-Stagepost-Class: Bulk\r\n", "X-Stagepost-Class: must be transactional or bulk"},
        {"X-PM-Message-Stream: outbound\r\nX-Stagepost-Class: bulk\r\n", "was said before"},
        {"X-Mailgun-Drop-Message: yes\r\n", "X-Mailgun-Drop-Message: is not possible here"},
        {"X-Mailgun-Require-TLS: true\r\n", "X-Mailgun-Require-TLS: is not possible here"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct fixture f;
        if (read_fields(&f, ROWS[i].section))
            fail_msg("taken: %s", ROWS[i].section);
        if (strstr(f.why, ROWS[i].why) == NULL)
            fail_msg("%s%s", ROWS[i].section, f.why);
        arena_fini(&f.arena);
    }
}

static void
add_times(struct buf *b, unsigned n, const char *before, const char *behind)
{
    for (unsigned i = 0; i < n; i++) {
        buf_addf(b, "%s%02u%s\r\n", before, i, behind);
    }
    buf_add_char(b, '\0');
}

static void
add_long(struct buf *b, const char *name, unsigned n)
{
    buf_add_str(b, name);
    while (n-- > 0)
        buf_add_char(b, 'x');
    buf_add(b, slice_from("\r\n", 3));
}

/* What is one more than there may be, and as much as there may be. */
static void
limits_are_kept(void **state)
{
    (void)state;
    struct buf b[9];
    for (size_t i = 0; i < ARRAY_LEN(b); i++)
        buf_init(&b[i], 64 << 10);
    add_times(&b[0], WISH_TAGS_MAX, "X-Stagepost-Tag: ", "");
    add_times(&b[1], WISH_TAGS_MAX + 1, "X-PM-Tag: ", "");
    add_times(&b[2], WISH_METADATA_MAX, "X-Stagepost-Metadata: ", "=x");
    add_times(&b[3], WISH_METADATA_MAX + 1, "X-PM-Metadata-", ": x");
    add_long(&b[4], "X-Stagepost-Tag: ", WISH_TAG_MAX + 1);
    add_long(&b[5], "X-Stagepost-Tag: ", WISH_TAG_MAX);
    add_long(&b[6], "X-Stagepost-Metadata: m=", WISH_METADATA_VALUE_MAX + 1);
    add_long(&b[7], "X-Stagepost-Idempotency-Key: ", IDEMPOTENCY_KEY_MAX + 1);
    for (int i = 0; i < 9; i++)
        buf_addf(&b[8], "X-PM-Metadata-%d: %0500d\r\n", i, i);
    buf_add_char(&b[8], '\0');
    static const char *const WHY[] = {NULL, "too many", NULL,        "too many", "too long",
                                      NULL, "too long", "printable", "more text"};
    for (size_t i = 0; i < ARRAY_LEN(b); i++) {
        struct fixture f;
        bool ok = read_fields(&f, buf_slice(&b[i]).p);
        if (ok != (WHY[i] == NULL) || (!ok && strstr(f.why, WHY[i]) == NULL))
            fail_msg("row %zu: %s", i, ok ? "taken" : f.why);
        arena_fini(&f.arena);
        buf_fini(&b[i]);
    }
}

static void
the_arena_is_a_budget(void **state)
{
    (void)state;
    static const char SECTION[] = "X-Stagepost-Tag: a\r\nX-PM-TrackOpens: b\r\n"
                                  "X-Mailgun-Variables: {\"n\":\"v\"}\r\n";
    bool ok = false;
    unsigned refused = 0;
    for (size_t budget = 0; !ok; budget += 16, refused += !ok) {
        struct fixture f = {.out.wishes.now_unix_ms = NOW, .why = ""};
        assert_true(budget < 1 << 20);
        arena_init(&f.arena, budget);
        ok = control_read(slice_str(SECTION), &f.arena, &f.out, &f.why);
        assert_true(ok || f.why == NULL);
        arena_fini(&f.arena);
    }
    assert_true(refused > 0);
}

static void
only_these_are_control_fields(void **state)
{
    (void)state;
    static const char *const THEY[] = {"x-stagepost-tag",
                                       "X-Stagepost-Anything",
                                       "RESEND-Idempotency-Key",
                                       "X-Pm-Tag",
                                       "X-PM-",
                                       "X-Mailgun-Sid",
                                       "x-smtpapi",
                                       "X-SES-Outgoing"};
    static const char *const OTHERS[] = {
        "X-Stagepost",  "Subject",       "X-PM",       "X-Mailgunner", "Idempotency-Key",
        "X-SESSION-ID", "X-PMX-Version", "X-SMTPAPI2", "X-Mailer",     ""};
    for (size_t i = 0; i < ARRAY_LEN(THEY); i++)
        assert_true(control_is_one(slice_str(THEY[i])));
    for (size_t i = 0; i < ARRAY_LEN(OTHERS); i++)
        assert_false(control_is_one(slice_str(OTHERS[i])));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_has_its_effect),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(the_arena_is_a_budget),
        cmocka_unit_test(only_these_are_control_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
