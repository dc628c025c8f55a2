/* What is said about a domain, and which record is proposed. */
#include "relay/cli/check_report.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

#define DOMAIN "example.com"
#define IP "192.0.2.1"

struct rig {
    struct domain_facts f;
    struct dmarc_walk walk;
    struct buf out;
};

static void
feed_dmarc(struct rig *r, enum dns_status status, const char *text)
{
    char rdata[256];
    dmarc_walk_start(&r->walk, SLICE(DOMAIN));
    snprintf(rdata, sizeof rdata, "%c%s", (char)strlen(text), text);
    const struct slice record = slice_str(rdata);
    dmarc_walk_answer(&r->walk, status, &record, 1);
    while (dmarc_walk_question(&r->walk) != NULL)
        dmarc_walk_answer(&r->walk, DNS_NODATA, NULL, 0);
}

static int
set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    buf_init(&r->out, CHECK_REPORT_MAX);
    r->f = (struct domain_facts){.domain = DOMAIN, .mx_count = 1, .spf_count = 1, .ip_count = 1};
    snprintf(r->f.mx[0], sizeof r->f.mx[0], "mx." DOMAIN);
    r->f.mx_found[0] = NAMES_YES;
    r->f.trial.result = SPF_FAIL;
    snprintf(r->f.spf, sizeof r->f.spf, "v=spf1 ip4:" IP " -all");
    snprintf(r->f.ips[0].text, sizeof r->f.ips[0].text, IP);
    r->f.ips[0].verdict.result = SPF_PASS;
    r->f.walk = &r->walk;
    feed_dmarc(r, DNS_OK, "v=DMARC1; p=reject; rua=mailto:a@" DOMAIN);
    *state = r;
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *r = *state;
    buf_fini(&r->out);
    free(r);
    return 0;
}

/* The report says each of the texts (up to NULL), and the level is the one. */
static void
expect(struct rig *r, enum finding_level want, const char *const texts[])
{
    buf_clear(&r->out);
    enum finding_level worst = check_report_text(&r->f, &r->out);
    for (; *texts != NULL; texts++)
        if (slice_find_slice(buf_slice(&r->out), slice_str(*texts)) == buf_slice(&r->out).n)
            fail_msg("no \"%s\" in:\n%.*s", *texts, SLICE_FMT(buf_slice(&r->out)));
    if (worst != want)
        fail_msg("level %d in:\n%.*s", (int)worst, SLICE_FMT(buf_slice(&r->out)));
}

#define EXPECT(r, level, ...) expect((r), (level), (const char *const[]){__VA_ARGS__, NULL})

static void
lacks(const struct rig *r, const char *text)
{
    assert_true(slice_find_slice(buf_slice(&r->out), slice_str(text)) == buf_slice(&r->out).n);
}

static void
test_all_good(void **state)
{
    struct rig *r = *state;
    EXPECT(r, FINDING_NOTE, DOMAIN ": good\n", "pass from " IP, "policy reject", "is aligned",
           "mx." DOMAIN);
    lacks(r, "To publish");
}

static void
test_spf_is_extended(void **state)
{
    struct rig *r = *state;
    r->f.ip_count = 3;
    snprintf(r->f.ips[1].text, sizeof r->f.ips[1].text, "198.51.100.2");
    r->f.ips[1].verdict.result = SPF_FAIL;
    snprintf(r->f.ips[2].text, sizeof r->f.ips[2].text, "2001:db8::1");
    r->f.ips[2].verdict.result = SPF_SOFTFAIL;
    EXPECT(r, FINDING_MEND, DOMAIN ": mend\n", "fail from 198.51.100.2",
           "softfail from 2001:db8::1", "passes from 1 of 3",
           "  " DOMAIN ". TXT \"v=spf1 ip4:198.51.100.2 ip6:2001:db8::1 ip4:" IP " -all\"\n");
}

static void
test_no_spf(void **state)
{
    struct rig *r = *state;
    r->f.spf_count = 0;
    r->f.spf[0] = '\0';
    r->f.ips[0].verdict.result = SPF_NONE;
    EXPECT(r, FINDING_MEND, "there is no SPF record", DOMAIN ". TXT \"v=spf1 ip4:" IP " -all\"\n");
    r->f.ip_count = 0;
    r->f.trial.result = SPF_NONE;
    EXPECT(r, FINDING_MEND, "say --from-ip");
    lacks(r, "To publish");
}

