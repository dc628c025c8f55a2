#include "api/json/writer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
writes_json(void **state)
{
    (void)state;
    struct buf out;
    struct writer w;
    buf_init(&out, 1000);
    writer_init(&w, &out);
    writer_open(&w, NULL, '{');
    writer_open(&w, "empty", '[');
    writer_close(&w, ']');
    writer_open(&w, "list", '[');
    writer_number(&w, NULL, UINT64_MAX);
    writer_bool(&w, NULL, false);
    writer_null(&w, NULL);
    writer_open(&w, NULL, '{');
    writer_close(&w, '}');
    writer_close(&w, ']');
    writer_string(&w, "a\"b", SLICE("x\r\n\x1b\\"));
    writer_string_or_null(&w, "none", SLICE_NONE);
    writer_time(&w, "at", 1795420800123);
    writer_raw(&w, "raw", SLICE("[1]"));
    writer_close(&w, '}');
    assert_true(slice_eq(buf_slice(&out),
                         SLICE("{\"empty\":[],\"list\":[18446744073709551615,false,null,{}],"
                               "\"a\\\"b\":\"x\\u000d\\u000a\\u001b\\\\\",\"none\":null,"
                               "\"at\":\"2026-11-23T08:00:00.123Z\",\"raw\":[1]}")));
    buf_fini(&out);
}

/* Bytes that are no UTF-8 never make the whole answer unreadable (INJ-10). */
static void
mends_invalid_utf8(void **state)
{
    (void)state;
    struct buf out;
    struct writer w;
    buf_init(&out, 1000);
    writer_init(&w, &out);
    writer_string(&w, NULL, SLICE("a\xff\xc3"));
    assert_true(slice_eq(buf_slice(&out), SLICE("\"a\\ufffd\\ufffd\"")));
    buf_fini(&out);
}

static void
says_when_it_does_not_fit(void **state)
{
    (void)state;
    struct buf out;
    struct writer w;
    buf_init(&out, 4);
    writer_init(&w, &out);
    writer_string(&w, NULL, SLICE("longer"));
    assert_true(out.overflowed);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_json),
        cmocka_unit_test(mends_invalid_utf8),
        cmocka_unit_test(says_when_it_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
