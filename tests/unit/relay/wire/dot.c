/* relay/wire/dot: taking dots out of DATA and putting them in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/dot.h"
#include "tests/unit/support/long_run.h"

/* SLICE() for static tables. */
#define LITERAL(s)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

enum { OUT_MAX = 1 << 20, ROUNDS = 20000, ROUNDS_LONG = 10000000 };

struct outcome {
    enum parse verdict;
    struct dot_decoder d;
    size_t left; /* input octets behind the end of data */
    struct buf out;
};

/* Decodes wire[0..at) and then the rest. */
static struct outcome
decode_split(struct slice wire, size_t at, size_t max)
{
    struct outcome o;
    dot_decoder_init(&o.d, max);
    buf_init(&o.out, OUT_MAX);
    struct slice first = slice_from(wire.p, at), second = slice_skip(wire, at);
    o.verdict = dot_decode(&o.d, &first, &o.out);
    if (o.verdict == PARSE_MORE) {
        assert_int_equal(first.n, 0);
        o.verdict = dot_decode(&o.d, &second, &o.out);
    }
    o.left = first.n + second.n;
    return o;
}

/* The same answer whatever the split: `text` decoded, `left` octets unread. */
static void
expect_clean(struct slice wire, struct slice text, size_t left)
{
    for (size_t at = 0; at <= wire.n; at++) {
        struct outcome o = decode_split(wire, at, OUT_MAX);
        assert_int_equal(o.verdict, PARSE_OK);
        assert_false(o.d.bare || o.d.over_size);
        assert_int_equal(o.left, left);
        assert_int_equal(o.d.size_bytes, text.n);
        assert_true(slice_eq(buf_slice(&o.out), text));
        buf_fini(&o.out);
    }
}

/* Marked as bare, and ended by the legal end behind it and by nothing else. */
static void
expect_bare(struct slice wire)
{
    struct buf whole;
    buf_init(&whole, OUT_MAX);
    assert_true(buf_add(&whole, SLICE("Subject: x\r\n\r\nfirst\r\n")) && buf_add(&whole, wire));
    assert_true(buf_add(&whole, SLICE("MAIL FROM:<smuggled@x>\r\nlast\r\n.\r\nQUIT\r\n")));
    for (size_t at = 0; at <= buf_slice(&whole).n; at++) {
        struct outcome o = decode_split(buf_slice(&whole), at, OUT_MAX);
        assert_int_equal(o.verdict, PARSE_OK);
        assert_true(o.d.bare);
        assert_int_equal(o.left, strlen("QUIT\r\n"));
        buf_fini(&o.out);
    }
    buf_fini(&whole);
}

