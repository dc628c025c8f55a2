#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

static void
make(struct buf *b, uint8_t type, uint64_t request, struct slice payload)
{
    assert_true(frame_add_header(b, type, request, payload.n));
    assert_true(buf_add(b, payload));
}

static void
the_layout_is_fixed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    make(&b, 7, 0x0102030405060708, SLICE("ab"));
    static const char WANT[] = "\0\0\0\x0c\x01\x07\x01\x02\x03\x04\x05\x06\x07\x08"
                               "ab";
    assert_int_equal(b.len, sizeof WANT - 1);
    assert_memory_equal(buf_slice(&b).p, WANT, sizeof WANT - 1);
    buf_fini(&b);
}

static void
frames_are_cut_at_any_split(void **state)
{
    (void)state;
    struct buf b;
    struct frame f;
    buf_init(&b, 1000);
    make(&b, 1, 42, SLICE("hello"));
    size_t first = b.len;
    make(&b, 255, UINT64_MAX, SLICE_NONE);
    for (size_t n = 0; n <= b.len; n++) {
        struct slice in = slice_from(buf_slice(&b).p, n);
        enum parse want = n < first ? PARSE_MORE : PARSE_OK;
        assert_int_equal(frame_cut(&in, &f), want);
        assert_int_equal(in.n, want == PARSE_OK ? n - first : n);
        if (want != PARSE_OK)
            continue;
        assert_int_equal(f.type, 1);
        assert_int_equal(f.request, 42);
        assert_true(slice_eq(f.payload, SLICE("hello")));
        assert_int_equal(frame_cut(&in, &f), n < b.len ? PARSE_MORE : PARSE_OK);
    }
    assert_int_equal(f.type, 255);
    assert_true(f.request == UINT64_MAX);
    assert_int_equal(f.payload.n, 0);
    buf_fini(&b);
}

static void
bad_frames_are_seen_early(void **state)
{
    (void)state;
    struct frame f;
    struct slice too_short = SLICE("\0\0\0\x09");
    assert_int_equal(frame_cut(&too_short, &f), PARSE_BAD);
    struct slice too_long = SLICE("\0\x10\0\0"); /* with its length field over the limit */
    assert_int_equal(frame_cut(&too_long, &f), PARSE_BAD);
    struct slice huge = SLICE("\xff\xff\xff\xff");
    assert_int_equal(frame_cut(&huge, &f), PARSE_BAD);
    struct slice version = SLICE("\0\0\0\x0a\x02");
    assert_int_equal(frame_cut(&version, &f), PARSE_BAD);
    assert_int_equal(version.n, 5);
}

static void
the_longest_frame_fits_and_no_longer(void **state)
{
    (void)state;
    struct buf b;
    struct frame f;
    static char payload[FRAME_BYTES_MAX - FRAME_HEADER_BYTES];
    buf_init(&b, FRAME_BYTES_MAX);
    assert_false(frame_add_header(&b, 1, 1, sizeof payload + 1));
    assert_int_equal(b.len, 0);
    make(&b, 1, 1, slice_from(payload, sizeof payload));
    struct slice in = buf_slice(&b);
    assert_int_equal(in.n, FRAME_BYTES_MAX);
    assert_int_equal(frame_cut(&in, &f), PARSE_OK);
    assert_int_equal(f.payload.n, sizeof payload);
    buf_fini(&b);
}

static void
fields_come_back(void **state)
{
    (void)state;
    struct buf b;
    uint32_t small;
    uint64_t large;
    struct slice bytes;
    buf_init(&b, 24);
    assert_true(frame_add_u32(&b, 0xdeadbeef));
    assert_true(frame_add_u64(&b, 0x0123456789abcdef));
    assert_true(frame_add_bytes(&b, SLICE("x\0y")));
    assert_false(frame_add_bytes(&b, SLICE("zz"))); /* 5 left: whole or not at all */
    assert_int_equal(b.len, 19);
    struct slice in = buf_slice(&b);
    assert_true(frame_cut_u32(&in, &small) && small == 0xdeadbeef);
    assert_true(frame_cut_u64(&in, &large) && large == 0x0123456789abcdef);
    assert_true(frame_cut_bytes(&in, &bytes) && slice_eq(bytes, SLICE("x\0y")));
    assert_int_equal(in.n, 0);
    assert_false(frame_cut_u32(&in, &small));
    assert_false(frame_cut_u64(&in, &large));
    assert_false(frame_cut_bytes(&in, &bytes));
    struct slice lies = SLICE("\0\0\0\x04"
                              "abc");
    assert_false(frame_cut_bytes(&lies, &bytes));
    assert_int_equal(lies.n, 7);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_fixed),
        cmocka_unit_test(frames_are_cut_at_any_split),
        cmocka_unit_test(bad_frames_are_seen_early),
        cmocka_unit_test(the_longest_frame_fits_and_no_longer),
        cmocka_unit_test(fields_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
