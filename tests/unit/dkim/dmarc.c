/* Records, the tree walk and alignment of RFC 9989, by tables. */
#include "dkim/dmarc.h"

#include <stdio.h>

#include "tests/unit/support/spf_zone.h"

#include "relay/sys/base/bug.h"
#include "relay/wire/address.h"

/* --- records, DMA-03 --- */

static const struct record_row {
    const char *text;
    enum { NO_RECORD, NO_USE, APPLIES } is; /* NO_USE: a record, but it does not apply */
    enum dmarc_policy p, sp, np;
} RECORDS[] = {
    {"v=DMARC1; p=reject", APPLIES, DMARC_REJECT, DMARC_REJECT, DMARC_REJECT},
    {"v=DMARC1;p=none;", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v = DMARC1 ; p = Quarantine ; ", APPLIES, DMARC_QUARANTINE, DMARC_QUARANTINE,
     DMARC_QUARANTINE},
    {"v=DMARC1; p=reject; sp=none", APPLIES, DMARC_REJECT, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=none; sp=quarantine; np=reject", APPLIES, DMARC_NONE, DMARC_QUARANTINE,
     DMARC_REJECT},
    {"v=DMARC1; np=reject; p=none", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_REJECT},
    {"v=DMARC1; p=reject; unknown=x; pct=50; ri=1", APPLIES, DMARC_REJECT, DMARC_REJECT,
     DMARC_REJECT},
    {"v=DMARC1; p=reject; adkim=x; t=maybe", APPLIES, DMARC_REJECT, DMARC_REJECT, DMARC_REJECT},
    {"v=DMARC1;; p=reject; nonsense; =x;; sp=none;", APPLIES, DMARC_REJECT, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1 \t;\tp=reject", APPLIES, DMARC_REJECT, DMARC_REJECT, DMARC_REJECT},
    {"v=DMARC1; p=reject; a-tag-with-a-name-of-more-than-32-bytes=1", APPLIES, DMARC_REJECT,
     DMARC_REJECT, DMARC_REJECT},
    /* RFC 9989 4.10.1: no valid policy */
    {"v=DMARC1", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; sp=reject; np=reject", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; rua=mailto:a@b.example", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; sp=reject; rua=mailto:a@b.example", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=reject; np=x; rua=nobody, mailto:a@b.example!10m", APPLIES, DMARC_NONE,
     DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=x; rua=https://b.example/%20?a=b", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=x; rua=a@b.example", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=x; rua=1mailto:a@b.example", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=x; rua=mailto:a@b.example!ten", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=x; rua=mailto:a b", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=rejct; rua=mailto:a@b.example", APPLIES, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=reject; sp=x; rua=mailto:a@b.example", APPLIES, DMARC_NONE, DMARC_NONE,
     DMARC_NONE},
    {"v=DMARC1; p=rejct", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=rejct; rua=nobody", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"v=DMARC1; p=reject; sp=", NO_USE, DMARC_NONE, DMARC_NONE, DMARC_NONE},
    {"p=none; v=DMARC1", NO_RECORD, 0, 0, 0},
    {"v=DMARC2; p=none", NO_RECORD, 0, 0, 0},
    {"v=dmarc1; p=none", NO_RECORD, 0, 0, 0},
    {"v=DMARC10; p=none", NO_RECORD, 0, 0, 0},
    {"v=DMARC1 p=none", NO_RECORD, 0, 0, 0},
    {"v=DMARC1; p=none; p=reject", NO_RECORD, 0, 0, 0},
    {"v=DMARC1; v=DMARC1; p=none", NO_RECORD, 0, 0, 0},
    {"v=DMARC1; p=none; other=1; Other=2", NO_RECORD, 0, 0, 0},
    {"v=spf1 -all", NO_RECORD, 0, 0, 0},
    {"", NO_RECORD, 0, 0, 0},
};

static void
test_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(RECORDS); i++) {
        const struct record_row *row = &RECORDS[i];
        struct dmarc_record r;
        bool valid = dmarc_record_parse(slice_str(row->text), &r);
        if (valid != (row->is != NO_RECORD) || (valid && r.applies != (row->is == APPLIES)))
            fail_msg("%s: valid is %d", row->text, valid);
        if (valid && (r.p != row->p || r.sp != row->sp || r.np != row->np))
            fail_msg("%s: %d %d %d", row->text, (int)r.p, (int)r.sp, (int)r.np);
    }
}

