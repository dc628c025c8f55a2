/* Key records as they are published, compared with the ones that we hold. */
#include "dkim/published.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/buf.h"

/* Of RFC 8463 A.2. */
#define ED "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define OTHER_ED "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
#define OURS "v=DKIM1; k=ed25519; p=" ED

static const struct {
    const char *text;
    enum published state;
} ROWS[] = {
    {OURS, PUBLISHED_OURS},
    {"k=ed25519;p=" ED ";", PUBLISHED_OURS},
    {" v = DKIM1 ; n=a note; k = Ed25519 ; t=y:s; p = 11qYAYKxCrfVS/7TyWQ "
     "HOg7hcvPapiMlrwIaaPcHURo=",
     PUBLISHED_OURS},
    {"v=DKIM1; k=ed25519; h=sha1:sha256; s=email; p=" ED, PUBLISHED_OURS},
    {"v=DKIM1; k=ed25519; s=*; unknown=x; p=" ED, PUBLISHED_OURS},
    {"v=DKIM1; k=ed25519; p=" OTHER_ED, PUBLISHED_OTHER},
    {"v=DKIM1; p=" ED, PUBLISHED_OTHER}, /* an RSA key, by default */
    {"v=DKIM1; k=ed25519; p=", PUBLISHED_REVOKED},
    {"v=DKIM1; k=ed25519; p=not base64!", PUBLISHED_BROKEN},
    {"v=DKIM1; k=ed25519", PUBLISHED_BROKEN},
    {"v=DKIM2; k=ed25519; p=" ED, PUBLISHED_BROKEN},
    {"k=ed25519; v=DKIM1; p=" ED, PUBLISHED_BROKEN}, /* RFC 6376 3.6.1: v= comes first */
    {"v=DKIM1; k=ed25519; h=sha1; p=" ED, PUBLISHED_BROKEN},
    {"v=DKIM1; k=ed25519; s=other; p=" ED, PUBLISHED_BROKEN},
    {"v=DKIM1; k=ed25519; p=" ED "; p=" ED, PUBLISHED_BROKEN},
    {"v=DKIM1;; p=" ED, PUBLISHED_BROKEN},
    {"v=spf1 -all", PUBLISHED_BROKEN},
    {"", PUBLISHED_BROKEN},
};

/* As character-strings of 60 bytes, so that p= is cut. */
static struct slice
rdata_of(const char *text, char out[2048])
{
    size_t n = 0;
    struct slice rest = slice_str(text);
    do {
        struct slice piece = slice_cut(&rest, rest.n < 60 ? rest.n : 60);
        out[n++] = (char)piece.n;
        memcpy(out + n, piece.p, piece.n);
        n += piece.n;
    } while (rest.n > 0);
    return slice_from(out, n);
}

static enum published
judge(const char *ours, const char *text)
{
    char bytes[2048];
    struct slice rdata = rdata_of(text, bytes);
    return published_judge(slice_str(ours), DNS_OK, &rdata, 1);
}

static void
test_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        enum published got = judge(OURS, ROWS[i].text);
        if (got != ROWS[i].state)
            fail_msg("%s: %s", ROWS[i].text, published_name(got));
    }
}

static void
test_answers(void **state)
{
    (void)state;
    char bytes[2048];
    struct slice two[2] = {rdata_of(OURS, bytes)}, bad = SLICE("\xff too short");
    two[1] = two[0];
    assert_int_equal(published_judge(SLICE(OURS), DNS_TEMP, NULL, 0), PUBLISHED_UNKNOWN);
    assert_int_equal(published_judge(SLICE(OURS), DNS_NXDOMAIN, NULL, 0), PUBLISHED_MISSING);
    assert_int_equal(published_judge(SLICE(OURS), DNS_NODATA, NULL, 0), PUBLISHED_MISSING);
    assert_int_equal(published_judge(SLICE(OURS), DNS_OK, two, 2), PUBLISHED_BROKEN);
    assert_int_equal(published_judge(SLICE(OURS), DNS_OK, &bad, 1), PUBLISHED_BROKEN);
}

/* "v=DKIM1; k=rsa; p=" and the base64 of `n` bytes, the last ones of 200. */
static void
rsa_record(size_t n, char *out, size_t cap)
{
    uint8_t bytes[200];
    struct buf b;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    buf_init(&b, 1024);
    assert_true(base64_encode(slice_from(bytes + sizeof bytes - n, n), &b));
    snprintf(out, cap, "v=DKIM1; k=rsa; p=%.*s", SLICE_FMT(buf_slice(&b)));
    buf_fini(&b);
}

static void
test_both_forms_of_an_rsa_key(void **state)
{
    (void)state;
    char whole[600], inner[600], tail[600];
    rsa_record(200, whole, sizeof whole);
    rsa_record(176, inner, sizeof inner);
    rsa_record(20, tail, sizeof tail);
    assert_int_equal(judge(whole, whole), PUBLISHED_OURS);
    assert_int_equal(judge(whole, inner), PUBLISHED_OURS);
    assert_int_equal(judge(whole, tail), PUBLISHED_OTHER);
    assert_int_equal(judge(inner, whole), PUBLISHED_OTHER);
}

/* What a person is told about a key that is of no use. */
static void
test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        bool testing;
    } rows[] = {
        {"v=DKIM1; k=ed25519; h=sha1; p=" ED, "h= leaves out sha256", false},
        {"v=DKIM1; k=ed25519; s=other; t=s:y; p=" ED, "s= leaves out email", true},
        {"v=DKIM2; k=ed25519; h=sha1; t=*; p=" ED, "cannot be read", false},
        {"v=spf1 -all", "wildcard", false},
        {"v=DKIM1; k=ed25519; t=y", "wildcard", false},
        {"v=DKIM1; k=ed25519; p=not base64!", "no base64", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char bytes[2048];
        const struct slice rdata = rdata_of(rows[i].text, bytes);
        if (strstr(published_fault(&rdata, 1), rows[i].says) == NULL ||
            published_is_testing(&rdata, 1) != rows[i].testing)
            fail_msg("%s: %s", rows[i].text, published_fault(&rdata, 1));
        const struct slice twice[] = {rdata, rdata};
        assert_non_null(strstr(published_fault(twice, 2), "several"));
        assert_false(published_is_testing(twice, 2));
    }
    assert_false(published_is_testing(NULL, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_both_forms_of_an_rsa_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
