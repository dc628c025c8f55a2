/* relay/wire/ehlo: what a server says it can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/ehlo.h"

static struct ehlo
parse_text(const char *text)
{
    struct reply r = {.code = 250, .text = slice_str(text)};
    struct ehlo e;
    memset(&e, 0xff, sizeof(e));
    ehlo_parse(&r, &e);
    return e;
}

static void
test_keywords(void **state)
{
    (void)state;
    struct ehlo e = parse_text("mx.example.org at your service\nPIPELINING\n8BITMIME\nSMTPUTF8\n"
                               "STARTTLS\nDSN\nCHUNKING\nENHANCEDSTATUSCODES\nAUTH PLAIN LOGIN\n"
                               "REQUIRETLS\nSIZE 1000\nLIMITS MAILMAX=5 RCPTMAX=20");
    assert_true(e.pipelining && e.eightbitmime && e.smtputf8 && e.starttls && e.dsn && e.chunking);
    assert_true(e.enhancedstatuscodes && e.auth && e.requiretls && e.size);
    assert_int_equal(e.size_max_bytes, 1000);
    assert_int_equal(e.rcpt_max, 20);
    e = parse_text("STARTTLS\npipelining \n  dsn\t");
    assert_false(e.starttls); /* the greeting */
    assert_true(e.pipelining && e.dsn);
    e = parse_text("x\nSTARTTLSX\nXSTARTTLS\nSTART TLS\n8BITMIME2");
    assert_false(e.starttls || e.eightbitmime);
    assert_true(parse_text("x\nAUTH=LOGIN").auth);
}

/* MXR-12 */
static void
test_odd_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool size;
        uint64_t max;
        unsigned rcpt;
    } cases[] = {
        {"x\nSIZE", true, 0, 0},
        {"x\nSIZE 0", true, 0, 0},
        {"x\nSIZE 1", true, 1, 0},
        {"x\nSIZE 99999999999999999999", true, 0, 0},
        {"x\nSIZE abc", true, 0, 0},
        {"x\nSIZE -1", true, 0, 0},
        {"x\nSIZE 500\nSIZE 400\nSIZE 600", true, 400, 0},
        {"x\nLIMITS", false, 0, 0},
        {"x\nLIMITS RCPTMAX", false, 0, 0},
        {"x\nLIMITS RCPTMAX=", false, 0, 0},
        {"x\nLIMITS RCPTMAX=0", false, 0, 0},
        {"x\nLIMITS RCPTMAX=1000000", false, 0, 0},
        {"x\nLIMITS  rcptmax=7", false, 0, 7},
        {"", false, 0, 0},
        {"x\n\n\n\n", false, 0, 0},
        {"x\n???\n\xc3\xbc", false, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ehlo e = parse_text(cases[i].text);
        if (e.size != cases[i].size || e.size_max_bytes != cases[i].max ||
            e.rcpt_max != cases[i].rcpt)
            fail_msg("case %zu", i);
    }
}

static void
test_other_codes_say_nothing(void **state)
{
    (void)state;
    static const unsigned codes[] = {220, 251, 421, 502, 550};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct reply r = {.code = codes[i], .text = SLICE("x\nSTARTTLS")};
        struct ehlo e;
        ehlo_parse(&r, &e);
        assert_false(e.starttls);
    }
}

/* MXR-12 */
static void
test_keywords_are_capped(void **state)
{
    (void)state;
    struct buf text;
    struct ehlo e;
    buf_init(&text, 1 << 20);
    assert_true(buf_add_str(&text, "x"));
    for (int i = 0; i < EHLO_KEYWORDS_MAX - 1; i++)
        assert_true(buf_add_str(&text, "\nJUNK"));
    assert_true(buf_add_str(&text, "\nDSN\nSTARTTLS"));
    struct reply r = {.code = 250, .text = buf_slice(&text)};
    ehlo_parse(&r, &e);
    assert_true(e.dsn);
    assert_false(e.starttls);
    buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_other_codes_say_nothing),
        cmocka_unit_test(test_keywords_are_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
