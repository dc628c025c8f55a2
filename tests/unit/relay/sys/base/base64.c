#include "relay/sys/base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
round_trips_every_length(void **state)
{
    (void)state;
    char bytes[200];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct buf text, back;
        buf_init(&text, 1000);
        buf_init(&back, 1000);
        assert_true(base64_encode(slice_from(bytes, n), &text));
        assert_true(base64_decode(buf_slice(&text), &back));
        assert_true(slice_eq(buf_slice(&back), slice_from(bytes, n)));
        buf_fini(&text);
        buf_fini(&back);
    }
}

static void
bad_text_appends_nothing(void **state)
{
    (void)state;
    static const char *const BAD[] = {"A",    "AA",   "AAA",  "A===",  "====", "AA=A",  "AA==AAAA",
                                      "AB==", "AAB=", "AA A", "AA\n=", "AA-_", "AAAA=", "=AAA"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct buf out;
        buf_init(&out, 100);
        buf_add_str(&out, "kept");
        assert_false(base64_decode(slice_str(BAD[i]), &out));
        assert_true(slice_eq(buf_slice(&out), SLICE("kept")));
        buf_fini(&out);
    }
}

static void
knows_rfc_4648_vectors_and_the_maximum(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 8);
    assert_true(base64_encode(SLICE("foobar"), &out));
    assert_true(slice_eq(buf_slice(&out), SLICE("Zm9vYmFy")));
    assert_false(base64_encode(SLICE("x"), &out));
    buf_clear(&out);
    assert_false(base64_decode(SLICE("Zm9vYmFyZm9v"), &out));
    assert_int_equal(buf_slice(&out).n, 0);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_every_length),
        cmocka_unit_test(bad_text_appends_nothing),
        cmocka_unit_test(knows_rfc_4648_vectors_and_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
