/* What the sandbox's DNS says, packet by packet. */
#include "relay/sandbox/dns_packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/dns_wire.h"
#include "relay/sys/net/resolver.h"

enum { PLAIN = -1, TYPE_ANY = 255 };

static char long_key[1800];

static const struct sandbox_dkim keys[] = {
    {.selector = "dev", .txt = "v=DKIM1; k=ed25519; p=abc"},
    {.selector = "long", .txt = long_key},
};

/* A query; payload PLAIN: without EDNS. */
static size_t
query_make(char out[512], const char *name, unsigned type, int payload)
{
    size_t n = DNS_HEADER_BYTES;
    memcpy(out, "\xab\xcd\1\0\0\1\0\0\0\0\0", 12);
    out[11] = payload != PLAIN;
    while (*name != '\0') {
        size_t label = strcspn(name, ".");
        out[n++] = (char)label;
        memcpy(out + n, name, label);
        n += label;
        name += label + (name[label] == '.');
    }
    memcpy(out + n, "\0\0\0\0\1", 5);
    out[n + 1] = (char)(type >> 8);
    out[n + 2] = (char)type;
    n += 5;
    if (payload == PLAIN)
        return n;
    memcpy(out + n, "\0\0\x29\0\0\0\0\0\0\0\0", 11);
    out[n + 3] = (char)(payload >> 8);
    out[n + 4] = (char)payload;
    return n + 11;
}

struct asked {
    struct buf response, rdata;
    struct dns_answer answer;
};

static void
ask(struct asked *a, const char *name, unsigned type, int payload, enum dns_transport transport)
{
    char query[512];
    size_t n = query_make(query, name, type, payload);
    buf_init(&a->response, DNS_RESPONSE_MAX);
    buf_init(&a->rdata, DNS_RDATA_BYTES_MAX);
    assert_true(dns_respond(slice_from(query, n), transport, keys, ARRAY_LEN(keys), &a->response));
    struct slice r = buf_slice(&a->response);
    assert_memory_equal(r.p, "\xab\xcd", 2);
    assert_int_equal(r.p[2] & 0x84, 0x84); /* a response, authoritative */
    assert_memory_equal(r.p + DNS_HEADER_BYTES, query + DNS_HEADER_BYTES,
                        n - DNS_HEADER_BYTES - (payload == PLAIN ? 0 : 11));
    assert_int_equal(dns_answer_read(r, (uint16_t)type, &a->rdata, &a->answer), PARSE_OK);
}

static void
fini(struct asked *a)
{
    buf_fini(&a->response);
    buf_fini(&a->rdata);
}

static void
expect_records(const char *name, unsigned type, unsigned rcode, unsigned count, struct slice rdata)
{
    struct asked a;
    ask(&a, name, type, 1232, DNS_OVER_UDP);
    assert_int_equal(a.answer.rcode, rcode);
    assert_int_equal(a.answer.count, count);
    if (count > 0) {
        struct slice got = slice_skip(buf_slice(&a.rdata), 2);
        assert_int_equal(got.n, rdata.n);
        assert_memory_equal(got.p, rdata.p, rdata.n);
    } else if (rcode != DNS_RCODE_SERVFAIL) {
        assert_int_equal(a.answer.ttl_s, 60); /* of the SOA */
    }
    fini(&a);
}

#define RDATA(s) slice_from((s), sizeof(s) - 1)