static void
test_record_flags(void **state)
{
    (void)state;
    struct dmarc_record r;
    assert_true(dmarc_record_parse(
        SLICE("v=DMARC1; p=none; adkim=s; aspf=S; t=y; psd=n; rua=mailto:a@b.c; ruf=x; fo=1"), &r));
    assert_true(r.dkim_strict && r.spf_strict && r.testing && r.reports);
    assert_int_equal(r.psd, DMARC_PSD_NO);
    assert_int_equal(r.ignored, 0);
    assert_true(r.applies);
    assert_false(r.without_p);
    assert_true(dmarc_record_parse(SLICE("v=DMARC1; adkim=r; psd=y; wrong=1; t=x"), &r));
    assert_false(r.dkim_strict || r.spf_strict || r.testing || r.reports);
    assert_int_equal(r.psd, DMARC_PSD_YES);
    assert_int_equal(r.ignored, 2);
    assert_true(r.without_p);
    assert_true(dmarc_record_parse(SLICE("v=DMARC1; p=x; rua=mailto:a@b.c"), &r));
    assert_true(r.bad_policy);
    assert_null(dmarc_record_fault(SLICE("v=DMARC1; p=x")));
    assert_non_null(strstr(dmarc_record_fault(SLICE("v=DMARC1; p=none; p=none")), "twice"));
    assert_non_null(strstr(dmarc_record_fault(SLICE("v=DMARC1 p=none")), "must begin"));
    assert_true(dmarc_record_claimed(SLICE("v=dmarc1 p=none")));
    assert_false(dmarc_record_claimed(SLICE("v=spf1")));
}

/* --- the tree walk --- */

static void
walk(struct dmarc_walk *w, const char *zone, const char *domain)
{
    const char *name;
    if (!dmarc_walk_start(w, slice_str(domain)))
        return;
    while ((name = dmarc_walk_question(w)) != NULL) {
        struct buf answer;
        struct slice records[8], rest;
        unsigned count = 0;
        buf_init(&answer, 1 << 16);
        enum dns_status status = zone_answer(zone, name, DNS_TXT, &answer);
        for (rest = buf_slice(&answer); rest.n > 0; count++)
            assert_true(frame_cut_bytes(&rest, &records[count]));
        dmarc_walk_answer(w, status, records, count);
        buf_fini(&answer);
    }
    assert_true(w->questions <= DMARC_QUESTIONS_MAX);
}

#define PSD "\n_dmarc.com TXT v=DMARC1; p=reject; sp=quarantine; np=reject; psd=y"
#define EXAMPLE "_dmarc.example.com TXT v=DMARC1; p=reject; sp=quarantine; np=none"

