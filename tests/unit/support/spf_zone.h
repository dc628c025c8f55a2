/*
 * A zone in lines "NAME TYPE DATA" for tests of what is fed with DNS answers:
 * TXT (the text as it is, in strings of 255), A, AAAA, MX ("10 host"), FAIL (any
 * question about the name is DNS_TEMP), NAME without more (it exists).
 */
#ifndef STAGEPOST_TEST_SPF_ZONE_H
#define STAGEPOST_TEST_SPF_ZONE_H

#include <arpa/inet.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/net/frame.h"
#include "relay/sys/net/resolver.h"

static inline void
zone_add_txt(struct slice text, struct buf *out)
{
    struct buf rdata;
    buf_init(&rdata, 1 << 17);
    do {
        struct slice piece = slice_cut(&text, text.n < 255 ? text.n : 255);
        buf_add_char(&rdata, (char)piece.n);
        buf_add(&rdata, piece);
    } while (text.n > 0);
    assert_true(frame_add_bytes(out, buf_slice(&rdata)));
    buf_fini(&rdata);
}

static inline void
zone_add_mx(struct slice data, struct buf *out)
{
    struct buf rdata;
    struct slice preference = slice_cut_at(&data, ' ');
    uint64_t n;
    buf_init(&rdata, 512);
    assert_true(slice_to_u64(preference, &n));
    buf_add_char(&rdata, (char)(n >> 8));
    buf_add_char(&rdata, (char)n);
    if (slice_eq(data, SLICE(".")))
        data.n = 0;
    while (data.n > 0) {
        struct slice label = slice_cut_at(&data, '.');
        buf_add_char(&rdata, (char)label.n);
        buf_add(&rdata, label);
    }
    buf_add_char(&rdata, '\0');
    assert_true(frame_add_bytes(out, buf_slice(&rdata)));
    buf_fini(&rdata);
}

static inline void
zone_add_ip(struct slice data, int family, struct buf *out)
{
    char text[64];
    uint8_t ip[16];
    assert_true(slice_to_cstr(data, text, sizeof text));
    assert_int_equal(inet_pton(family, text, ip), 1);
    assert_true(frame_add_bytes(out, slice_from(ip, family == AF_INET ? 4 : 16)));
}

static inline void
zone_add_name(struct slice data, struct buf *out)
{
    struct buf rdata;
    buf_init(&rdata, 512);
    while (data.n > 0) {
        struct slice label = slice_cut_at(&data, '.');
        buf_add_char(&rdata, (char)label.n);
        buf_add(&rdata, label);
    }
    buf_add_char(&rdata, '\0');
    assert_true(frame_add_bytes(out, buf_slice(&rdata)));
    buf_fini(&rdata);
}

/* Appends the records (frame_add_bytes()) of one question to `out`. */
static inline enum dns_status
zone_answer(const char *zone, const char *name, enum dns_type type, struct buf *out)
{
    struct slice rest = slice_str(zone);
    enum dns_status status = DNS_NXDOMAIN;
    while (rest.n > 0) {
        struct slice line = slice_cut_at(&rest, '\n');
        if (!slice_eq_nocase(slice_cut_at(&line, ' '), slice_str(name)))
            continue;
        struct slice kind = slice_cut_at(&line, ' ');
        if (slice_eq(kind, SLICE("FAIL")))
            return DNS_TEMP;
        status = status == DNS_NXDOMAIN ? DNS_NODATA : status;
        if (slice_eq(kind, SLICE("TXT")) && type == DNS_TXT)
            zone_add_txt(line, out);
        else if (slice_eq(kind, SLICE("A")) && type == DNS_A)
            zone_add_ip(line, AF_INET, out);
        else if (slice_eq(kind, SLICE("AAAA")) && type == DNS_AAAA)
            zone_add_ip(line, AF_INET6, out);
        else if (slice_eq(kind, SLICE("MX")) && type == DNS_MX)
            zone_add_mx(line, out);
        else if (slice_eq(kind, SLICE("PTR")) && type == DNS_PTR)
            zone_add_name(line, out);
        else
            continue;
        status = DNS_OK;
    }
    return status;
}

#endif
