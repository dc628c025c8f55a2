/* Heads of answers: whole at every cut, nonsense. */
#include "relay/cli/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

static void
reads_a_head(void **state)
{
    (void)state;
    static const char TEXT[] = "HTTP/1.1 503 Service Unavailable\r\nDate: x\r\n"
                               "content-LENGTH:  12 \r\nRetry-After: 5\r\n\r\n";
    for (size_t n = 0; n < sizeof TEXT - 1; n++) {
        struct slice in = slice_from(TEXT, n);
        struct answer_head h = {.status = 7};
        assert_int_equal(answer_cut_head(&in, &h), PARSE_MORE);
        assert_true(in.n == n && h.status == 7);
    }
    struct slice in = SLICE("HTTP/1.1 503 Service Unavailable\r\nDate: x\r\n"
                            "content-LENGTH:  12 \r\nRetry-After: 5\r\n\r\n{}");
    struct answer_head h;
    assert_int_equal(answer_cut_head(&in, &h), PARSE_OK);
    assert_int_equal(h.status, 503);
    assert_int_equal(h.body_bytes, 12);
    assert_int_equal(h.retry_after_s, 5);
    assert_true(slice_eq(in, SLICE("{}")));
    in = SLICE("HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(answer_cut_head(&in, &h), PARSE_OK);
    assert_true(h.status == 204 && h.body_bytes == 0 && h.retry_after_s == 0 && in.n == 0);
}

static void
refuses_what_is_no_answer(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "220 mx.example ESMTP\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 600 x\r\n\r\n",
        "HTTP/1.1 2x0 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct slice in = slice_str(BAD[i]), before = in;
        struct answer_head h = {.status = 7};
        if (answer_cut_head(&in, &h) != PARSE_BAD)
            fail_msg("%s", BAD[i]);
        assert_true(in.p == before.p && in.n == before.n && h.status == 7);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_head),
        cmocka_unit_test(refuses_what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
