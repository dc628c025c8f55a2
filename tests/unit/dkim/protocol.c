/* Decoding requests to the signer. */
#include "dkim/protocol.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

static struct buf b;
static char zeros[SIGN_PIECE_BYTES + 1];

static void
new_frame(enum sign_frame type, uint64_t request, struct slice payload)
{
    buf_fini(&b);
    buf_init(&b, FRAME_BYTES_MAX);
    assert_true(frame_add_header(&b, (uint8_t)type, request, payload.n));
    assert_true(buf_add(&b, payload));
}

static void
new_begin(uint32_t message_bytes, struct slice domain)
{
    buf_fini(&b);
    buf_init(&b, FRAME_BYTES_MAX);
    assert_true(sign_request_add_begin(&b, 7, message_bytes, domain));
}

static enum parse
cut(struct sign_request *out)
{
    struct slice in = buf_slice(&b);
    enum parse p = sign_request_cut(&in, out);
    assert_int_equal(in.n, p == PARSE_OK ? 0 : buf_slice(&b).n);
    return p;
}

static int
tear_down(void **state)
{
    (void)state;
    buf_fini(&b);
    return 0;
}

static void
begin_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct sign_request q;
    new_begin(12345, SLICE("example.org"));
    assert_int_equal(cut(&q), PARSE_OK);
    assert_int_equal(q.type, SIGN_FRAME_BEGIN);
    assert_int_equal(q.request, 7);
    assert_int_equal(q.message_bytes, 12345);
    assert_true(slice_eq(q.domain, SLICE("example.org")));
}

static void
every_prefix_needs_more(void **state)
{
    (void)state;
    struct sign_request q;
    new_begin(12345, SLICE("example.org"));
    struct slice all = buf_slice(&b);
    for (size_t n = 0; n < all.n; n++) {
        struct slice in = slice_from(all.p, n);
        assert_int_equal(sign_request_cut(&in, &q), PARSE_MORE);
        assert_int_equal(in.n, n);
    }
}

static void
begin_is_checked(void **state)
{
    (void)state;
    struct sign_request q;
    new_begin(0, SLICE("example.org"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_begin(MESSAGE_BYTES_MAX, SLICE("example.org"));
    assert_int_equal(cut(&q), PARSE_OK);
    new_begin(MESSAGE_BYTES_MAX + 1, SLICE("example.org"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_begin(1, SLICE(""));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_begin(1, slice_from(zeros, ADDRESS_DOMAIN_MAX));
    assert_int_equal(cut(&q), PARSE_OK);
    new_begin(1, slice_from(zeros, ADDRESS_DOMAIN_MAX + 1));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame(SIGN_FRAME_BEGIN, 7, SLICE("\0\0\0\1\0\0\0\5abc"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame(SIGN_FRAME_BEGIN, 7, SLICE("\0\0\0\1\0\0\0\1abc"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame(SIGN_FRAME_BEGIN, 7, SLICE("\0\0\0"));
    assert_int_equal(cut(&q), PARSE_BAD);
}

static void
pieces_are_checked(void **state)
{
    (void)state;
    struct sign_request q;
    new_frame(SIGN_FRAME_PIECE, UINT64_MAX, slice_from(zeros, SIGN_PIECE_BYTES));
    assert_int_equal(cut(&q), PARSE_OK);
    assert_int_equal(q.type, SIGN_FRAME_PIECE);
    assert_true(q.request == UINT64_MAX);
    assert_int_equal(q.piece.n, SIGN_PIECE_BYTES);
    new_frame(SIGN_FRAME_PIECE, 1, slice_from(zeros, SIGN_PIECE_BYTES + 1));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame(SIGN_FRAME_PIECE, 1, SLICE_NONE);
    assert_int_equal(cut(&q), PARSE_BAD);
}

static void
other_frames_are_checked(void **state)
{
    (void)state;
    struct sign_request q;
    new_frame(SIGN_FRAME_ABANDON, 3, SLICE_NONE);
    assert_int_equal(cut(&q), PARSE_OK);
    assert_int_equal(q.type, SIGN_FRAME_ABANDON);
    new_frame(SIGN_FRAME_ABANDON, 3, SLICE("x"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame(SIGN_FRAME_SIGNED, 3, SLICE("x"));
    assert_int_equal(cut(&q), PARSE_BAD);
    new_frame((enum sign_frame)0, 3, SLICE("x"));
    assert_int_equal(cut(&q), PARSE_BAD);
}

static void
a_frame_that_cannot_end_is_bad_before_the_buffer_is_full(void **state)
{
    (void)state;
    struct sign_request q;
    buf_fini(&b);
    buf_init(&b, FRAME_BYTES_MAX);
    frame_add_header(&b, SIGN_FRAME_PIECE, 1, SIGN_PIECE_BYTES + 1);
    buf_add(&b, slice_from(zeros, SIGN_PIECE_BYTES - 1));
    assert_int_equal(cut(&q), PARSE_MORE);
    buf_add_char(&b, '\0');
    assert_int_equal(cut(&q), PARSE_BAD);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_is_read_as_it_was_written),
        cmocka_unit_test(every_prefix_needs_more),
        cmocka_unit_test(begin_is_checked),
        cmocka_unit_test(pieces_are_checked),
        cmocka_unit_test(other_frames_are_checked),
        cmocka_unit_test(a_frame_that_cannot_end_is_bad_before_the_buffer_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
