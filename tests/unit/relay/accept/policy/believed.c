/* What follows from what is published, by a table. */
#include "relay/accept/policy/believed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* One letter a key or address; SPF: p(ass) f(ail) s(oftfail) n(one) e(rror, permanent)
 * t(emporary) u(nsure neutral) l(ocal part matters: fail). DKIM: o(urs) m(issing) x(other)
 * ?(unknown). DMARC: r(ecord), "r!" with aspf=s, "rv" one that does not apply, - none, t(emporary).
 */
static const struct {
    const char *reverse, *spf, *dkim, *dmarc;
    bool null_mx;
    enum believed result;
    const char *enhanced, *says;
} ROWS[] = {
    {"a.test", "p", "oo", "r", false, BELIEVED_PASS, NULL, ""},
    {"a.test", "pp", "o", "r", false, BELIEVED_PASS, NULL, ""},
    {"a.test", "", "o", "r", false, BELIEVED_PASS, NULL, ""},
    {"", "p", "o", "r", false, BELIEVED_PASS, NULL, ""},
    {"b.a.test", "p", "o", "r", false, BELIEVED_PASS, NULL, ""},
    /* one vouches, the other is to be mended */
    {"a.test", "p", "om", "r", false, BELIEVED_WEAK, "5.7.20",
     "the DKIM key k1._domainkey.a.test is missing"},
    {"a.test", "p", "x", "r", false, BELIEVED_WEAK, "5.7.20", "is another key"},
    {"a.test", "p", "", "r", false, BELIEVED_WEAK, "5.7.20", "a.test has no DKIM key here"},
    {"a.test", "s", "o", "r", false, BELIEVED_WEAK, "5.7.23",
     "SPF of a.test says softfail for 192.0.2.1: add ip4:192.0.2.1 to its TXT record"},
    {"a.test", "ps", "o", "r", false, BELIEVED_WEAK, "5.7.23", "ip6:2001:db8::2"},
    {"a.test", "n", "o", "r", false, BELIEVED_WEAK, "5.7.23",
     "publish TXT \"v=spf1 ip4:192.0.2.1 -all\""},
    {"a.test", "e", "o", "r", false, BELIEVED_WEAK, "5.7.23", "is not valid"},
    {"a.test", "p", "o", "-", false, BELIEVED_WEAK, NULL,
     "publish TXT \"v=DMARC1; p=none\" at _dmarc.a.test"},
    {"a.test", "p", "o", "rv", false, BELIEVED_WEAK, NULL, "no DMARC record with a valid policy"},
    /* without a record nobody asks for alignment */
    {"b.a.test", "p", "", "-", false, BELIEVED_WEAK, "5.7.20", "a.test has no DKIM key here"},
    {"other.test", "p", "m", "-", false, BELIEVED_WEAK, "5.7.20", "is missing"},
    {"other.test", "s", "m", "-", false, BELIEVED_FAIL, "5.7.26", "is missing"},
    /* nothing vouches */
    {"a.test", "s", "m", "r", false, BELIEVED_FAIL, "5.7.26", "k0._domainkey.a.test is missing"},
    {"a.test", "n", "", "-", false, BELIEVED_FAIL, "5.7.26", "publish TXT \"v=spf1"},
    {"a.test", "", "m", "r", false, BELIEVED_FAIL, "5.7.20", "check domain a.test"},
    {"", "", "m", "r", false, BELIEVED_FAIL, "5.7.20", "k0._domainkey.a.test"},
    {"other.test", "p", "x", "r", false, BELIEVED_FAIL, "5.7.26", "is another key"},
    {"b.a.test", "p", "x", "r!", false, BELIEVED_FAIL, "5.7.26", "is another key"},
    {"b.a.test", "p", "x", "r", false, BELIEVED_WEAK, "5.7.20", "is another key"},
    /* one of our addresses is forbidden, whatever DKIM says */
    {"a.test", "pf", "o", "r", false, BELIEVED_FAIL, "5.7.23", "says fail for 2001:db8::2"},
    {"a.test", "f", "?", "t", false, BELIEVED_FAIL, "5.7.23", "says fail"},
    {"a.test", "p", "o", "r", true, BELIEVED_FAIL, "5.7.27", "null MX"},
    /* what DNS did not say condemns nobody */
    {"a.test", "t", "m", "r", false, BELIEVED_UNKNOWN, NULL, "does not answer"},
    {"a.test", "u", "m", "r", false, BELIEVED_UNKNOWN, NULL, ""},
    {"a.test", "l", "m", "r", false, BELIEVED_UNKNOWN, NULL, ""},
    {"a.test", "l", "o", "r", false, BELIEVED_PASS, NULL, ""},
    {"a.test", "s", "?m", "r", false, BELIEVED_UNKNOWN, NULL, ""},
    {"a.test", "t", "?", "t", false, BELIEVED_UNKNOWN, NULL, ""},
    {"b.a.test", "p", "m", "t", false, BELIEVED_UNKNOWN, NULL, ""},
    {"a.test", "t", "o", "t", false, BELIEVED_PASS, NULL, ""},
    {"a.test", "p", "?", "t", false, BELIEVED_PASS, NULL, ""},
};