static void
test_spf_that_is_an_error(void **state)
{
    struct rig *r = *state;
    r->f.ips[0].verdict = (struct spf_verdict){.result = SPF_PERMERROR, .text = "d: \"x\""};
    EXPECT(r, FINDING_MEND, "permerror from " IP ": d: \"x\"");
    lacks(r, "To publish");
    r->f.spf_count = 2;
    snprintf(r->f.spf_more[0], sizeof r->f.spf_more[0], "v=spf1 +all");
    EXPECT(r, FINDING_MEND, "2 SPF records", "published: v=spf1 +all");
    r->f.ip_count = 0;
    r->f.trial = r->f.ips[0].verdict;
    EXPECT(r, FINDING_MEND, "cannot be evaluated");
    r->f.spf_count = 1;
    r->f.trial = (struct spf_verdict){.result = SPF_PASS};
    EXPECT(r, FINDING_MEND, "lets any address pass");
    r->f.trial = (struct spf_verdict){.result = SPF_FAIL};
    EXPECT(r, FINDING_NOTE, "the record is valid");
}

/* What the addresses asked about do not show. */
static void
test_spf_of_all_others(void **state)
{
    struct rig *r = *state;
    r->f.trial = (struct spf_verdict){.result = SPF_PASS};
    EXPECT(r, FINDING_MEND, "pass from " IP, "lets any address pass: end it with -all");
    r->f.trial = (struct spf_verdict){.result = SPF_PERMERROR, .text = "more than 10"};
    EXPECT(r, FINDING_MEND, "an error for all that it does not name: more than 10");
    r->f.ips[0].verdict = r->f.trial;
    EXPECT(r, FINDING_MEND, "permerror from " IP);
    lacks(r, "all that it does not name");
    r->f.ips[0].verdict = (struct spf_verdict){.result = SPF_PASS, .by_local_part = true};
    EXPECT(r, FINDING_MEND, "asked about postmaster: the record has %{l} or %{s}");
    snprintf(r->f.spf_like, sizeof r->f.spf_like, "v=spf1;ip4:" IP);
    EXPECT(r, FINDING_MEND, "v=spf1;ip4:" IP ": is no SPF record");
}

static void
test_long_records_are_split(void **state)
{
    struct rig *r = *state;
    size_t n = strlen("v=spf1");
    while (n < 600)
        n += (size_t)snprintf(r->f.spf + n, sizeof r->f.spf - n, " ip4:198.51.100.7");
    r->f.ips[0].verdict.result = SPF_FAIL;
    EXPECT(r, FINDING_MEND, "TXT \"v=spf1 ip4:" IP " ip4:198");
    buf_add_char(&r->out, '\0');
    const char *line = strstr(buf_slice(&r->out).p, ". TXT \"");
    size_t string = strcspn(line + 7, "\"");
    assert_int_equal(string, 255);
    assert_memory_equal(line + 7 + string, "\" \"", 3);
}

static void
test_dmarc(void **state)
{
    struct rig *r = *state;
    feed_dmarc(r, DNS_NODATA, "");
    EXPECT(r, FINDING_MEND, "no record applies",
           "  _dmarc." DOMAIN ". TXT \"v=DMARC1; p=none; rua=mailto:dmarc-reports@" DOMAIN "\"\n");
    feed_dmarc(r, DNS_OK, "v=DMARC1; p=rejct");
    EXPECT(r, FINDING_MEND, "no valid p=", "it does nothing", "  _dmarc." DOMAIN ". TXT");
    feed_dmarc(r, DNS_OK, "v=DMARC1; p=none; p=none");
    r->f.dmarc_count = 1;
    r->f.dmarc[0].fault = "because";
    EXPECT(r, FINDING_MEND, "is not valid", "which is not valid: because", "no record applies",
           "  _dmarc." DOMAIN ". TXT");
    r->f.dmarc_count = 0;
    r->f.dmarc_like = true;
    EXPECT(r, FINDING_MEND, "move it to _dmarc." DOMAIN);
    r->f.dmarc_like = false;
    feed_dmarc(r, DNS_OK, "v=DMARC1; p=rejct; rua=mailto:a@b.c");
    EXPECT(r, FINDING_MEND, "unknown value", "policy none");
    feed_dmarc(r, DNS_OK, "v=DMARC1; p=none; t=y; x=y; adkim=s");
    EXPECT(r, FINDING_NOTE, "t=y", "no rua=", "not valid: 1 of its tags", "is aligned (strict)");
    feed_dmarc(r, DNS_OK, "v=DMARC1; rua=mailto:a@b.c");
    EXPECT(r, FINDING_NOTE, "no p=: it counts as p=none", "policy none");
    feed_dmarc(r, DNS_TEMP, "");
    EXPECT(r, FINDING_TROUBLE, "no answer for a _dmarc record");
    lacks(r, "To publish");
}

