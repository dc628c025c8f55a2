#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/message.h"
#include "relay/sys/base/bug.h"

#define GOOD "\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\""
#define WITH(members) "{" GOOD "," members "}"

enum { DAY_S = 86400 };
static const int64_t NOW = INT64_C(1795420800000); /* 2026-11-23T08:00:00Z */

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
    m->now_unix_ms = NOW;
    message_compile(m);
}

static void
reads_times(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t send_s, expires_s; /* from now; 0: none */
    } ROWS[] = {
        {WITH("\"ttl\":600"), 0, 600},
        {WITH("\"ttl\":2592000"), 0, 30 * DAY_S},
        {WITH("\"send_at\":\"2026-11-23T09:00:00Z\""), 3600, 0},
        {WITH("\"send_at\":\"2026-11-23T10:00:00+01:00\",\"ttl\":60"), 3600, 3660},
        {WITH("\"send_at\":\"2026-11-23T07:59:59Z\",\"ttl\":60"), 0, 60}, /* past: now */
        {WITH("\"send_at\":\"2026-12-23T08:00:00Z\""), 30 * DAY_S, 0},
        {WITH("\"expires_at\":\"2026-11-23T08:00:01Z\""), 0, 1},
        {WITH("\"send_at\":null,\"ttl\":null,\"class\":null,\"tags\":null,\"metadata\":null"), 0,
         0},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct message m;
        compile(&m, ROWS[i].json);
        assert_int_equal(m.result, MESSAGE_OK);
        assert_int_equal(m.send_at_unix_ms, ROWS[i].send_s ? NOW + ROWS[i].send_s * 1000 : 0);
        assert_int_equal(m.expires_unix_ms, ROWS[i].expires_s ? NOW + ROWS[i].expires_s * 1000 : 0);
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
        {WITH("\"send_at\":1795420800"), "/send_at", "wrong_type"},
        {WITH("\"send_at\":\"tomorrow\""), "/send_at", "invalid_time"},
        {WITH("\"send_at\":\"2026-12-23T08:00:01Z\""), "/send_at", "too_far"},
        {WITH("\"expires_at\":\"2026-11-23T08:00:00Z\""), "/expires_at", "too_early"},
        {WITH("\"send_at\":\"2026-11-24T08:00:00Z\",\"expires_at\":\"2026-11-24T08:00:00Z\""),
         "/expires_at", "too_early"},
        {WITH("\"ttl\":60,\"expires_at\":\"2026-11-24T08:00:00Z\""), "/ttl", "one_of"},
        {WITH("\"ttl\":0"), "/ttl", "invalid_ttl"},
        {WITH("\"ttl\":-1"), "/ttl", "invalid_ttl"},
        {WITH("\"ttl\":2592001"), "/ttl", "invalid_ttl"},
        {WITH("\"ttl\":1.5"), "/ttl", "invalid_ttl"},
        {WITH("\"ttl\":\"60\""), "/ttl", "invalid_ttl"},
        {WITH("\"class\":\"marketing\""), "/class", "unknown_class"},
        {WITH("\"class\":2"), "/class", "unknown_class"},
        {WITH("\"tags\":\"a\""), "/tags", "wrong_type"},
        {WITH("\"tags\":[\"a\",1]"), "/tags/1", "wrong_type"},
        {WITH("\"tags\":[\"\"]"), "/tags/0", "required"},
        {WITH("\"tags\":[\"a\\nb\"]"), "/tags/0", "control_character"},
        {WITH("\"tags\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\"]"),
         "/tags", "too_many"},
        {WITH("\"metadata\":[]"), "/metadata", "wrong_type"},
        {WITH("\"metadata\":{\"a\":1}"), "/metadata/a", "wrong_type"},
        {WITH("\"metadata\":{\"a\":{}}"), "/metadata/a", "wrong_type"},
        {WITH("\"metadata\":{\"\":\"x\"}"), "/metadata/", "required"},
        {WITH("\"metadata\":{\"a\\nb\":\"x\"}"), "/metadata/a\nb", "control_character"},
        {WITH("\"metadata\":{\"a\":\"x\\u0000\"}"), "/metadata/a", "control_character"},
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

static void
keeps_labels_as_json(void **state)
{
    (void)state;
    struct message m;
    compile(&m, WITH("\"tags\":[\"a\",\"\\\"b\\\"\"],\"metadata\":{\"k\":\"v\\\\\",\"l\":\"\"},"
                     "\"class\":\"bulk\""));
    assert_int_equal(m.result, MESSAGE_OK);
    assert_string_equal(m.tags.p, "[\"a\",\"\\\"b\\\"\"]");
    assert_string_equal(m.metadata.p, "{\"k\":\"v\\\\\",\"l\":\"\"}");
    assert_int_equal(m.klass, SUBMIT_CLASS_BULK);
    message_fini(&m);
    compile(&m, WITH("\"tags\":[],\"metadata\":{},\"class\":\"transactional\""));
    assert_int_equal(m.tags.n + m.metadata.n, 0);
    assert_int_equal(m.klass, SUBMIT_CLASS_TRANSACTIONAL);
    message_fini(&m);
}

/* What is kept with a message in memory and in Redis is bounded. */
static void
bounds_labels(void **state)
{
    (void)state;
    struct buf json;
    buf_init(&json, 64 << 10);
    buf_add_str(&json, "{" GOOD ",\"metadata\":{\"a\":\"\"");
    for (int i = 0; i < 20; i++)
        buf_addf(&json, ",\"k%d\":\"%0400d\"", i, i);
    buf_add(&json, slice_from("}}", 3));
    struct message m;
    compile(&m, buf_slice(&json).p);
    assert_int_equal(m.result, MESSAGE_INVALID);
    assert_string_equal(m.errors.v[0].pointer.p, "/metadata");
    assert_string_equal(m.errors.v[0].code, "too_long");
    message_fini(&m);
    buf_fini(&json);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_times),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(keeps_labels_as_json),
        cmocka_unit_test(bounds_labels),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