static void
every_domain_has_its_records(void **state)
{
    (void)state;
    expect_records("Example.ORG", DNS_MX, 0, 1, RDATA("\0\x0a\2mx\7example\3org\0"));
    expect_records("mx.example.org", DNS_A, 0, 1, RDATA("\x7f\0\0\1"));
    expect_records("example.org", DNS_A, 0, 1, RDATA("\x7f\0\0\1"));
    expect_records("example.org", DNS_TXT, 0, 1, RDATA("\x19v=spf1 ip4:127.0.0.1 -all"));
    expect_records("_dmarc.example.org", DNS_TXT, 0, 1, RDATA("\x10v=DMARC1; p=none"));
    expect_records("dev._domainkey.a.test", DNS_TXT, 0, 1, RDATA("\x19v=DKIM1; k=ed25519; p=abc"));
    expect_records("DEV._DomainKey.a.test", DNS_TXT, 0, 1, RDATA("\x19v=DKIM1; k=ed25519; p=abc"));
    expect_records("null-mx.example", DNS_MX, 0, 1, RDATA("\0\0\0"));
    expect_records("test", DNS_MX, 0, 1, RDATA("\0\x0a\2mx\4test\0"));
}

static void
everything_else_is_nodata(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned type;
    } cases[] = {
        {"example.org", DNS_AAAA},
        {"mx.example.org", DNS_MX},
        {"example.org", DNS_TLSA},
        {"_25._tcp.mx.example.org", DNS_TLSA},
        {"other._domainkey.a.test", DNS_TXT},
        {"_domainkey.a.test", DNS_TXT},
        {"dev._domainkey", DNS_TXT},
        {"_mta-sts.example.org", DNS_TXT},
        {"_dmarc.example.org", DNS_A},
        {"_dmarc.example.org", DNS_MX},
        {"", DNS_A},
        {"", DNS_MX},
        {"", DNS_TXT},
        {"example.org", TYPE_ANY},
        {"example.org", 6},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_records(cases[i].name, cases[i].type, 0, 0, SLICE_NONE);
}

static void
rehearsal_names_fail(void **state)
{
    (void)state;
    static const unsigned types[] = {DNS_A, DNS_AAAA, DNS_MX, DNS_TXT};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        expect_records("nxdomain.example", types[i], DNS_RCODE_NXDOMAIN, 0, SLICE_NONE);
        expect_records("a.b.NXdomain.example", types[i], DNS_RCODE_NXDOMAIN, 0, SLICE_NONE);
        expect_records("servfail.example", types[i], DNS_RCODE_SERVFAIL, 0, SLICE_NONE);
        expect_records("mx.servfail.example", types[i], DNS_RCODE_SERVFAIL, 0, SLICE_NONE);
    }
    /* not at a label's border */
    expect_records("anxdomain.example", DNS_A, 0, 1, RDATA("\x7f\0\0\1"));
    expect_records("nxdomain.example.org", DNS_A, 0, 1, RDATA("\x7f\0\0\1"));
}

static void
long_keys_come_in_strings_of_255(void **state)
{
    (void)state;
    struct asked a;
    memset(long_key, 'k', sizeof(long_key) - 1);
    ask(&a, "long._domainkey.a.test", DNS_TXT, 4096, DNS_OVER_TCP);
    assert_int_equal(a.answer.count, 1);
    assert_false(a.answer.truncated);
    struct slice rest = slice_skip(buf_slice(&a.rdata), 2);
    size_t text = 0;
    while (rest.n > 0) {
        size_t n = (uint8_t)rest.p[0];
        rest = slice_skip(rest, 1);
        assert_true(n == 255 || rest.n == n);
        text += slice_cut(&rest, n).n;
    }
    assert_int_equal(text, strlen(long_key));
    fini(&a);
}

/* RFC 6891 6.2.5; RFC 2181 9: what does not fit says so. */
static void
udp_answers_fit_what_was_allowed(void **state)
{
    (void)state;
    static const struct {
        int payload;
        size_t limit;
    } cases[] = {{PLAIN, 512}, {0, 512}, {700, 700}, {1232, 1232}, {65535, 1232}};
    memset(long_key, 'k', sizeof(long_key) - 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked a;
        ask(&a, "long._domainkey.a.test", DNS_TXT, cases[i].payload, DNS_OVER_UDP);
        assert_true(a.answer.truncated);
        assert_int_equal(a.answer.count, 0);
        assert_true(a.response.len <= cases[i].limit);
        fini(&a);
    }
    long_key[600] = '\0'; /* fits 700, not 512 */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked a;
        ask(&a, "long._domainkey.a.test", DNS_TXT, cases[i].payload, DNS_OVER_UDP);
        assert_int_equal(a.answer.truncated, cases[i].limit < 650);
        assert_true(a.response.len <= cases[i].limit);
        fini(&a);
    }
}