static void
test_mx(void **state)
{
    struct rig *r = *state;
    r->f.mx_found[0] = NAMES_NO;
    EXPECT(r, FINDING_MEND, "mx." DOMAIN " has no address");
    r->f.mx_found[0] = NAMES_UNKNOWN;
    EXPECT(r, FINDING_TROUBLE, "no answer for the addresses of mx." DOMAIN);
    r->f.null_mx = true;
    EXPECT(r, FINDING_MEND, "null MX");
    r->f.null_mx = false;
    r->f.mx_count = 0;
    r->f.mx_status = DNS_NODATA;
    EXPECT(r, FINDING_NOTE, "bounces go to the address");
    r->f.a_status = r->f.aaaa_status = DNS_NODATA;
    EXPECT(r, FINDING_MEND, "bounces are lost");
    r->f.a_status = DNS_TEMP;
    EXPECT(r, FINDING_TROUBLE, "no answer for the addresses");
    r->f.mx_status = DNS_NXDOMAIN;
    EXPECT(r, FINDING_MEND, "DNS does not know " DOMAIN);
    r->f.mx_status = DNS_TEMP;
    EXPECT(r, FINDING_TROUBLE, "no answer for the MX", DOMAIN ": trouble\n");
}

static void
test_dns_trouble(void **state)
{
    struct rig *r = *state;
    r->f.txt_status = DNS_TEMP;
    EXPECT(r, FINDING_TROUBLE, "no answer for the TXT");
    r->f.txt_status = DNS_OK;
    r->f.ips[0].verdict = (struct spf_verdict){.result = SPF_TEMPERROR, .text = "late"};
    EXPECT(r, FINDING_TROUBLE, "temperror from " IP ": late");
    r->f.null_mx = true; /* what is known to be wrong outweighs it */
    EXPECT(r, FINDING_MEND, "null MX");
}

static void
test_strangers_text(void **state)
{
    struct rig *r = *state;
    snprintf(r->f.spf, sizeof r->f.spf, "v=spf1 \x1b[31m\n\xff \"\\ -all");
    EXPECT(r, FINDING_NOTE, "v=spf1 ?[31m?? \"\\ -all\n");
    r->f.ips[0].verdict.result = SPF_FAIL;
    buf_clear(&r->out);
    check_report_json(&r->f, &r->out);
    json_t *j = json_loadb(buf_slice(&r->out).p, buf_slice(&r->out).n, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "verdict")), "mend");
    json_decref(j);
}

static void
test_json(void **state)
{
    struct rig *r = *state;
    r->f.ips[0].verdict.result = SPF_FAIL;
    assert_int_equal(check_report_json(&r->f, &r->out), FINDING_MEND);
    json_t *j = json_loadb(buf_slice(&r->out).p, buf_slice(&r->out).n, 0, NULL);
    assert_non_null(j);
    const char *domain, *verdict, *ip, *result, *policy, *at, *name, *type, *value;
    int lookups;
    assert_int_equal(json_unpack(j, "{s:s,s:s,s:[{s:s,s:s,s:i}],s:{s:s,s:s},s:[{s:s,s:s,s:s}]}",
                                 "domain", &domain, "verdict", &verdict, "spf", "ip", &ip, "result",
                                 &result, "lookups", &lookups, "dmarc", "policy", &policy, "at",
                                 &at, "publish", "name", &name, "type", &type, "value", &value),
                     0);
    assert_string_equal(domain, DOMAIN);
    assert_string_equal(result, "fail");
    assert_string_equal(policy, "reject");
    assert_string_equal(at, DOMAIN);
    assert_string_equal(value, "v=spf1 ip4:" IP " ip4:" IP " -all");
    json_decref(j);
}

