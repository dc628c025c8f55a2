#include "relay/sys/net/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

#define V2(command_family_length) "\r\n\r\n\0\r\nQUIT\n" command_family_length
#define ADDRESSES4                                                                                 \
    "\xc0\0\x02\x07\x0a\0\0\x01\x10\x92\x02\x4b" /* 192.0.2.7:4242 -> 10.0.0.1:587                 \
                                                  */
#define ADDRESSES6                                                                                 \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                                                   \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"                                                   \
    "\x10\x92\x02\x4b"

static const struct {
    struct slice header;
    const char *client; /* NULL: the proxy's own connection */
} GOOD[] = {
    {SLICE("PROXY TCP4 192.0.2.7 10.0.0.1 4242 587\r\n"), "192.0.2.7:4242"},
    {SLICE("PROXY TCP6 2001:db8::1 2001:db8::2 4242 587\r\n"), "[2001:db8::1]:4242"},
    {SLICE("PROXY TCP6 ::ffff:192.0.2.7 ::1 4242 587\r\n"), "192.0.2.7:4242"},
    {SLICE("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"), "255.255.255.255:65535"},
    {SLICE("PROXY UNKNOWN\r\n"), NULL},
    {SLICE("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), NULL},
    {SLICE(V2("\x21\x11\0\x0c" ADDRESSES4)), "192.0.2.7:4242"},
    {SLICE(V2("\x21\x11\0\x13" ADDRESSES4 "\x04\0\x04"
              "noop")),
     "192.0.2.7:4242"},
    {SLICE(V2("\x21\x21\0\x24" ADDRESSES6)), "[2001:db8::1]:4242"},
    {SLICE(V2("\x20\0\0\0")), NULL},
    {SLICE(V2("\x20\x11\0\x0c" ADDRESSES4)), NULL},
    {SLICE(V2("\x20\x77\0\x02xx")), NULL},
    {SLICE(V2("\x21\0\0\0")), NULL},
    {SLICE(V2("\x21\0\0\x03xxx")), NULL},
};

/* Whole, with more behind it, and at each octet before its end. */
static void
headers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        struct slice h = GOOD[i].header;
        char text[PROXY_HEADER_MAX + 16], client[160];
        memcpy(text, h.p, h.n);
        memcpy(text + h.n, "EHLO x\r\n", 8);
        for (size_t n = 0; n < h.n; n++) {
            struct proxy_header out = {.bytes = 4711};
            assert_int_equal(proxy_header_parse(slice_from(text, n), &out), PARSE_MORE);
            assert_int_equal(out.bytes, 4711);
        }
        for (size_t behind = 0; behind <= 8; behind += 8) {
            struct proxy_header out;
            assert_int_equal(proxy_header_parse(slice_from(text, h.n + behind), &out), PARSE_OK);
            assert_int_equal(out.bytes, h.n);
            assert_int_equal(out.proxied, GOOD[i].client != NULL);
            if (out.proxied) {
                net_address_format(&out.client, client);
                assert_string_equal(client, GOOD[i].client);
            }
        }
    }
}

static void
anything_else_is_refused(void **state)
{
    (void)state;
    static const struct slice BAD[] = {
        SLICE("EHLO x\r\n"),
        SLICE("GET / HTTP/1.1\r\n"),
        SLICE("\x16\x03\x01"),
        SLICE("proxy TCP4 "),
        SLICE("PROXY\tTCP4 "),
        SLICE("PROXY\r\n"),
        SLICE("PROXY \r\n"),
        SLICE("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n"),
        SLICE("PROXY TCP4\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"),
        SLICE("PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n"),
        SLICE("PROXY TCP4 ::1 ::1 1 1\r\n"),
        SLICE("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 ::1 1 1\r\n"),
        SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\r\n"),
        SLICE("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n"),
        SLICE("PROXY UNKNOWNX\r\n"),
        SLICE("\r\n\r\n\0\r\nQUIT\r"),
        SLICE(V2("\x11\x11\0\x0c" ADDRESSES4)), /* version 1 in binary */
        SLICE(V2("\x22\x11\0\x0c" ADDRESSES4)), /* no such command */
        SLICE(V2("\x21\x12\0\x0c" ADDRESSES4)), /* datagrams */
        SLICE(V2("\x21\x22\0\x24" ADDRESSES6)),
        SLICE(V2("\x21\x11\0\x0bxxxxxxxxxxx")), /* too short for its family */
        SLICE(V2("\x21\x21\0\x0c" ADDRESSES4)),
        SLICE(V2("\x21\x11\0\0")),
        SLICE(V2("\x20\0\x03\xf1")), /* one octet more than is read */
        SLICE(V2("\x21\x11\xff\xff")),
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct proxy_header out = {.bytes = 4711};
        if (proxy_header_parse(BAD[i], &out) != PARSE_BAD)
            fail_msg("row %zu", i);
        assert_int_equal(out.bytes, 4711);
    }
}

static void
sizes_are_bounded(void **state)
{
    (void)state;
    char text[PROXY_HEADER_MAX + 1];
    struct proxy_header out;
    memset(text, 'x', sizeof text);
    memcpy(text, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_header_parse(slice_from(text, 106), &out), PARSE_MORE);
    assert_int_equal(proxy_header_parse(slice_from(text, 107), &out), PARSE_BAD);
    text[105] = '\r', text[106] = '\n';
    assert_int_equal(proxy_header_parse(slice_from(text, 107), &out), PARSE_OK);
    assert_int_equal(out.bytes, 107);
    memcpy(text, V2("\x20\0\x03\xf0"), 16);
    assert_int_equal(proxy_header_parse(slice_from(text, PROXY_HEADER_MAX - 1), &out), PARSE_MORE);
    assert_int_equal(proxy_header_parse(slice_from(text, PROXY_HEADER_MAX), &out), PARSE_OK);
    assert_int_equal(out.bytes, PROXY_HEADER_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(sizes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
