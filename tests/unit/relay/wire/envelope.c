#include "relay/wire/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/limits.h"

static void
assert_bytes(const struct buf *b, const char *want, size_t n)
{
    assert_int_equal(b->len, n);
    assert_memory_equal(buf_slice(b).p, want, n);
}

static void
assert_slice(struct slice got, const char *want)
{
    assert_int_equal(got.n, strlen(want));
    assert_memory_equal(got.p ? got.p : "", want, got.n);
}

static void
envelope_has_golden_bytes(void **state)
{
    (void)state;
    const struct envelope e = {
        .reverse_path = SLICE("a@b.example"),
        .envid = SLICE("X1"),
        .ret = RET_HDRS,
        .smtputf8 = true,
        .is_ndr = true,
        .header_from = SLICE("c@d.example"),
        .subject = SLICE("Hi"),
        .message_id = SLICE("m@d"),
        .credential = SLICE("dev"),
    };
    static const char want[] = "E\x01\x05\x02"
                               "\0\x0b"
                               "a@b.example"
                               "\0\x02"
                               "X1"
                               "\0\x0b"
                               "c@d.example"
                               "\0\x02"
                               "Hi"
                               "\0\x03"
                               "m@d"
                               "\0\x03"
                               "dev";
    struct buf b;
    buf_init(&b, 1000);
    assert_true(envelope_encode(&e, &b));
    assert_bytes(&b, want, sizeof want - 1);

    struct envelope back;
    assert_true(envelope_decode(buf_slice(&b), &back));
    assert_slice(back.reverse_path, "a@b.example");
    assert_slice(back.envid, "X1");
    assert_slice(back.header_from, "c@d.example");
    assert_slice(back.subject, "Hi");
    assert_slice(back.message_id, "m@d");
    assert_slice(back.credential, "dev");
    assert_int_equal(back.ret, RET_HDRS);
    assert_true(back.smtputf8);
    assert_false(back.eightbit);
    assert_true(back.is_ndr);
    buf_fini(&b);
}

static void
options_have_golden_bytes(void **state)
{
    (void)state;
    const struct rcpt_options o = {
        .notify = NOTIFY_GIVEN | NOTIFY_SUCCESS | NOTIFY_DELAY,
        .orcpt = SLICE("rfc822;a@b"),
    };
    static const char want[] = "R\x01\x15\0\x0arfc822;a@b";
    struct buf b;
    buf_init(&b, 100);
    assert_true(rcpt_options_encode(&o, &b));
    assert_bytes(&b, want, sizeof want - 1);
    struct rcpt_options back;
    assert_true(rcpt_options_decode(buf_slice(&b), &back));
    assert_int_equal(back.notify, o.notify);
    assert_slice(back.orcpt, "rfc822;a@b");
    assert_false(rcpt_options_wants_failure(&back));
    buf_fini(&b);
}

static void
verdict_has_golden_bytes(void **state)
{
    (void)state;
    const struct verdict v = {
        .outcome = OUTCOME_PERM,
        .code = 550,
        .enhanced = {5, 1, 1},
        .text = SLICE("no such user"),
        .phase = SLICE("RCPT"),
        .mx = SLICE("mx.b"),
        .at_unix_ms = 0x0102030405060708,
    };
    static const char want[] = "V\x01\x02"
                               "\x02\x26"
                               "\0\x05\0\x01\0\x01"
                               "\x01\x02\x03\x04\x05\x06\x07\x08"
                               "\0\x0c"
                               "no such user"
                               "\0\x04"
                               "RCPT"
                               "\0\x04"
                               "mx.b";
    struct buf b;
    buf_init(&b, 200);
    assert_true(verdict_encode(&v, &b));
    assert_bytes(&b, want, sizeof want - 1);
    struct verdict back;
    assert_true(verdict_decode(buf_slice(&b), &back));
    assert_int_equal(back.outcome, OUTCOME_PERM);
    assert_int_equal(back.code, 550);
    assert_int_equal(back.enhanced[1], 1);
    assert_slice(back.text, "no such user");
    assert_slice(back.phase, "RCPT");
    assert_slice(back.mx, "mx.b");
    assert_true(back.at_unix_ms == v.at_unix_ms);
    buf_fini(&b);
}

/* A record cut at any byte, or with a byte behind it, is refused and leaves the
 * output alone. */
static void
cut_and_extended_records_are_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    const struct envelope e = {.reverse_path = SLICE("a@b"), .subject = SLICE("s")};
    assert_true(envelope_encode(&e, &b));
    assert_true(buf_add_char(&b, 'x'));
    struct envelope out = {.subject = SLICE("untouched")};
    for (size_t n = 0; n <= b.len; n++)
        assert_int_equal(envelope_decode(slice_from(buf_slice(&b).p, n), &out), n == b.len - 1);
    buf_clear(&b);

    const struct rcpt_options o = {.orcpt = SLICE("rfc822;x@y")};
    assert_true(rcpt_options_encode(&o, &b) && buf_add_char(&b, 'x'));
    struct rcpt_options o_out;
    for (size_t n = 0; n <= b.len; n++)
        assert_int_equal(rcpt_options_decode(slice_from(buf_slice(&b).p, n), &o_out),
                         n == b.len - 1);
    buf_clear(&b);

    const struct verdict v = {.outcome = OUTCOME_TEMP, .text = SLICE("t")};
    assert_true(verdict_encode(&v, &b) && buf_add_char(&b, 'x'));
    struct verdict v_out = {.code = 7};
    assert_false(verdict_decode(buf_slice(&b), &v_out));
    assert_int_equal(v_out.code, 7);
    for (size_t n = 0; n <= b.len; n++)
        assert_int_equal(verdict_decode(slice_from(buf_slice(&b).p, n), &v_out), n == b.len - 1);
    buf_fini(&b);
}