static void
test_gateway(void **state)
{
    struct rig *r = *state;
    struct names_check n = {.name_count = 1,
                            .names = {"out." DOMAIN},
                            .helo = "mail." DOMAIN,
                            .ptr = NAMES_YES,
                            .confirmed = NAMES_YES,
                            .helo_ok = NAMES_YES};
    r->f.gateway = true;
    r->f.names[0] = &n;
    EXPECT(r, FINDING_MEND, "no key for " DOMAIN, IP " is out." DOMAIN ", and back",
           "PTR record has another name");
    r->f.key_count = 1;
    r->f.hostname = "mail." DOMAIN;
    r->f.keys[0] =
        (struct key_fact){.selector = "s1", .record = "v=DKIM1; p=x", .state = PUBLISHED_OURS};
    EXPECT(r, FINDING_NOTE, "s1._domainkey." DOMAIN " is the key that we sign with");
    lacks(r, "To publish");
    r->f.keys[0].testing = true;
    EXPECT(r, FINDING_NOTE, "has t=y");
    r->f.keys[0].fault = "a fault";
    for (enum published p = PUBLISHED_MISSING; p < PUBLISHED_UNKNOWN; p++) {
        r->f.keys[0].state = p;
        EXPECT(r, FINDING_MEND, "  s1._domainkey." DOMAIN ". TXT \"v=DKIM1; p=x\"\n");
    }
    r->f.keys[0].state = PUBLISHED_UNKNOWN;
    EXPECT(r, FINDING_TROUBLE, "no answer for s1._domainkey." DOMAIN);
    r->f.keys[0].state = PUBLISHED_OURS;
    n.helo_ok = NAMES_NO;
    EXPECT(r, FINDING_MEND, "mail." DOMAIN ", which we say in EHLO, does not lead to " IP);
    n.helo_ok = NAMES_UNKNOWN;
    EXPECT(r, FINDING_TROUBLE, "no answer for the addresses of mail." DOMAIN);
    n.helo_ok = NAMES_YES;
    n.confirmed = NAMES_NO;
    EXPECT(r, FINDING_MEND, IP " is called out." DOMAIN ", which does not lead back");
    n.ptr = NAMES_NO;
    EXPECT(r, FINDING_MEND, IP " has no PTR record");
    n.ptr = n.confirmed = NAMES_UNKNOWN;
    EXPECT(r, FINDING_TROUBLE, "no answer about the name of " IP);
    n.ptr = n.confirmed = NAMES_YES;
    r->f.helo_asked = true;
    EXPECT(r, FINDING_NOTE, "by the SPF record of mail." DOMAIN, "TXT \"v=spf1 a -all\"");
    r->f.helo_spf[0].result = SPF_PASS;
    EXPECT(r, FINDING_NOTE, "SPF of mail." DOMAIN " passes from " IP);
    r->f.helo_spf[0].result = SPF_TEMPERROR;
    EXPECT(r, FINDING_TROUBLE, "SPF of mail." DOMAIN " from " IP);
    r->f.helo_spf[0].result = SPF_FAIL;
    EXPECT(r, FINDING_MEND, "SPF of mail." DOMAIN " says fail from " IP);
    r->f.ip_count = 0;
    EXPECT(r, FINDING_MEND, "no egress addresses");
}

static void
test_transport(void **state)
{
    struct rig *r = *state;
    EXPECT(r, FINDING_NOTE, "MTA-STS  not published", "TLS-RPT  not published");
    r->f.mta_sts_count = 2;
    EXPECT(r, FINDING_NOTE, "2 records are published: senders ignore them all");
    r->f.mta_sts_count = 1;
    snprintf(r->f.mta_sts, sizeof r->f.mta_sts, "v=STSv1; id=1");
    r->f.tls_rpt_status = DNS_TEMP;
    EXPECT(r, FINDING_TROUBLE, "published: v=STSv1; id=1", "TLS-RPT  DNS gave no answer");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_good),
        TEST(test_spf_is_extended),
        TEST(test_no_spf),
        TEST(test_dmarc),
        TEST(test_spf_that_is_an_error),
        TEST(test_spf_of_all_others),
        TEST(test_mx),
        TEST(test_dns_trouble),
        TEST(test_long_records_are_split),
        TEST(test_strangers_text),
        TEST(test_json),
        TEST(test_gateway),
        TEST(test_transport),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