/* SMG-01 to SMG-09 */
static void
test_bare_line_ends_never_end_data(void **state)
{
    (void)state;
    static const struct slice cases[] = {
        LITERAL("x\n.\n"),   LITERAL("x\r.\r"),      LITERAL("x\r.\n"),   LITERAL("x\n.\r"),
        LITERAL("x\n.\r\n"), LITERAL("x\r\n.\n"),    LITERAL("x\r.\r\n"), LITERAL("x\r\n.\r"),
        LITERAL("x\n\n.\n"), LITERAL("x\n\r\n.x\n"), LITERAL("\n.\r\n"),  LITERAL("\r.\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_bare(cases[i]);
}

/* SMG-10 */
static void
test_nul_never_ends_data(void **state)
{
    (void)state;
    expect_bare(slice_from("x\r\n\0.\r\n", 7));
    expect_bare(slice_from("x\r\n.\0\r\n", 7));
    expect_bare(slice_from("\0", 1));
}

/* SMG-11 */
static void
test_near_ends(void **state)
{
    (void)state;
    expect_bare(SLICE("\r\n.\r\r\n"));
    expect_bare(SLICE("\r\r\n"));
    expect_clean(SLICE("a\r\n. \r\n.\t\r\n.\r\n"), SLICE("a\r\n \r\n\t\r\n"), 0);
    expect_clean(SLICE("a\r\n..\r\n.\r\n"), SLICE("a\r\n.\r\n"), 0);
    expect_clean(SLICE("a\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n\xc2\x85.\xc2\x85\v.\f\r\n.\r\n"),
                 SLICE("a\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n\xc2\x85.\xc2\x85\v.\f\r\n"), 0);
}

/* SMG-11: CR CR LF, then the legal end. The first line end there is CRLF. */
static void
test_end_behind_cr_cr_lf(void **state)
{
    (void)state;
    struct slice wire = SLICE("x\r\r\n.\r\nNOOP\r\n");
    for (size_t at = 0; at <= wire.n; at++) {
        struct outcome o = decode_split(wire, at, OUT_MAX);
        assert_int_equal(o.verdict, PARSE_OK);
        assert_true(o.d.bare);
        assert_int_equal(o.left, 6);
        buf_fini(&o.out);
    }
}

/* SMG-12 */
static void
test_empty_message(void **state)
{
    (void)state;
    expect_clean(SLICE(".\r\n"), SLICE(""), 0);
    expect_clean(SLICE(".\r\nMAIL"), SLICE(""), 4);
    expect_clean(SLICE("\r\n.\r\n"), SLICE("\r\n"), 0);
    expect_bare(SLICE("\n.\r\n"));
}

/* SMG-13 */
static void
test_stuffed_dots_come_out(void **state)
{
    (void)state;
    expect_clean(SLICE("..\r\n...\r\n..a\r\n....\r\na.\r\n.\r\n"),
                 SLICE(".\r\n..\r\n.a\r\n...\r\na.\r\n"), 0);
    expect_clean(SLICE("a\r\n.b\r\n.\r\n"), SLICE("a\r\nb\r\n"), 0);
}

/* SMG-16: what follows the end stays for the command parser. */
static void
test_pipelined_commands_stay(void **state)
{
    (void)state;
    expect_clean(SLICE("a\r\n.\r\nMAIL FROM:<a@b>\r\n"), SLICE("a\r\n"), 17);
    expect_clean(SLICE("a\r\n.\r\n.\r\n"), SLICE("a\r\n"), 3);
}

static void
test_facts(void **state)
{
    (void)state;
    struct slice wire = SLICE("abcde\r\n..bcdefgh\r\n\xc3\xa4\r\n.\r\n");
    for (size_t at = 0; at <= wire.n; at++) {
        struct outcome o = decode_split(wire, at, OUT_MAX);
        assert_int_equal(o.d.longest_line, 8);
        assert_true(o.d.eight_bit);
        buf_fini(&o.out);
    }
    struct outcome o = decode_split(SLICE("abcdefghijk\r\n.\r\n"), 3, OUT_MAX);
    assert_false(o.d.eight_bit);
    assert_int_equal(o.d.longest_line, 11);
    buf_fini(&o.out);
}

static void
test_over_size_goes_on_to_the_end(void **state)
{
    (void)state;
    struct slice wire = SLICE("0123456789\r\n0123456789\r\n.\r\nQUIT");
    for (size_t at = 0; at <= wire.n; at++) {
        struct outcome o = decode_split(wire, at, 23);
        assert_int_equal(o.verdict, PARSE_OK);
        assert_true(o.d.over_size);
        assert_int_equal(o.d.size_bytes, 24);
        assert_true(buf_slice(&o.out).n <= 23);
        assert_int_equal(o.left, 4);
        buf_fini(&o.out);
    }
    struct outcome o = decode_split(wire, 0, 24);
    assert_false(o.d.over_size);
    buf_fini(&o.out);
}

static void
test_full_buffer_is_over_size(void **state)
{
    (void)state;
    struct dot_decoder d;
    struct buf out;
    struct slice wire = SLICE("0123456789\r\n.\r\n");
    dot_decoder_init(&d, 100);
    buf_init(&out, 5);
    assert_int_equal(dot_decode(&d, &wire, &out), PARSE_OK);
    assert_true(d.over_size);
    buf_fini(&out);
}

/* A generator of our own, so that every run tests the same. */
static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void
fill_clean(struct buf *text, uint32_t *seed)
{
    static const char *const parts[] = {"\r\n", ".", "\r\n.", "a", "..", "\r\n\r\n", "xyz", "\xc3"};
    size_t n = next_random(seed) % 24;
    buf_clear(text);
    for (size_t i = 0; i < n; i++)
        assert_true(buf_add_str(text, parts[next_random(seed) % ARRAY_LEN(parts)]));
}

/* Encodes in pieces of random length into a buffer that is drained often. */
static void
encode_in_pieces(struct slice text, struct buf *wire, uint32_t *seed)
{
    struct dot_encoder e;
    struct buf small;
    enum parse r;
    dot_encoder_init(&e);
    buf_init(&small, 6 + next_random(seed) % 5);
    while (text.n > 0) {
        struct slice piece = slice_cut(&text, 1 + next_random(seed) % 5);
        while ((r = dot_encode(&e, &piece, &small)) == PARSE_MORE) {
            assert_true(buf_add(wire, buf_slice(&small)));
            buf_clear(&small);
        }
        assert_int_equal(r, PARSE_OK);
        assert_int_equal(piece.n, 0);
    }
    while ((r = dot_encode_end(&e, &small)) == PARSE_MORE) {
        assert_true(buf_add(wire, buf_slice(&small)));
        buf_clear(&small);
    }
    assert_int_equal(r, PARSE_OK);
    assert_true(buf_add(wire, buf_slice(&small)));
    buf_fini(&small);
}

static void
check_on_the_wire(struct slice w)
{
    assert_true(slice_ends_nocase(w, SLICE(".\r\n")));
    for (size_t i = 0; i < w.n; i++) {
        assert_int_not_equal(w.p[i], '\0');
        if (w.p[i] == '\r')
            assert_true(i + 1 < w.n && w.p[i + 1] == '\n');
        if (w.p[i] == '\n')
            assert_true(i > 0 && w.p[i - 1] == '\r');
        bool line_start = i == 0 || w.p[i - 1] == '\n';
        if (line_start && w.p[i] == '.')
            assert_true(w.p[i + 1] == '.' || i + 3 == w.n);
    }
}

/* SMG-13, SMG-14: whatever clean text goes in, what is on the wire has no bare
 * CR, LF or NUL, no lone dot but the last, and comes out as it went in. */
static void
test_encoder_round_trip(void **state)
{
    (void)state;
    uint32_t seed = 42;
    struct buf text, wire;
    buf_init(&text, OUT_MAX);
    buf_init(&wire, OUT_MAX);
    for (unsigned i = 0; i < long_run_count(ROUNDS, ROUNDS_LONG); i++) {
        fill_clean(&text, &seed);
        buf_clear(&wire);
        encode_in_pieces(buf_slice(&text), &wire, &seed);
        check_on_the_wire(buf_slice(&wire));
        /* The encoder ends the last line where the text did not. */
        if (buf_slice(&text).n > 0 && !slice_ends_nocase(buf_slice(&text), SLICE("\r\n")))
            assert_true(buf_add_str(&text, "\r\n"));
        struct outcome o =
            decode_split(buf_slice(&wire), next_random(&seed) % buf_slice(&wire).n, OUT_MAX);
        assert_int_equal(o.verdict, PARSE_OK);
        assert_false(o.d.bare);
        assert_true(slice_eq(buf_slice(&o.out), buf_slice(&text)));
        buf_fini(&o.out);
    }
    buf_fini(&text);
    buf_fini(&wire);
}

static void
fill_any(struct buf *text, uint32_t *seed)
{
    static const struct slice parts[] = {
        LITERAL("\r\n"), LITERAL("\r\n"), LITERAL("\r\n."), LITERAL("."),   LITERAL("\r"),
        LITERAL("\n"),   LITERAL("\0"),   LITERAL("a"),     LITERAL("xyz"), LITERAL("\xc3")};
    size_t n = next_random(seed) % 12;
    buf_clear(text);
    for (size_t i = 0; i < n; i++)
        assert_true(buf_add(text, parts[next_random(seed) % ARRAY_LEN(parts)]));
}

/* The text as far as the encoder takes it; true: to its end. */
static bool
encode_any(struct slice text, struct buf *wire)
{
    struct dot_encoder e;
    dot_encoder_init(&e);
    return dot_encode(&e, &text, wire) == PARSE_OK && dot_encode_end(&e, wire) == PARSE_OK;
}

/* SMG-14: any bytes a client sends. What is taken is written clean and is one
 * message. */
static void
test_what_is_taken_is_written_clean(void **state)
{
    (void)state;
    uint32_t seed = 7;
    unsigned taken = 0, refused = 0;
    struct buf text, wire;
    buf_init(&text, OUT_MAX);
    buf_init(&wire, OUT_MAX);
    for (unsigned i = 0; i < long_run_count(ROUNDS, ROUNDS_LONG); i++) {
        fill_any(&text, &seed);
        assert_true(buf_add_str(&text, "\r\n.\r\n"));
        struct outcome o = decode_split(buf_slice(&text), next_random(&seed) % text.len, OUT_MAX);
        assert_int_equal(o.verdict, PARSE_OK);
        buf_clear(&wire);
        if (!o.d.bare) {
            assert_true(encode_any(buf_slice(&o.out), &wire));
            check_on_the_wire(buf_slice(&wire));
        }
        *(o.d.bare ? &refused : &taken) += 1;
        buf_fini(&o.out);
    }
    assert_true(taken > ROUNDS / 10 && refused > ROUNDS / 10);
    buf_fini(&text);
    buf_fini(&wire);
}

/* SMG-14: a dirty text is refused before its dirt is written, at every split. */
static void
test_encoder_refuses_dirt(void **state)
{
    (void)state;
    static const struct slice cases[] = {
        LITERAL("a\nb\r\n"),     LITERAL("a\rb\r\n"), LITERAL("a\0b\r\n"), LITERAL("\n"),
        LITERAL("a\r\n\n.\r\n"), LITERAL("a\r\n.\n"), LITERAL("a\r"),      LITERAL("a\r\r\n.\r\n"),
        LITERAL("\0"),           LITERAL(".\r.\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t at = 0; at <= cases[i].n; at++) {
            struct dot_encoder e;
            struct buf out;
            dot_encoder_init(&e);
            buf_init(&out, OUT_MAX);
            struct slice first = slice_from(cases[i].p, at), second = slice_skip(cases[i], at);
            bool refused = dot_encode(&e, &first, &out) == PARSE_BAD ||
                           dot_encode(&e, &second, &out) == PARSE_BAD ||
                           dot_encode_end(&e, &out) == PARSE_BAD;
            assert_true(refused);
            struct slice w = buf_slice(&out);
            for (size_t k = 0; k < w.n; k++)
                assert_true(w.p[k] != '\0' && (w.p[k] != '\n' || (k > 0 && w.p[k - 1] == '\r')) &&
                            (w.p[k] != '\r' || (k + 1 < w.n && w.p[k + 1] == '\n')));
            buf_fini(&out);
        }
    }
}

/* Chunk by chunk: text[0..at) and the rest. */
static struct outcome
decode_chunks(struct slice text, size_t at, size_t max)
{
    struct outcome o = {.verdict = PARSE_OK};
    dot_decoder_init(&o.d, max);
    buf_init(&o.out, OUT_MAX);
    dot_decode_chunk(&o.d, slice_from(text.p, at), &o.out);
    dot_decode_chunk(&o.d, slice_skip(text, at), &o.out);
    dot_decode_chunks_end(&o.d);
    return o;
}

/* CMD-05: in chunks a dot is a dot, and the line rules are those of DATA. */
static void
test_chunks(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        bool bare, unfinished;
    } rows[] = {
        {LITERAL(""), false, false},        {LITERAL("\r\n"), false, false},
        {LITERAL(".\r\n"), false, false},   {LITERAL("a\r\n.\r\n..\r\n.b\r\n"), false, false},
        {LITERAL("a"), false, true},        {LITERAL("a\r\nb"), false, true},
        {LITERAL("a\r\n."), false, true},   {LITERAL("a\r"), true, true},
        {LITERAL("a\r\n\r"), true, true},   {LITERAL("a\nb\r\n"), true, false},
        {LITERAL("\n"), true, true},        {LITERAL("a\rb\r\n"), true, false},
        {LITERAL("a\0b\r\n"), true, false}, {LITERAL("a\r\r\n"), true, false},
        {LITERAL("a\n.\r\n"), true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t at = 0; at <= rows[i].text.n; at++) {
            struct outcome o = decode_chunks(rows[i].text, at, OUT_MAX);
            assert_int_equal(o.d.bare, rows[i].bare);
            assert_int_equal(o.d.unfinished, rows[i].unfinished);
            if (!o.d.bare)
                assert_true(slice_eq(buf_slice(&o.out), rows[i].text));
            buf_fini(&o.out);
        }
}

static void
test_chunks_have_the_same_facts(void **state)
{
    (void)state;
    static const struct slice text = LITERAL("abc\r\n1234567\r\n\xe9\r\n");
    for (size_t at = 0; at <= text.n; at++) {
        struct outcome o = decode_chunks(text, at, text.n);
        assert_int_equal(o.d.size_bytes, text.n);
        assert_int_equal(o.d.longest_line, 7);
        assert_true(o.d.eight_bit);
        assert_false(o.d.over_size);
        buf_fini(&o.out);
        o = decode_chunks(text, at, text.n - 1);
        assert_true(o.d.over_size);
        assert_true(o.out.len < text.n);
        buf_fini(&o.out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_line_ends_never_end_data),
        cmocka_unit_test(test_nul_never_ends_data),
        cmocka_unit_test(test_near_ends),
        cmocka_unit_test(test_end_behind_cr_cr_lf),
        cmocka_unit_test(test_empty_message),
        cmocka_unit_test(test_stuffed_dots_come_out),
        cmocka_unit_test(test_pipelined_commands_stay),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_over_size_goes_on_to_the_end),
        cmocka_unit_test(test_full_buffer_is_over_size),
        cmocka_unit_test(test_encoder_round_trip),
        cmocka_unit_test(test_what_is_taken_is_written_clean),
        cmocka_unit_test(test_encoder_refuses_dirt),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_have_the_same_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
