/* Names, answers and MX RDATA as a hostile name server may write them. */
#include "relay/sys/net/dns_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/resolver.h"

#define BYTES(s) slice_from((s), sizeof(s) - 1)
#define ROOT_OWNER "\0"
#define HEADER(flags, qd, an, ns) "\x12\x34" flags "\0" qd "\0" an "\0" ns "\0\0"
#define QUESTION_D_TEST_MX "\1d\4test\0\0\x0f\0\1"
#define FIXED(type, ttl, len) "\0" type "\0\1" ttl "\0" len
#define TTL_300 "\0\0\x01\x2c"
#define TTL_60 "\0\0\0\x3c"

static void
name_follows_pointers_backward(void **state)
{
    (void)state;
    struct slice packet = BYTES("\4Mail\3org\0\2mx\xc0\0");
    struct dns_name name;
    char host[ADDRESS_DOMAIN_MAX + 1];
    size_t at = 10;
    assert_true(dns_name_read(packet, &at, &name));
    assert_int_equal(at, packet.n);
    assert_true(dns_name_to_host(&name, host));
    assert_string_equal(host, "mx.mail.org");
}

/* DNS-16 */
static void
name_refuses_loops_and_overreads(void **state)
{
    (void)state;
    static const struct {
        struct slice packet;
        size_t at;
    } bad[] = {
        {{"\xc0\0", 2}, 0},       /* points to itself */
        {{"\xc0\2\xc0\0", 4}, 2}, /* two pointers at each other */
        {{"\xc0\2\0", 3}, 0},     /* forward */
        {{"\1a\xc0\0", 4}, 0},    /* into its own beginning */
        {{"\5abc", 4}, 0},        /* label longer than the packet */
        {{"\3abc", 4}, 0},        /* no end */
        {{"\3abc\xc0", 5}, 0},    /* half a pointer */
        {{"\x40"
          "a\0",
          3},
         0}, /* reserved label type */
        {{"\x80"
          "a\0",
          3},
         0},
        {{"", 0}, 0},
        {{"\0", 1}, 5}, /* starts outside */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dns_name name;
        size_t at = bad[i].at;
        assert_false(dns_name_read(bad[i].packet, &at, &name));
    }
}

static void
name_has_at_most_255_octets(void **state)
{
    (void)state;
    char packet[300];
    for (size_t labels = 126; labels <= 130; labels++) {
        size_t n = 0;
        for (size_t i = 0; i < labels; i++) {
            packet[n++] = 1;
            packet[n++] = 'a';
        }
        packet[n++] = 0;
        struct dns_name name;
        size_t at = 0;
        assert_int_equal(dns_name_read(slice_from(packet, n), &at, &name), labels <= 127);
        char host[ADDRESS_DOMAIN_MAX + 1];
        if (labels <= 127) {
            assert_true(dns_name_to_host(&name, host));
            assert_int_equal(strlen(host), labels * 2 - 1);
        }
    }
}

/* DNS-17 */
static void
host_is_letters_digits_hyphens(void **state)
{
    (void)state;
    static const struct {
        struct slice wire;
        const char *host; /* NULL: refused */
    } cases[] = {
        {{"\5mx_-9\0", 7}, "mx_-9"}, {{"\0", 1}, ""},
        {{"\3a.b\0", 5}, NULL},      {{"\3a\r\n\0", 5}, NULL},
        {{"\2\xc3\xa4\0", 4}, NULL}, {{"\3a%s\0", 5}, NULL},
        {{"\2a\0\0", 4}, NULL},      {{"\3$(x\0", 5}, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dns_name name;
        char host[ADDRESS_DOMAIN_MAX + 1];
        size_t at = 0;
        assert_true(dns_name_read(cases[i].wire, &at, &name));
        assert_int_equal(dns_name_to_host(&name, host), cases[i].host != NULL);
        assert_string_equal(host, cases[i].host != NULL ? cases[i].host : "");
    }
}

/* A CNAME, then two MX whose hosts use compression. */
static const char mx_packet[] = HEADER("\x81\x80", "\1", "\3", "\0") QUESTION_D_TEST_MX /* 12 */
    "\xc0\x0c" FIXED("\5", TTL_300, "\2") "\xc0\x0c"                                    /* 24 */
                                          "\xc0\x0c" FIXED("\x0f", TTL_60,
                                                           "\7") "\0\x0a\2mX\xc0\x0c" /* 38 */
                                                                 "\xc0\x0c" FIXED("\x0f", TTL_300,
                                                                                  "\3") "\0\0\0";

static void
answer_writes_mx_names_out(void **state)
{
    (void)state;
    struct buf rdata;
    struct dns_answer a;
    uint16_t n, preference;
    char host[ADDRESS_DOMAIN_MAX + 1];
    buf_init(&rdata, DNS_RDATA_BYTES_MAX);
    assert_int_equal(dns_answer_read(BYTES(mx_packet), DNS_MX, &rdata, &a), PARSE_OK);
    assert_int_equal(a.count, 2);
    assert_int_equal(a.ttl_s, 60);
    assert_int_equal(a.rcode, 0);
    assert_false(a.truncated);
    struct slice rest = buf_slice(&rdata);
    assert_true(dns_cut_u16(&rest, &n));
    assert_true(dns_mx_parse(slice_cut(&rest, n), &preference, host));
    assert_int_equal(preference, 10);
    assert_string_equal(host, "mx.d.test");
    assert_true(dns_cut_u16(&rest, &n));
    assert_true(dns_mx_parse(slice_cut(&rest, n), &preference, host));
    assert_int_equal(preference, 0);
    assert_string_equal(host, ""); /* the null MX */
    assert_int_equal(rest.n, 0);
    buf_fini(&rdata);
}

/* DNS-16: whatever is cut off, nothing is read behind the end. */
static void
answer_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct dns_answer a;
    struct buf rdata;
    buf_init(&rdata, DNS_RDATA_BYTES_MAX);
    for (size_t n = 0; n < sizeof(mx_packet) - 1; n++) {
        char *exact = test_malloc(n + 1);
        memcpy(exact, mx_packet, n);
        assert_int_equal(dns_answer_read(slice_from(exact, n), DNS_MX, &rdata, &a), PARSE_BAD);
        assert_int_equal(rdata.len, 0);
        test_free(exact);
    }
    buf_fini(&rdata);
}

