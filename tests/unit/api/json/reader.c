#include "api/json/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"

static void
keeps_nul_in_strings(void **state)
{
    (void)state;
    char why[100];
    json_t *root = reader_parse_object(SLICE("{\"a\":\"x\\u0000y\"}"), why, sizeof why);
    assert_non_null(root);
    struct slice s = reader_string(json_object_get(root, "a"));
    assert_true(s.n == 3 && memcmp(s.p, "x\0y", 3) == 0);
    json_decref(root);
}

/* n opening brackets, then as many closing ones. */
static json_t *
parse_nested(unsigned n, char *why, size_t why_bytes)
{
    char text[256] = "{\"a\":";
    size_t at = strlen(text);
    memset(text + at, '[', n);
    memset(text + at + n, ']', n);
    text[at + 2 * n] = '}';
    return reader_parse_object(slice_from(text, at + 2 * n + 1), why, why_bytes);
}

static json_t *
parse_many(unsigned values, char *why, size_t why_bytes)
{
    static char text[2 * API_JSON_VALUES_MAX + 64];
    size_t n = (size_t)sprintf(text, "{\"a\":[1");
    for (unsigned i = 1; i < values; i++)
        n += (size_t)sprintf(text + n, ",1");
    n += (size_t)sprintf(text + n, "]}");
    return reader_parse_object(slice_from(text, n), why, why_bytes);
}

static void
bounds_depth_and_values(void **state)
{
    (void)state;
    char why[100];
    json_t *root = parse_nested(API_JSON_DEPTH_MAX - 1, why, sizeof why);
    assert_non_null(root);
    json_decref(root);
    assert_null(parse_nested(API_JSON_DEPTH_MAX, why, sizeof why));
    assert_string_equal(why, "the JSON is nested too deeply");
    root = parse_many(API_JSON_VALUES_MAX - 2, why, sizeof why);
    assert_non_null(root);
    json_decref(root);
    assert_null(parse_many(API_JSON_VALUES_MAX - 1, why, sizeof why));
    assert_string_equal(why, "the JSON has too many values");
}

static void
says_where_it_is_wrong(void **state)
{
    (void)state;
    char why[100];
    assert_null(reader_parse_object(SLICE("{\n\"a\":}"), why, sizeof why));
    assert_non_null(strstr(why, "line 2"));
    assert_null(reader_parse_object(SLICE("[1]"), why, sizeof why));
    assert_string_equal(why, "the JSON must be an object");
    assert_null(reader_parse_object(SLICE_NONE, why, sizeof why));
    assert_null(reader_parse_object(SLICE("{\"a\":\"\\"), why, sizeof why));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_nul_in_strings),
        cmocka_unit_test(bounds_depth_and_values),
        cmocka_unit_test(says_where_it_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