static void
make_walk(struct dmarc_walk *w, const char *domain, const char *dmarc)
{
    char record[64] = "_";
    int n = snprintf(record + 1, sizeof record - 1, "v=DMARC1; p=%s; aspf=%c",
                     strchr(dmarc, 'v') != NULL ? "void" : "reject",
                     strchr(dmarc, '!') != NULL ? 's' : 'r');
    record[0] = (char)n;
    struct slice rdata = slice_str(record);
    assert_true(dmarc_walk_start(w, slice_str(domain)));
    for (const char *name; (name = dmarc_walk_question(w)) != NULL;) {
        bool here = dmarc[0] == 'r' &&
                    (strcmp(name, "_dmarc.a.test") == 0 || strcmp(name, "_dmarc.other.test") == 0);
        enum dns_status status = here ? DNS_OK : dmarc[0] == 't' ? DNS_TEMP : DNS_NXDOMAIN;
        dmarc_walk_answer(w, status, &rdata, here ? 1 : 0);
    }
}

static enum spf_result
spf_result_of(char c)
{
    static const struct {
        char letter;
        enum spf_result result;
    } LETTERS[] = {{'p', SPF_PASS},    {'f', SPF_FAIL},      {'s', SPF_SOFTFAIL},
                   {'n', SPF_NONE},    {'e', SPF_PERMERROR}, {'t', SPF_TEMPERROR},
                   {'u', SPF_NEUTRAL}, {'l', SPF_FAIL}};
    for (size_t i = 0; i < ARRAY_LEN(LETTERS); i++)
        if (LETTERS[i].letter == c)
            return LETTERS[i].result;
    fail_msg("no letter: %c", c);
    return SPF_NONE;
}

static enum published
published_of(char c)
{
    return c == 'o'   ? PUBLISHED_OURS
           : c == 'm' ? PUBLISHED_MISSING
           : c == 'x' ? PUBLISHED_OTHER
                      : PUBLISHED_UNKNOWN;
}

static void
test_rows(void **state)
{
    (void)state;
    static const char *const IPS[] = {"192.0.2.1", "2001:db8::2"};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct dmarc_walk author, authenticated;
        struct believed_verdict v;
        struct believed_facts f = {.from = "a.test",
                                   .reverse = ROWS[i].reverse,
                                   .null_mx = ROWS[i].null_mx,
                                   .ip_count = (unsigned)strlen(ROWS[i].spf),
                                   .key_count = (unsigned)strlen(ROWS[i].dkim),
                                   .author = &author,
                                   .authenticated = &authenticated};
        make_walk(&author, "a.test", ROWS[i].dmarc);
        make_walk(&authenticated, f.reverse[0] != '\0' ? f.reverse : "none.test", ROWS[i].dmarc);
        for (unsigned k = 0; k < f.ip_count; k++) {
            snprintf(f.ips[k].text, sizeof f.ips[k].text, "%s", IPS[k]);
            f.ips[k].spf.result = spf_result_of(ROWS[i].spf[k]);
            f.ips[k].spf.unsure = ROWS[i].spf[k] == 'u';
            f.ips[k].spf.by_local_part = ROWS[i].spf[k] == 'l';
        }
        for (unsigned k = 0; k < f.key_count; k++) {
            snprintf(f.keys[k].selector, sizeof f.keys[k].selector, "k%u", k);
            f.keys[k].state = published_of(ROWS[i].dkim[k]);
        }
        believed_judge(&f, &v);
        if (v.result != ROWS[i].result || strstr(v.text, ROWS[i].says) == NULL ||
            (ROWS[i].says[0] == '\0' && v.result == BELIEVED_PASS && v.text[0] != '\0'))
            fail_msg("row %zu: %s, %s", i, believed_name(v.result), v.text);
        if (ROWS[i].enhanced == NULL)
            assert_null(v.enhanced);
        else
            assert_string_equal(v.enhanced, ROWS[i].enhanced);
    }
}

/* What is said stays one line of a reply, however long the names are. */
static void
test_long_names(void **state)
{
    (void)state;
    char domain[ADDRESS_DOMAIN_MAX + 1];
    struct dmarc_walk walk = {.questions = 0};
    struct believed_verdict v;
    for (size_t i = 0; i < sizeof domain - 1; i++)
        domain[i] = i % 50 == 49 ? '.' : 'x';
    domain[sizeof domain - 1] = '\0';
    struct believed_facts f = {.from = domain,
                               .reverse = domain,
                               .key_count = 1,
                               .keys = {{.state = PUBLISHED_MISSING}},
                               .author = &walk,
                               .authenticated = &walk};
    believed_judge(&f, &v);
    assert_int_equal(v.result, BELIEVED_FAIL);
    assert_int_equal(strlen(v.text), PREFLIGHT_TEXT_MAX - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
