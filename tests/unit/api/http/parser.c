#include "api/http/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

/* The whole text is there but for its first `split` bytes, which came before. */
static enum parse
cut_split(struct slice text, size_t split, struct arena *arena, struct head *out, size_t *left,
          enum head_fault *fault)
{
    size_t scanned = 0;
    struct slice in = slice_from(text.p, split);
    enum parse p = head_cut(&in, &scanned, arena, out, fault);
    if (p == PARSE_MORE) {
        assert_ptr_equal(in.p, text.p); /* nothing was consumed */
        in = text;
        p = head_cut(&in, &scanned, arena, out, fault);
    } else {
        in.n += text.n - split;
    }
    *left = in.n;
    return p;
}

static enum parse
cut(struct slice text, struct arena *arena, struct head *out, enum head_fault *fault)
{
    size_t left;
    return cut_split(text, text.n, arena, out, &left, fault);
}

/* INJ-06: what another reader of the same bytes could take differently. */
static const struct {
    const char *text;
    enum head_fault fault;
} REFUSED[] = {
    /* line ends and folds */
    {"GET / HTTP/1.1\nHost: a\n\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\n\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", HEAD_BAD},
    {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    /* names and values */
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nX(Y): z\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", HEAD_BAD},
    /* framing */
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
     HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
     "chunked\r\n\r\n",
     HEAD_BAD},
    {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HEAD_CODING_UNKNOWN},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", HEAD_CODING_UNKNOWN},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", HEAD_CODING_UNKNOWN},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     HEAD_BAD},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", HEAD_CODING_UNKNOWN},
    /* fields that decide something, twice */
    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y\r\n\r\n",
     HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: x\r\nidempotency-key: y\r\n\r\n", HEAD_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", HEAD_HOST_MISSING},
    {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HEAD_HOST_MISSING},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", HEAD_HOST_MISSING},
    {"GET / HTTP/1.1\r\nX: a\r\n\r\n", HEAD_HOST_MISSING},
    {"GET / HTTP/1.0\r\n\r\n", HEAD_HOST_MISSING},
    /* the request line */
    {"GET /\r\n\r\n", HEAD_BAD}, /* HTTP/0.9 */
    {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", HEAD_VERSION},
    {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", HEAD_VERSION},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", HEAD_VERSION},
    {"PRI * HTTP/2.0\r\n\r\n", HEAD_VERSION},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HEAD_VERSION},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_BAD},
    {"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_METHOD_UNKNOWN},
    {"get / HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_METHOD_UNKNOWN},
    {"EHLO client.example\r\n\r\n", HEAD_BAD},
};

static void
refuses_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(REFUSED); i++) {
        struct slice text = slice_str(REFUSED[i].text);
        for (size_t split = 0; split <= text.n; split++) {
            struct arena arena;
            struct head h;
            enum head_fault fault = HEAD_FINE;
            size_t left;
            arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
            enum parse p = cut_split(text, split, &arena, &h, &left, &fault);
            if (p != PARSE_BAD || fault != REFUSED[i].fault)
                fail_msg("row %zu split %zu: parse %d fault %d\n%s", i, split, p, fault,
                         REFUSED[i].text);
            arena_fini(&arena);
        }
    }
}

static void
refuses_nul(void **state)
{
    (void)state;
    static const struct slice TEXTS[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 38},
        {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 29},
        {"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: b\r\n\r\n", 37},
    };
    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++) {
        struct arena arena;
        struct head h;
        enum head_fault fault;
        arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
        assert_int_equal(cut(TEXTS[i], &arena, &h, &fault), PARSE_BAD);
        assert_int_equal(fault, HEAD_BAD);
        arena_fini(&arena);
    }
}

static void
reads_a_head_at_every_split(void **state)
{
    (void)state;
    struct slice text = SLICE("\r\nPOST /v1/messages?a=b?c HTTP/1.1\r\nhOsT: localhost:8025\r\n"
                              "Content-Length: 12\r\nExpect: 100-Continue\r\nX-Empty:\r\n"
                              "X-Pad: \t a b \t \r\nX-High: gr\xc3\xbc\xc3\x9f\x65\r\n\r\nnext");
    for (size_t split = 0; split <= text.n; split++) {
        struct arena arena;
        struct head h;
        enum head_fault fault;
        struct slice v;
        size_t left;
        arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
        assert_int_equal(cut_split(text, split, &arena, &h, &left, &fault), PARSE_OK);
        assert_int_equal(left, 4);
        assert_true(slice_eq(h.method, SLICE("POST")));
        assert_true(slice_eq(h.path, SLICE("/v1/messages")));
        assert_true(slice_eq(h.query, SLICE("a=b?c")));
        assert_true(slice_eq(h.host, SLICE("localhost:8025")));
        assert_int_equal(h.minor, 1);
        assert_int_equal(h.field_count, 6);
        assert_int_equal(h.body, BODY_LENGTH);
        assert_int_equal(h.content_length, 12);
        assert_true(h.keep_alive && h.expect_continue);
        assert_true(head_find(&h, SLICE("x-pad"), &v) && slice_eq(v, SLICE("a b")));
        assert_true(head_find(&h, SLICE("x-empty"), &v) && v.n == 0);
        assert_true(head_find(&h, SLICE("x-high"), &v) && v.n == 7);
        assert_false(head_find(&h, SLICE("x-none"), &v));
        arena_fini(&arena);
    }
}

