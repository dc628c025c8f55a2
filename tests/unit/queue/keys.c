/* Key names: one slot for a partition, and no text of a user collides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "queue/keys.h"

static void
lanes_never_collide(void **state)
{
    (void)state;
    struct key a, b;
    assert_true(key_lane(QUEUE_BULK, SLICE("a.org"), SLICE("t:x"), &a));
    assert_true(key_lane(QUEUE_BULK, SLICE("a.org:t"), SLICE("x"), &b));
    assert_false(slice_eq(key_slice(&a), key_slice(&b)));
    assert_true(slice_eq(key_slice(&a), SLICE("1:5:a.org:t:x")));
    assert_true(key_lane(QUEUE_TRANSACTIONAL, SLICE("a.org"), SLICE("t:x"), &b));
    assert_false(slice_eq(key_slice(&a), key_slice(&b)));
    struct key q = key_of_queue(17, SLICE("1:1:}{:{0}"));
    assert_true(slice_starts(key_slice(&q), SLICE("sp:{17}:q:")));
}

static void
every_partition_has_its_name(void **state)
{
    (void)state;
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++) {
        char want[32];
        snprintf(want, sizeof want, "sp:{%u}:due", p);
        struct key k = key_of_part(p, KEY_DUE);
        assert_true(slice_eq(key_slice(&k), slice_str(want)));
    }
}

static void
overlong_texts_are_refused(void **state)
{
    (void)state;
    char text[300];
    struct key k;
    memset(text, 'a', sizeof text);
    assert_true(key_lane(QUEUE_BULK, slice_from(text, 253), slice_from(text, 255), &k));
    assert_false(key_lane(QUEUE_BULK, slice_from(text, 254), SLICE("t"), &k));
    assert_false(key_lane(QUEUE_BULK, SLICE("h"), slice_from(text, 256), &k));
}

static void
members_round_trip(void **state)
{
    (void)state;
    struct msg_id id = id_new(255), got;
    char text[KEY_MEMBER_MAX + 1];
    unsigned n;
    size_t len = key_member(id, 999, text);
    assert_true(key_member_parse(slice_from(text, len), &got, &n));
    assert_true(id_eq(id, got));
    assert_int_equal(n, 999);
    static const char *const BAD[] = {"", ".", "1", ".x", ".1000", ".99999999999", "..1", ".-1"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        char bad[80];
        memcpy(bad, text, ID_TEXT_BYTES);
        strcpy(bad + ID_TEXT_BYTES, BAD[i]);
        assert_false(key_member_parse(slice_str(bad), &got, &n));
    }
    assert_false(key_member_parse(SLICE_NONE, &got, &n));
}

static void
keys_of_one_partition_share_its_tag(void **state)
{
    (void)state;
    struct msg_id id = id_new(42);
    struct key keys[] = {key_of_message(id), key_of_tombstone(id), key_of_chunk(id, 3),
                         key_of_part(42, KEY_LEASE), key_of_idempotency(42, (uint8_t[32]){1})};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_true(slice_starts(key_slice(&keys[i]), SLICE("sp:{42}:")));
}

static void
digests_separate_their_parts(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    key_digest(SLICE("ab"), SLICE("c"), a);
    key_digest(SLICE("a"), SLICE("bc"), b);
    assert_memory_not_equal(a, b, 32);
    key_digest(SLICE("ab"), SLICE("c"), b);
    assert_memory_equal(a, b, 32);
}

static void
lanes_are_read_back(void **state)
{
    (void)state;
    static const char *const TEXTS[][2] = {
        {"example.org", "tenant"}, {"", ""}, {"a:b", ":c:"}, {"x", "1:2:3"}};
    static const char *const BROKEN[] = {"",        "0",       "0:",
                                         "0:1:a",   "0:2:a:",  "2:1:a:t",
                                         "x:1:a:t", "0:x:a:t", "0:99999999999999999999:a:t"};
    for (size_t i = 0; i < 4; i++) {
        enum queue_class klass;
        struct slice hop, tenant;
        struct key lane;
        assert_true(key_lane(QUEUE_BULK, slice_str(TEXTS[i][0]), slice_str(TEXTS[i][1]), &lane));
        assert_true(key_lane_parse(key_slice(&lane), &klass, &hop, &tenant));
        assert_int_equal(klass, QUEUE_BULK);
        assert_true(slice_eq(hop, slice_str(TEXTS[i][0])));
        assert_true(slice_eq(tenant, slice_str(TEXTS[i][1])));
    }
    for (size_t i = 0; i < sizeof BROKEN / sizeof BROKEN[0]; i++) {
        enum queue_class klass;
        struct slice hop, tenant;
        assert_false(key_lane_parse(slice_str(BROKEN[i]), &klass, &hop, &tenant));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_are_read_back),
        cmocka_unit_test(lanes_never_collide),
        cmocka_unit_test(every_partition_has_its_name),
        cmocka_unit_test(overlong_texts_are_refused),
        cmocka_unit_test(members_round_trip),
        cmocka_unit_test(keys_of_one_partition_share_its_tag),
        cmocka_unit_test(digests_separate_their_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
