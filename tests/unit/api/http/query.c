#include "api/http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static void
decodes(void **state)
{
    (void)state;
    struct arena arena;
    struct query q;
    struct slice v;
    arena_init(&arena, 1 << 20);
    struct slice text = SLICE("from=shop+a@example.com&to=%22a%20b%22%40x.example&&to=b%40y&=e&n");
    assert_int_equal(query_parse(text, &arena, &q), PARSE_OK);
    assert_int_equal(q.count, 5);
    assert_true(query_find(&q, SLICE("from"), &v) && slice_eq(v, SLICE("shop+a@example.com")));
    assert_true(query_find(&q, SLICE("to"), &v) && slice_eq(v, SLICE("\"a b\"@x.example")));
    assert_true(slice_eq(q.pairs[2].value, SLICE("b@y")));
    assert_true(query_find(&q, SLICE(""), &v) && slice_eq(v, SLICE("e")));
    assert_true(query_find(&q, SLICE("n"), &v) && v.n == 0);
    assert_false(query_find(&q, SLICE("x"), &v));
    assert_int_equal(query_parse(SLICE_NONE, &arena, &q), PARSE_OK);
    assert_int_equal(q.count, 0);
    arena_fini(&arena);
}

static void
refuses(void **state)
{
    (void)state;
    static const char *const BAD[] = {"a=%", "a=%1", "a=%1g", "a=%g1", "%", "a=%00", "a=%u0041"};
    struct arena arena;
    struct query q = {.count = 77};
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_int_equal(query_parse(slice_str(BAD[i]), &arena, &q), PARSE_BAD);
    char many[HTTP_QUERY_PAIRS_MAX + 2];
    memset(many, '&', sizeof many);
    assert_int_equal(query_parse(slice_from(many, HTTP_QUERY_PAIRS_MAX), &arena, &q), PARSE_BAD);
    assert_int_equal(q.count, 77); /* untouched */
    assert_int_equal(query_parse(slice_from(many, HTTP_QUERY_PAIRS_MAX - 1), &arena, &q), PARSE_OK);
    arena_fini(&arena);
    arena_init(&arena, 8);
    assert_int_equal(query_parse(SLICE("a=b"), &arena, &q), PARSE_BAD);
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decodes), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
