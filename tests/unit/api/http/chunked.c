#include "api/http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* Feeds text in two pieces; returns the last step, the body and what is left. */
static enum chunked_step
decode(struct slice text, size_t split, struct buf *body, size_t *left)
{
    struct chunked c;
    chunked_init(&c);
    size_t have = split, at = 0;
    for (;;) {
        struct slice in = slice_from(text.p + at, have - at), piece;
        enum chunked_step step = chunked_cut(&c, &in, &piece);
        at = (size_t)(in.p - text.p);
        *left = text.n - at;
        if (step == CHUNKED_PIECE) {
            assert_true(piece.n > 0);
            buf_add(body, piece);
        } else if (step != CHUNKED_MORE || have == text.n) {
            return step;
        } else {
            have = text.n;
        }
    }
}

static const struct {
    const char *text, *body;
    enum chunked_step step;
    size_t left;
} ROWS[] = {
    {"5\r\nhello\r\n0\r\n\r\n", "hello", CHUNKED_END, 0},
    {"5\r\nhello\r\n0\r\n\r\nGET", "hello", CHUNKED_END, 3},
    {"0\r\n\r\n", "", CHUNKED_END, 0},
    {"000\r\n\r\n", "", CHUNKED_END, 0},
    {"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0;x\r\n\r\n", "hello0123456789", CHUNKED_END, 0},
    {"1\r\na\r\n0\r\nX: y\r\nZ: w\r\n\r\nrest", "a", CHUNKED_END, 4},
    {"5\r\n\r\n\r\n\r\r\n0\r\n\r\n", "\r\n\r\n\r", CHUNKED_END, 0},
    /* INJ-06: what http-parser or others let through */
    {"5\r\nhelloXX0\r\n\r\n", "hello", CHUNKED_BAD, 0},
    {"5\r\nhello\n0\r\n\r\n", "hello", CHUNKED_BAD, 0},
    {"5\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"5;\nX\r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"5;a\rb\r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"5 \r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {" 5\r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"0x5\r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"+5\r\nhello\r\n0\r\n\r\n", "", CHUNKED_BAD, 0},
    {"-1\r\n", "", CHUNKED_BAD, 0},
    {"\r\n", "", CHUNKED_BAD, 0},
    {";x\r\n", "", CHUNKED_BAD, 0},
    {"100000000\r\n", "", CHUNKED_BAD, 0}, /* nine digits */
    {"000000005\r\nhello\r\n", "", CHUNKED_BAD, 0},
    {"0\r\nX: y\n\r\n", "", CHUNKED_BAD, 0},
    {"0\r\n\n", "", CHUNKED_BAD, 0},
    {"5\r\nhel", "hel", CHUNKED_MORE, 0},
    {"5\r\nhello\r", "hello", CHUNKED_MORE, 1},
    {"0\r\n", "", CHUNKED_MORE, 0},
};

static void
decodes_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice text = slice_str(ROWS[i].text);
        for (size_t split = 0; split <= text.n; split++) {
            struct buf body;
            size_t left;
            buf_init(&body, 1000);
            enum chunked_step step = decode(text, split, &body, &left);
            bool same = slice_eq(buf_slice(&body), slice_str(ROWS[i].body));
            bool left_ok = step == CHUNKED_BAD || left == ROWS[i].left;
            if (step != ROWS[i].step || !same || !left_ok)
                fail_msg("row %zu split %zu: step %d left %zu", i, split, step, left);
            buf_fini(&body);
        }
    }
}

static enum chunked_step
decode_filled(const char *before, size_t fill, const char *after)
{
    static char text[3 * HTTP_TRAILER_MAX];
    struct buf body;
    size_t left;
    int n = sprintf(text, "%s%0*d%s", before, (int)fill, 0, after);
    buf_init(&body, 1000);
    enum chunked_step step = decode(slice_from(text, (size_t)n), (size_t)n, &body, &left);
    buf_fini(&body);
    return step;
}

static void
keeps_limits(void **state)
{
    (void)state;
    assert_int_equal(decode_filled("0;", HTTP_CHUNK_LINE_MAX - 4, "\r\n\r\n"), CHUNKED_END);
    assert_int_equal(decode_filled("0;", HTTP_CHUNK_LINE_MAX - 3, "\r\n\r\n"), CHUNKED_BAD);
    assert_int_equal(decode_filled("0;", HTTP_CHUNK_LINE_MAX - 2, ""), CHUNKED_BAD);
    assert_int_equal(decode_filled("0\r\nX: ", HTTP_TRAILER_MAX - 7, "\r\n\r\n"), CHUNKED_END);
    assert_int_equal(decode_filled("0\r\nX: ", HTTP_TRAILER_MAX, "\r\n\r\n"), CHUNKED_BAD);
    assert_int_equal(decode_filled("0\r\nX: ", HTTP_TRAILER_MAX, ""), CHUNKED_BAD);
}

/* Many short trailer lines come to the same limit. */
static void
counts_all_trailers(void **state)
{
    (void)state;
    static char text[3 * HTTP_TRAILER_MAX] = "0\r\n";
    struct buf body;
    size_t n = 3, left;
    while (n < 2 * HTTP_TRAILER_MAX)
        n += (size_t)sprintf(text + n, "A: b\r\n");
    buf_init(&body, 1);
    assert_int_equal(decode(slice_from(text, n), n, &body, &left), CHUNKED_BAD);
    buf_fini(&body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_at_every_split),
        cmocka_unit_test(keeps_limits),
        cmocka_unit_test(counts_all_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
