#include "api/credential_draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static bool
read_draft(const char *text, struct arena *a, struct field_errors *e, struct config_credential *out)
{
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    arena_init(a, 1 << 20);
    field_errors_init(e, a);
    bool ok = credential_draft_read(root, e, out);
    json_decref(root);
    return ok;
}

static void
by_the_rules_of_the_file(void **state)
{
    struct arena a;
    struct field_errors e;
    struct config_credential c;
    (void)state;
    assert_true(read_draft("{\"user\":\"a@b.example\",\"tenant\":\"t\",\"class\":\"bulk\","
                           "\"senders\":[\"B.example\"],\"networks\":[\"10.0.0.0/8\"],"
                           "\"rate\":\"5/s\",\"daily\":7}",
                           &a, &e, &c));
    assert_string_equal(c.user, "a@b.example");
    assert_int_equal(c.klass, CONFIG_BULK);
    assert_string_equal(c.senders[0], "b.example");
    assert_int_equal(c.network_count, 1);
    assert_int_equal(c.rate.count, 5);
    assert_int_equal(c.daily, 7);
    assert_null(c.password_hash);
    arena_fini(&a);
}

static void
names_the_field(void **state)
{
    static const struct {
        const char *text, *pointer;
    } rows[] = {
        {"{\"tenant\":\"t\",\"senders\":[\"b.example\"]}", "/user"},
        {"{\"user\":\"u\",\"tenant\":\"t\"}", "/senders"},
        {"{\"user\":\"u\",\"tenant\":\"t\",\"senders\":\"b.example\"}", "/senders"},
        {"{\"user\":\"u\",\"tenant\":\"t\",\"senders\":[1]}", "/senders"},
        {"{\"user\":1,\"tenant\":\"t\",\"senders\":[\"b.example\"]}", "/user"},
        {"{\"user\":\"u\",\"tenant\":\"t\",\"senders\":[\"b.example\"],\"daily\":-1}", "/daily"},
        {"{\"user\":\"u\",\"tenant\":\"t\",\"senders\":[\"b.example\"],\"key_hash\":\"x\"}",
         "/key_hash"},
        {"{\"user\":\"u\",\"tenant\":\"t\",\"senders\":[\"b.example\"],\"frozen\":true}",
         "/frozen"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena a;
        struct field_errors e;
        struct config_credential c;
        assert_false(read_draft(rows[i].text, &a, &e, &c));
        assert_int_equal(e.total, 1);
        if (!slice_eq(e.v[0].pointer, slice_str(rows[i].pointer)))
            fail_msg("row %zu: %.*s", i, SLICE_FMT(e.v[0].pointer));
        arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_the_rules_of_the_file),
                                       cmocka_unit_test(names_the_field)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