/* What a sender wishes is written only where there is something. */
static void
wishes_have_one_spelling(void **state)
{
    (void)state;
    static const char want[] = "E\x01\x08\0\0\x03"
                               "a@b"
                               "\0\0\0\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\x01\x02"
                               "\0\x03[1]"
                               "\0\x02{}";
    const struct envelope e = {.reverse_path = SLICE("a@b"),
                               .send_at_unix_ms = 0x102,
                               .tags = SLICE("[1]"),
                               .metadata = SLICE("{}")};
    struct buf b;
    buf_init(&b, 1000);
    assert_true(envelope_encode(&e, &b));
    assert_bytes(&b, want, sizeof want - 1);
    struct envelope back;
    assert_true(envelope_decode(buf_slice(&b), &back));
    assert_int_equal(back.send_at_unix_ms, 0x102);
    assert_slice(back.tags, "[1]");
    assert_slice(back.metadata, "{}");
    for (size_t n = 0; n < b.len; n++)
        assert_false(envelope_decode(slice_from(buf_slice(&b).p, n), &back));
    assert_false(envelope_decode(SLICE("E\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                       "\0\0\0\0\0\0\0\0\0\0\0\0"),
                                 &back));
    assert_false(envelope_decode(SLICE("E\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                       "\xff\0\0\0\0\0\0\0\0\0\0\0"),
                                 &back));
    buf_fini(&b);
}

static void
values_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct slice bad_envelopes[] = {
        SLICE("F\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), SLICE("E\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        SLICE("E\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0"), SLICE("E\x01\0\x03\0\0\0\0\0\0\0\0\0\0\0\0")};
    struct envelope e;
    assert_true(envelope_decode(SLICE("E\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), &e));
    for (size_t i = 0; i < sizeof bad_envelopes / sizeof *bad_envelopes; i++)
        assert_false(envelope_decode(bad_envelopes[i], &e));

    /* NEVER with another word; a word without GIVEN; GIVEN without a word. */
    static const unsigned bad_notify[] = {NOTIFY_GIVEN | NOTIFY_NEVER | NOTIFY_FAILURE,
                                          NOTIFY_FAILURE, NOTIFY_GIVEN, 32};
    struct buf b;
    buf_init(&b, 2000);
    for (size_t i = 0; i < sizeof bad_notify / sizeof *bad_notify; i++) {
        struct rcpt_options o = {.notify = bad_notify[i]};
        assert_false(rcpt_options_encode(&o, &b));
        char record[] = {'R', 1, (char)bad_notify[i], 0, 0};
        assert_false(rcpt_options_decode(slice_from(record, sizeof record), &o));
    }
    struct verdict v = {.code = 600};
    assert_false(verdict_encode(&v, &b));
    v = (struct verdict){.code = 199};
    assert_false(verdict_encode(&v, &b));
    v = (struct verdict){.enhanced = {3, 0, 0}};
    assert_false(verdict_encode(&v, &b));
    v = (struct verdict){.enhanced = {5, 1000, 0}};
    assert_false(verdict_encode(&v, &b));
    char *long_text = calloc(1, VERDICT_TEXT_MAX + 1);
    v = (struct verdict){.text = slice_from(long_text, VERDICT_TEXT_MAX + 1)};
    assert_false(verdict_encode(&v, &b));
    v.text.n--;
    assert_int_equal(b.len, 0);
    assert_true(verdict_encode(&v, &b));
    free(long_text);
    buf_fini(&b);
}

static void
nothing_is_appended_when_it_does_not_fit(void **state)
{
    (void)state;
    const struct envelope e = {.reverse_path = SLICE("a@b"), .credential = SLICE("dev")};
    struct buf b;
    buf_init(&b, 1000);
    assert_true(envelope_encode(&e, &b));
    size_t need = b.len;
    buf_fini(&b);
    for (size_t max = 0; max <= need; max++) {
        buf_init(&b, max);
        assert_int_equal(envelope_encode(&e, &b), max == need);
        assert_int_equal(b.len, max == need ? need : 0);
        buf_fini(&b);
    }
}

static void
failure_is_reported_unless_excluded(void **state)
{
    (void)state;
    static const struct {
        unsigned notify;
        bool wants;
    } rows[] = {{0, true},
                {NOTIFY_GIVEN | NOTIFY_NEVER, false},
                {NOTIFY_GIVEN | NOTIFY_SUCCESS, false},
                {NOTIFY_GIVEN | NOTIFY_FAILURE, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rcpt_options o = {.notify = rows[i].notify};
        assert_int_equal(rcpt_options_wants_failure(&o), rows[i].wants);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelope_has_golden_bytes),
        cmocka_unit_test(wishes_have_one_spelling),
        cmocka_unit_test(options_have_golden_bytes),
        cmocka_unit_test(verdict_has_golden_bytes),
        cmocka_unit_test(cut_and_extended_records_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(nothing_is_appended_when_it_does_not_fit),
        cmocka_unit_test(failure_is_reported_unless_excluded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