static void
answer_without_records_has_the_ttl_of_its_soa(void **state)
{
    (void)state;
    static const char packet[] = HEADER("\x81\x83", "\1", "\0", "\1") QUESTION_D_TEST_MX
        "\0" FIXED("\6", TTL_60, "\2") "\0\0";
    struct dns_answer a;
    struct buf rdata;
    buf_init(&rdata, 64);
    assert_int_equal(dns_answer_read(BYTES(packet), DNS_MX, &rdata, &a), PARSE_OK);
    assert_int_equal(a.rcode, DNS_RCODE_NXDOMAIN);
    assert_int_equal(a.count, 0);
    assert_int_equal(a.ttl_s, 60);
    buf_fini(&rdata);
}

static void
answer_must_be_a_response(void **state)
{
    (void)state;
    static const char packet[] = HEADER("\x01\0", "\0", "\0", "\0");
    struct dns_answer a;
    struct buf rdata;
    buf_init(&rdata, 64);
    assert_int_equal(dns_answer_read(BYTES(packet), DNS_A, &rdata, &a), PARSE_BAD);
    buf_fini(&rdata);
}

static void
answer_with_an_mx_of_wrong_length_is_refused(void **state)
{
    (void)state;
    static const struct slice rdatas[] = {
        {"\0\0", 2}, {"\0\1\0", 3}, {"\0\2\0\1", 4}, {"\0\3\0\1\1", 5}, {"\0\4\0\1\0x", 6},
    };
    for (size_t i = 0; i < ARRAY_LEN(rdatas); i++) {
        char packet[128] = HEADER("\x81\x80", "\0", "\1", "\0");
        size_t n = DNS_HEADER_BYTES;
        memcpy(packet + n, "\0\0\x0f\0\1\0\0\0\1", 9);
        memcpy(packet + n + 9, rdatas[i].p, rdatas[i].n);
        struct dns_answer a;
        struct buf rdata;
        buf_init(&rdata, 64);
        assert_int_equal(
            dns_answer_read(slice_from(packet, n + 9 + rdatas[i].n), DNS_MX, &rdata, &a),
            PARSE_BAD);
        buf_fini(&rdata);
    }
}

static void
mx_rdata_short_or_long_is_refused(void **state)
{
    (void)state;
    static const struct slice bad[] = {
        {"", 0}, {"\0", 1}, {"\0\1", 2}, {"\0\1\1", 3}, {"\0\1\0\0", 4}, {"\0\1\3a b\0", 7},
    };
    uint16_t preference;
    char host[ADDRESS_DOMAIN_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(dns_mx_parse(bad[i], &preference, host));
        assert_string_equal(host, "");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_follows_pointers_backward),
        cmocka_unit_test(name_refuses_loops_and_overreads),
        cmocka_unit_test(name_has_at_most_255_octets),
        cmocka_unit_test(host_is_letters_digits_hyphens),
        cmocka_unit_test(answer_writes_mx_names_out),
        cmocka_unit_test(answer_cut_anywhere_is_refused),
        cmocka_unit_test(answer_without_records_has_the_ttl_of_its_soa),
        cmocka_unit_test(answer_must_be_a_response),
        cmocka_unit_test(answer_with_an_mx_of_wrong_length_is_refused),
        cmocka_unit_test(mx_rdata_short_or_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