static const struct walk_row {
    const char *zone, *domain, *organizational, *at; /* at NULL: no record applies */
    enum dmarc_policy policy, absent_policy; /* of a name that exists, and one that does not */
    unsigned questions;
} WALKS[] = {
    {"", "example.com", "example.com", NULL, 0, 0, 2},
    {"", "a.b.example.com", "a.b.example.com", NULL, 0, 0, 4},
    {EXAMPLE, "example.com", "example.com", "example.com", DMARC_REJECT, DMARC_REJECT, 2},
    {EXAMPLE, "EXAMPLE.com.", "example.com", "example.com", DMARC_REJECT, DMARC_REJECT, 2},
    {EXAMPLE, "a.b.example.com", "example.com", "example.com", DMARC_QUARANTINE, DMARC_NONE, 4},
    {EXAMPLE PSD, "a.example.com", "example.com", "example.com", DMARC_QUARANTINE, DMARC_NONE, 3},
    {"" PSD, "a.example.com", "example.com", "com", DMARC_QUARANTINE, DMARC_REJECT, 3},
    {"" PSD, "com", "com", "com", DMARC_REJECT, DMARC_REJECT, 1},
    {EXAMPLE "\n_dmarc.a.example.com TXT v=DMARC1; p=none", "a.example.com", "example.com",
     "a.example.com", DMARC_NONE, DMARC_NONE, 3},
    {EXAMPLE "\n_dmarc.a.example.com TXT v=DMARC1; p=none; psd=n", "x.a.example.com",
     "a.example.com", "a.example.com", DMARC_NONE, DMARC_NONE, 2},
    {"_dmarc.example.com TXT v=DMARC1; p=none\n_dmarc.example.com TXT v=DMARC1; p=reject",
     "example.com", "example.com", NULL, 0, 0, 2},
    {"_dmarc.example.com TXT v=spf1 -all\n_dmarc.example.com TXT v=DMARC1; p=reject", "example.com",
     "example.com", "example.com", DMARC_REJECT, DMARC_REJECT, 2},
    {"_dmarc.example.com TXT v=DMARC1; p=reject; t=y", "example.com", "example.com", "example.com",
     DMARC_QUARANTINE, DMARC_QUARANTINE, 2},
    {"_dmarc.example.com TXT v=DMARC1; p=none; sp=quarantine; np=reject; t=y", "a.example.com",
     "example.com", "example.com", DMARC_NONE, DMARC_QUARANTINE, 3},
    /* 4.10.1: a record that does not apply ends the search all the same */
    {EXAMPLE "\n_dmarc.a.example.com TXT v=DMARC1; p=rejct", "a.example.com", "example.com", NULL,
     0, 0, 3},
    {"_dmarc.example.com TXT v=DMARC1" PSD, "a.example.com", "example.com", NULL, 0, 0, 3},
    {"_dmarc.a.example.com TXT v=DMARC1; rua=mailto:x@example.com\n" EXAMPLE, "a.example.com",
     "example.com", "a.example.com", DMARC_NONE, DMARC_NONE, 3},
    /* none: a tag twice; a record beside one that is none */
    {EXAMPLE "\n_dmarc.a.example.com TXT v=DMARC1; p=none; p=none", "a.example.com", "example.com",
     "example.com", DMARC_QUARANTINE, DMARC_NONE, 3},
    /* 4.10.2: a record between the organizational domain and the author's decides nothing */
    {"_dmarc.b.example.com TXT v=DMARC1; p=reject" PSD, "a.b.example.com", "example.com", "com",
     DMARC_QUARANTINE, DMARC_REJECT, 4},
    {"_dmarc.b.example.com TXT v=DMARC1; p=reject\n" EXAMPLE, "a.b.example.com", "example.com",
     "example.com", DMARC_QUARANTINE, DMARC_NONE, 4},
    {"_dmarc.b.example.com TXT v=DMARC1; p=reject; psd=u\n" EXAMPLE, "b.example.com", "example.com",
     "b.example.com", DMARC_REJECT, DMARC_REJECT, 3},
    {"_dmarc.example.com TXT v=DMARC1; p=reject; psd=y", "example.com", "example.com",
     "example.com", DMARC_REJECT, DMARC_REJECT, 1},
    {"_dmarc.example.com TXT v=DMARC1; p=reject; psd=y", "a.b.example.com", "b.example.com",
     "example.com", DMARC_REJECT, DMARC_REJECT, 3},
    /* 5.1.8: what lies between the whole name and its last seven labels is never asked for */
    {"_dmarc.b.c.d.e.f.g.example.com TXT v=DMARC1; p=reject; psd=n\n" EXAMPLE,
     "mail.a.b.c.d.e.f.g.example.com", "example.com", "example.com", DMARC_QUARANTINE, DMARC_NONE,
     8},
    {EXAMPLE, "a.b.c.d.e.f.g.h.i.j.mail.example.com", "example.com", "example.com",
     DMARC_QUARANTINE, DMARC_NONE, 8},
    {EXAMPLE, "a.b.c.d.e.f.example.com", "example.com", "example.com", DMARC_QUARANTINE, DMARC_NONE,
     8},
};

static void
test_walks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(WALKS); i++) {
        const struct walk_row *row = &WALKS[i];
        struct dmarc_walk w;
        walk(&w, row->zone, row->domain);
        struct dmarc_found f = dmarc_walk_result(&w, true), gone = dmarc_walk_result(&w, false);
        bool found = f.record != NULL;
        if (strcmp(w.organizational, row->organizational) != 0 || found != (row->at != NULL) ||
            w.questions != row->questions)
            fail_msg("%zu %s: %s, %d, %u questions", i, row->domain, w.organizational, found,
                     w.questions);
        if (found && (strcmp(f.at, row->at) != 0 || f.policy != row->policy ||
                      gone.policy != row->absent_policy))
            fail_msg("%zu %s: %s %d %d", i, row->domain, f.at, (int)f.policy, (int)gone.policy);
    }
}

