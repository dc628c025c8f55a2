#include "relay/sys/base/blob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
counts_references_and_bytes(void **state)
{
    (void)state;
    size_t before = blob_total_bytes();
    struct blob *b = blob_new_copy(SLICE("hello")), *again = blob_ref(b);
    assert_int_equal(blob_total_bytes(), before + 5);
    blob_unref(&b);
    assert_null(b);
    assert_true(slice_eq(blob_slice(again), SLICE("hello")));
    blob_unref(&again);
    assert_int_equal(blob_total_bytes(), before);
    blob_unref(&again); /* NULL is fine */
    assert_int_equal(blob_slice(NULL).n, 0);
}

static void
takes_a_buffer_over(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    buf_add_str(&buf, "xxbody");
    buf_consume(&buf, 2);
    struct blob *b = blob_take_buf(&buf);
    assert_true(slice_eq(blob_slice(b), SLICE("body")));
    assert_int_equal(buf_slice(&buf).n, 0);
    assert_true(buf_add_str(&buf, "usable again"));
    buf_fini(&buf);
    blob_unref(&b);
}

static void
content_is_head_and_the_rest(void **state)
{
    (void)state;
    struct slice piece[2];
    struct content c = {.head = blob_new_copy(SLICE("Received: x\r\n")),
                        .rest = blob_new_copy(SLICE("old\r\nkept")),
                        .rest_at = 5};
    assert_int_equal(content_bytes(&c), 13 + 4);
    assert_int_equal(content_pieces(&c, piece), 2);
    assert_true(slice_eq(piece[1], SLICE("kept")));
    struct content other = content_ref(&c);
    content_unref(&c);
    assert_int_equal(content_bytes(&c), 0);
    assert_int_equal(content_pieces(&other, piece), 2);
    blob_unref(&other.head);
    assert_int_equal(content_pieces(&other, piece), 1);
    assert_true(slice_eq(piece[0], SLICE("kept")));
    assert_int_equal(piece[1].n, 0);
    content_unref(&other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_references_and_bytes),
        cmocka_unit_test(takes_a_buffer_over),
        cmocka_unit_test(content_is_head_and_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