static void
name_too_long_for_its_mx_has_none(void **state)
{
    (void)state;
    char name[260] = "";
    for (int i = 0; i < 125; i++)
        strcat(name, "a.");
    strcat(name, "aa"); /* 254 octets on the wire: 3 more do not fit */
    expect_records(name, DNS_MX, 0, 0, SLICE_NONE);
    struct asked a;
    ask(&a, name + 4, DNS_MX, 1232, DNS_OVER_UDP); /* 250 octets: fits */
    assert_int_equal(a.answer.count, 1);
    fini(&a);
}

static void
expect_rcode(const char *packet, size_t n, int rcode)
{
    struct buf out;
    buf_init(&out, DNS_RESPONSE_MAX);
    bool said = dns_respond(slice_from(packet, n), DNS_OVER_UDP, NULL, 0, &out);
    assert_int_equal(said, rcode >= 0);
    if (said)
        assert_int_equal(buf_slice(&out).p[3] & 0xf, rcode);
    else
        assert_int_equal(out.len, 0);
    buf_fini(&out);
}

#define EXPECT_RCODE(packet, rcode) expect_rcode((packet), sizeof(packet) - 1, (rcode))

static void
queries_that_are_none(void **state)
{
    (void)state;
    EXPECT_RCODE("", -1);
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0", -1);                /* 11 octets */
    EXPECT_RCODE("\1\2\x81\0\0\1\0\0\0\0\0\0\0\0\1\0\1", -1);  /* a response: no ping-pong */
    EXPECT_RCODE("\1\2\1\0\0\0\0\0\0\0\0\0", 1);               /* no question */
    EXPECT_RCODE("\1\2\1\0\0\2\0\0\0\0\0\0\0\0\1\0\1", 1);     /* two of them */
    EXPECT_RCODE("\1\2\1\0\0\1\0\1\0\0\0\0\0\0\1\0\1", 1);     /* with an answer */
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0\0\0\0\1\0", 1);       /* cut off */
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0\0\xc0\0\0\1\0\1", 1); /* name points into the header */
    EXPECT_RCODE("\1\2\x29\0\0\1\0\0\0\0\0\0\0\0\1\0\1", 4);   /* UPDATE */
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0\0\0\0\1\0\3", 5);     /* class CH */
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0\1\0\0\1\0\1", 1);     /* OPT promised */
    EXPECT_RCODE("\1\2\1\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29\4\0\0\0\0\0\0\1", 1); /* OPT cut */
}

/* RFC 6891 6.1.3 */
static void
unknown_edns_version_is_badvers(void **state)
{
    (void)state;
    static const char query[] = "\1\2\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\0\0\x29\4\xd0\0\1\0\0\0\0";
    struct buf out;
    buf_init(&out, DNS_RESPONSE_MAX);
    assert_true(dns_respond(slice_from(query, sizeof(query) - 1), DNS_OVER_UDP, NULL, 0, &out));
    struct slice r = buf_slice(&out);
    assert_int_equal(r.p[3] & 0xf, 0);
    assert_memory_equal(r.p + r.n - 11, "\0\0\x29\x04\xd0\1\0\0\0\0\0", 11);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_domain_has_its_records),
        cmocka_unit_test(everything_else_is_nodata),
        cmocka_unit_test(rehearsal_names_fail),
        cmocka_unit_test(long_keys_come_in_strings_of_255),
        cmocka_unit_test(udp_answers_fit_what_was_allowed),
        cmocka_unit_test(name_too_long_for_its_mx_has_none),
        cmocka_unit_test(queries_that_are_none),
        cmocka_unit_test(unknown_edns_version_is_badvers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