static void
test_walk_trouble(void **state)
{
    (void)state;
    struct dmarc_walk w;
    walk(&w, "_dmarc.example.com FAIL", "a.example.com");
    assert_true(w.temp_error);
    assert_null(dmarc_walk_result(&w, true).record);
    assert_int_equal(w.questions, 2);
    walk(&w, "_dmarc.example.com TXT v=DMARC1; p=rejct\n_dmarc.example.com TXT v=DMARC1 p=none",
         "example.com");
    assert_int_equal(w.broken, 1);
    assert_int_equal(w.own_records, 1);
    assert_true(dmarc_walk_result(&w, true).unusable);
    assert_string_equal(dmarc_walk_result(&w, true).at, "example.com");
    assert_false(dmarc_walk_start(&w, SLICE("a..b")));
    assert_null(dmarc_walk_question(&w));
    assert_false(dmarc_walk_start(&w, SLICE_NONE));
    char longest[ADDRESS_DOMAIN_MAX + 1];
    for (size_t i = 0; i < ADDRESS_DOMAIN_MAX; i++)
        longest[i] = i % 2 == 0 ? 'a' : '.';
    longest[ADDRESS_DOMAIN_MAX] = '\0';
    assert_false(dmarc_walk_start(&w, slice_str(longest)));
    assert_string_equal(w.organizational, longest);
}

/* --- alignment, DMA-01 --- */

#define ORGANIZATIONS                                                                              \
    "_dmarc.x.com TXT v=DMARC1; p=none\n_dmarc.evil.com TXT v=DMARC1; p=none\n"                    \
    "_dmarc.example.com TXT v=DMARC1; p=none\n_dmarc.com TXT v=DMARC1; p=none; psd=y\n"            \
    "_dmarc.co.uk TXT v=DMARC1; p=none; psd=y\n_dmarc.github.io TXT v=DMARC1; p=none; psd=y\n"     \
    "_dmarc.xn--bcher-kva.example TXT v=DMARC1; p=none\n"

static const struct aligned_row {
    const char *author, *authenticated;
    bool strict, relaxed;
} ALIGNED[] = {
    {"example.com", "example.com", true, true},
    {"example.com.", "EXAMPLE.com", true, true},
    {"example.com", "sub.example.com", false, true},
    {"sub.example.com", "example.com", false, true},
    {"a.example.com", "b.c.example.com", false, true},
    {"xexample.com", "example.com", false, false},
    {"example.com", "xexample.com", false, false},
    {"x.com", "a.com", false, false},
    {"x.com", "evil.com", false, false},
    {"evil.com", "x.com", false, false},
    {"t.co", "g.co", false, false},
    {"a.co.uk", "b.co.uk", false, false},
    {"one.co.uk", "co.uk", false, false},
    {"mail.a.co.uk", "a.co.uk", false, true},
    {"a.github.io", "b.github.io", false, false},
    {"com", "example.com", false, false},
    {"example.com", "com", false, false},
    {"b\xc3\xbc"
     "cher.example",
     "xn--bcher-kva.example", true, true},
    {"mail.b\xc3\xbc"
     "cher.example",
     "xn--bcher-kva.example", false, true},
    {"example.com", "", false, false},
    {"", "", false, false},
};

static void
walk_any(struct dmarc_walk *w, const char *domain)
{
    struct buf ascii;
    buf_init(&ascii, 512);
    if (!domain_add_canonical(slice_str(domain), &ascii))
        buf_addf(&ascii, "%s", domain);
    buf_add_char(&ascii, '\0');
    walk(w, ORGANIZATIONS, buf_slice(&ascii).p);
    buf_fini(&ascii);
}

static void
test_alignment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ALIGNED); i++) {
        struct dmarc_walk author, authenticated;
        walk_any(&author, ALIGNED[i].author);
        walk_any(&authenticated, ALIGNED[i].authenticated);
        if (dmarc_aligned(&author, &authenticated, true) != ALIGNED[i].strict ||
            dmarc_aligned(&author, &authenticated, false) != ALIGNED[i].relaxed)
            fail_msg("%s with %s", ALIGNED[i].author, ALIGNED[i].authenticated);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),   cmocka_unit_test(test_record_flags),
        cmocka_unit_test(test_walks),     cmocka_unit_test(test_walk_trouble),
        cmocka_unit_test(test_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