static void
understands_keep_alive_and_framing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep;
        enum body_kind body;
    } ROWS[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, BODY_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, BODY_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false, BODY_NONE},
        {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", false, BODY_NONE},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true, BODY_NONE},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true, BODY_NONE},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", true, BODY_CHUNKED},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", true,
         BODY_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct arena arena;
        struct head h;
        enum head_fault fault;
        arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
        assert_int_equal(cut(slice_str(ROWS[i].text), &arena, &h, &fault), PARSE_OK);
        assert_int_equal(h.keep_alive, ROWS[i].keep);
        assert_int_equal(h.body, ROWS[i].body);
        arena_fini(&arena);
    }
}

static void
takes_absolute_form(void **state)
{
    (void)state;
    struct arena arena;
    struct head h;
    enum head_fault fault;
    arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
    assert_int_equal(
        cut(SLICE("GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n"), &arena, &h, &fault), PARSE_OK);
    assert_true(slice_eq(h.host, SLICE("b:1")) && slice_eq(h.path, SLICE("/x")));
    assert_true(slice_eq(h.query, SLICE("y")));
    assert_int_equal(cut(SLICE("GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n"), &arena, &h, &fault),
                     PARSE_BAD);
    assert_int_equal(cut(SLICE("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n"), &arena, &h, &fault),
                     PARSE_OK);
    assert_true(slice_eq(h.path, SLICE("/")));
    arena_fini(&arena);
}

/* A head of `fields` fields with a target and a field of these lengths. */
static enum parse
cut_sized(unsigned fields, size_t target, size_t value, enum head_fault *fault)
{
    static char text[256 << 10];
    struct arena arena;
    struct head h;
    int n = sprintf(text, "GET /%0*d HTTP/1.1\r\nHost: a\r\n", (int)target - 1, 0);
    for (unsigned i = 0; i < fields; i++)
        n += sprintf(text + n, "X: y\r\n");
    n += sprintf(text + n, "V: %0*d\r\n\r\n", (int)value, 0);
    arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
    enum parse p = cut(slice_from(text, (size_t)n), &arena, &h, fault);
    arena_fini(&arena);
    return p;
}

static void
keeps_limits(void **state)
{
    (void)state;
    enum head_fault fault;
    assert_int_equal(cut_sized(HTTP_HEADERS_MAX - 2, HTTP_URL_MAX, 10, &fault), PARSE_OK);
    assert_int_equal(cut_sized(HTTP_HEADERS_MAX - 1, 10, 10, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TOO_LARGE);
    assert_int_equal(cut_sized(1, HTTP_URL_MAX + 1, 10, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TARGET_LONG);
    assert_int_equal(cut_sized(1, 10, HTTP_HEADER_BYTES_MAX - 60, &fault), PARSE_OK);
    assert_int_equal(cut_sized(1, 10, HTTP_HEADER_BYTES_MAX, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TOO_LARGE);
    assert_int_equal(cut_sized(1, 60000, 10, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TARGET_LONG);
}

/* An endless line is refused before it ends. */
static void
refuses_endless_heads(void **state)
{
    (void)state;
    static char text[HTTP_HEADER_BYTES_MAX + 1];
    struct arena arena;
    struct head h;
    enum head_fault fault;
    arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
    memset(text, 'a', sizeof text);
    assert_int_equal(cut(slice_from(text, sizeof text - 1), &arena, &h, &fault), PARSE_MORE);
    assert_int_equal(cut(slice_from(text, sizeof text), &arena, &h, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TARGET_LONG);
    memcpy(text, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(cut(slice_from(text, sizeof text), &arena, &h, &fault), PARSE_BAD);
    assert_int_equal(fault, HEAD_TOO_LARGE);
    arena_fini(&arena);
}

static void
every_fault_has_words(void **state)
{
    (void)state;
    for (unsigned f = HEAD_BAD; f < HEAD_FAULT_COUNT; f++) {
        assert_in_range(head_fault_status((enum head_fault)f), 400, 599);
        assert_true(head_fault_code((enum head_fault)f)[0] != '\0');
        assert_true(head_fault_text((enum head_fault)f)[0] != '\0');
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_at_every_split),
        cmocka_unit_test(refuses_nul),
        cmocka_unit_test(reads_a_head_at_every_split),
        cmocka_unit_test(understands_keep_alive_and_framing),
        cmocka_unit_test(takes_absolute_form),
        cmocka_unit_test(keeps_limits),
        cmocka_unit_test(refuses_endless_heads),
        cmocka_unit_test(every_fault_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
