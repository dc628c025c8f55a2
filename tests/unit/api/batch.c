#include "api/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

#define DRAFT "\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\""

static int
set_up(void **state)
{
    (void)state;
    message_setup();
    return 0;
}

static void
compile_with(struct batch *b, const char *json, const char *key)
{
    batch_init(b, slice_str(json), 1 << 20, slice_str(key));
    batch_compile(b);
}

static void
assert_error(const struct batch *b, unsigned i, const char *pointer, const char *code)
{
    assert_true(i < b->errors.count);
    assert_string_equal(b->errors.v[i].pointer.p, pointer);
    assert_string_equal(b->errors.v[i].code, code);
}

static void
reads_drafts(void **state)
{
    (void)state;
    struct batch b;
    compile_with(&b, "{\"messages\":[{" DRAFT ",\"subject\":\"one\"},{" DRAFT "}]}", "");
    assert_int_equal(b.result, MESSAGE_OK);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.items[0].message.result, MESSAGE_OK);
    assert_non_null(
        memmem(b.items[0].message.mime.mem, b.items[0].message.mime.len, "Subject: one", 12));
    assert_int_equal(b.items[1].message.recipient_count, 1);
    assert_int_equal(b.items[1].key.n, 0);
    batch_fini(&b);
}

static void
refuses_what_is_no_batch(void **state)
{
    (void)state;
    static const struct {
        const char *json, *pointer, *code;
    } ROWS[] = {
        {"{}", "/messages", "required"},
        {"{\"messages\":{}}", "/messages", "required"},
        {"{\"messages\":[]}", "/messages", "required"},
        {"{\"messages\":[{" DRAFT "}],\"moed\":\"strict\"}", "/moed", "unknown_field"},
        {"{\"messages\":[{" DRAFT "}],\"mode\":\"lax\"}", "/mode", "unknown_mode"},
        {"{\"messages\":[{" DRAFT "}],\"mode\":1}", "/mode", "unknown_mode"},
        {"{\"messages\":[{" DRAFT "},7]}", "/messages/1", "wrong_type"},
        {"{\"messages\":[{" DRAFT "},{" DRAFT ",\"subject\":\"a\\nb\"}]}", "/messages/1/subject",
         "control_character"},
        {"{\"messages\":[{" DRAFT ",\"idempotency_key\":\"\"}]}", "/messages/0/idempotency_key",
         "invalid_idempotency_key"},
        {"{\"messages\":[{" DRAFT ",\"idempotency_key\":\"a\\u0000\"}]}",
         "/messages/0/idempotency_key", "invalid_idempotency_key"},
        {"{\"messages\":[{" DRAFT ",\"idempotency_key\":\"k\"},{" DRAFT
         ",\"idempotency_key\":\"k\"}]}",
         "/messages/1/idempotency_key", "duplicate_key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct batch b;
        compile_with(&b, ROWS[i].json, "");
        assert_int_equal(b.result, MESSAGE_INVALID);
        assert_error(&b, 0, ROWS[i].pointer, ROWS[i].code);
        batch_fini(&b);
    }
    struct batch b;
    compile_with(&b, "[]", "");
    assert_int_equal(b.result, MESSAGE_NOT_JSON);
    batch_fini(&b);
}

static void
keeps_its_limits(void **state)
{
    (void)state;
    struct buf json;
    struct batch b;
    for (unsigned more = 0; more < 2; more++) {
        buf_init(&json, 1 << 20);
        buf_add_str(&json, "{\"messages\":[{" DRAFT "}");
        for (unsigned i = 1; i < API_BATCH_MAX + more; i++)
            buf_add_str(&json, ",{" DRAFT "}");
        buf_add(&json, slice_from("]}", 3));
        compile_with(&b, buf_slice(&json).p, "");
        assert_int_equal(b.result, more ? MESSAGE_INVALID : MESSAGE_OK);
        assert_int_equal(b.count, more ? 0 : API_BATCH_MAX);
        batch_fini(&b);
        buf_fini(&json);
    }
    /* Together they are as large as one message may be. */
    static const char TWO[] = "{\"mode\":\"permissive\",\"messages\":[{" DRAFT "},{" DRAFT "}]}";
    batch_init(&b, SLICE(TWO), 200, SLICE_NONE);
    batch_compile(&b);
    assert_int_equal(b.items[0].message.result, MESSAGE_OK);
    assert_int_equal(b.items[1].message.result, MESSAGE_TOO_LARGE);
    batch_fini(&b);
}

static void
goes_on_when_permissive(void **state)
{
    (void)state;
    struct batch b;
    compile_with(&b, "{\"mode\":\"permissive\",\"messages\":[{\"form\":1},3,{" DRAFT "}]}", "");
    assert_int_equal(b.result, MESSAGE_OK);
    assert_int_equal(b.count, 3);
    assert_int_equal(b.items[0].message.result, MESSAGE_INVALID);
    assert_string_equal(b.items[0].message.errors.v[0].pointer.p, "/form");
    assert_int_equal(b.items[1].message.result, MESSAGE_INVALID);
    assert_int_equal(b.items[2].message.result, MESSAGE_OK);
    batch_fini(&b);
}

static void
same_key(const char *a, const char *key_a, const char *b, const char *key_b, bool *key,
         bool *digest)
{
    struct batch x, y;
    compile_with(&x, a, key_a);
    compile_with(&y, b, key_b);
    assert_int_equal(x.result, MESSAGE_OK);
    assert_int_equal(y.result, MESSAGE_OK);
    *key = slice_eq(x.items[0].key, y.items[0].key);
    *digest = memcmp(x.items[0].digest, y.items[0].digest, BATCH_DIGEST_BYTES) == 0;
    batch_fini(&x);
    batch_fini(&y);
}

static void
derives_keys(void **state)
{
    (void)state;
    static const char A[] = "{\"messages\":[{" DRAFT "},{" DRAFT "}]}";
    static const char B[] = "{\"messages\":[{" DRAFT "}]}";
    static const char OWN[] = "{\"messages\":[{\"idempotency_key\":\"k\"," DRAFT "}]}";
    static const char OWN_TOO[] =
        "{\"messages\":[{" DRAFT ", \"idempotency_key\":\"k\"},{" DRAFT "}]}";
    static const char OWN_OTHER[] =
        "{\"messages\":[{\"idempotency_key\":\"k\",\"subject\":\"s\"," DRAFT "}]}";
    bool key, digest;
    same_key(A, "x", A, "x", &key, &digest);
    assert_true(key && digest);
    same_key(A, "x", A, "y", &key, &digest);
    assert_false(key);
    same_key(A, "x", B, "x", &key, &digest); /* another batch: a conflict */
    assert_true(key && !digest);
    same_key(OWN, "", OWN_TOO, "x", &key, &digest); /* one's own counts alone */
    assert_true(key && digest);
    same_key(OWN, "", OWN_OTHER, "", &key, &digest);
    assert_true(key && !digest);
    struct batch b;
    compile_with(&b, A, "x");
    assert_false(slice_eq(b.items[0].key, b.items[1].key));
    assert_in_range(b.items[1].key.n, 70, IDEMPOTENCY_KEY_MAX);
    batch_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_drafts),     cmocka_unit_test(refuses_what_is_no_batch),
        cmocka_unit_test(keeps_its_limits), cmocka_unit_test(goes_on_when_permissive),
        cmocka_unit_test(derives_keys),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
