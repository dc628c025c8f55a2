/*
 * Every time limit of the client's table, scaled down: 5 minutes become a
 * second. A program of its own, because the scale holds for the whole process.
 * A release build does not scale: there only QUIT's five seconds are waited for.
 */
#include "tests/unit/relay/deliver/client_probe.h"

#define SAY(text)                                                                                  \
    {                                                                                              \
        MX_SAY, text                                                                               \
    }
#define HEAR(text)                                                                                 \
    {                                                                                              \
        MX_HEAR, text                                                                              \
    }
#define END                                                                                        \
    {                                                                                              \
        MX_END, ""                                                                                 \
    }
#define EHLO SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250 mx\r\n")
#define UP_TO_DATA                                                                                 \
    EHLO, HEAR("MAIL"), SAY("250 ok\r\n"), HEAR("RCPT"), SAY("250 ok\r\n"), HEAR("DATA")

static void
need_scale(void)
{
#ifndef STAGEPOST_TEST_BUILD
    skip();
#endif
}

static const struct silence {
    enum client_state state;
    struct mx_step script[14];
    enum client_rcpt_result result;
    enum outcome outcome;
} silences[] = {
    {CLIENT_MAIL, {EHLO, END}, RCPT_OPEN, 0},
    {CLIENT_RCPT, {EHLO, HEAR("MAIL"), SAY("250 ok\r\n"), END}, RCPT_OPEN, 0},
    {CLIENT_DATA, {UP_TO_DATA, END}, RCPT_OPEN, 0},
    {CLIENT_BODY, {UP_TO_DATA, SAY("354 go\r\n"), {MX_DEAF, ""}}, RCPT_SETTLED, OUTCOME_TEMP},
    {CLIENT_FINAL, {UP_TO_DATA, SAY("354 go\r\n"), END}, RCPT_SETTLED, OUTCOME_UNCERTAIN},
};

static void
test_silence_in_a_transaction(void **state)
{
    (void)state;
    need_scale();
    for (size_t i = 0; i < ARRAY_LEN(silences); i++) {
        const struct silence *s = &silences[i];
        struct probe p;
        probe_init(&p);
        script_mx_add(&p.mx, s->script);
        if (s->state == CLIENT_BODY) {
            struct buf b;
            buf_init(&b, 64 << 20);
            for (int k = 0; k < 400000; k++)
                buf_add_str(&b, "a line of text that nobody reads, again and again\r\n");
            content_unref(&p.content);
            p.content.rest = blob_take_buf(&b);
            buf_fini(&b);
        }
        probe_connect(&p);
        assert_true(p.ready);
        probe_send(&p, 1);
        assert_true(p.closed);
        assert_int_equal(p.rcpts[0].result, s->result);
        if (s->result == RCPT_SETTLED)
            assert_int_equal(p.rcpts[0].verdict.outcome, s->outcome);
        assert_int_equal(client_failure(p.client)->seen, SEEN_TIMEOUT);
        probe_fini(&p);
    }
}

static void
test_silence_while_opening(void **state)
{
    static const struct {
        enum phase phase;
        struct mx_step script[8];
    } cases[] = {
        {PHASE_GREETING, {END}},
        {PHASE_EHLO, {SAY("220 mx\r\n"), END}},
        {PHASE_EHLO, {SAY("220 mx\r\n"), HEAR("EHLO"), SAY("500 no\r\n"), END}},
    };
    (void)state;
    need_scale();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct probe p;
        probe_init(&p);
        script_mx_add(&p.mx, cases[i].script);
        probe_connect(&p);
        assert_true(p.closed);
        assert_int_equal(client_failure(p.client)->phase, cases[i].phase);
        assert_int_equal(client_failure(p.client)->seen, SEEN_TIMEOUT);
        probe_fini(&p);
    }
}

static void
test_silence_around_tls(void **state)
{
    static const struct {
        enum phase phase;
        struct mx_step script[8];
    } cases[] = {
        {PHASE_STARTTLS, {SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250-mx\r\n250 STARTTLS\r\n"), END}},
        {PHASE_TLS,
         {SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250-mx\r\n250 STARTTLS\r\n"), HEAR("STARTTLS"),
          SAY("220 go\r\n"), END}},
    };
    struct err err = {0};
    (void)state;
    need_scale();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct probe p;
        probe_init(&p);
        p.env.tls = tls_client_opportunistic_new(&err);
        script_mx_add(&p.mx, cases[i].script);
        probe_connect(&p);
        assert_true(p.closed);
        assert_int_equal(client_failure(p.client)->phase, cases[i].phase);
        assert_int_equal(client_failure(p.client)->seen, SEEN_TIMEOUT);
        struct tls_context *tls = p.env.tls;
        probe_fini(&p);
        tls_context_free(tls);
    }
}

/* The dot is never permitted: our own trouble, no copy. */
static void
test_dot_withheld_for_too_long(void **state)
{
    static const struct mx_step script[] = {UP_TO_DATA, SAY("354 go\r\n"), {MX_TEXT, ""}, END};
    struct probe p;
    (void)state;
    need_scale();
    probe_init(&p);
    p.permit = false;
    script_mx_add(&p.mx, script);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_int_equal(p.rcpts[0].result, RCPT_SETTLED);
    assert_int_equal(p.rcpts[0].verdict.outcome, OUTCOME_TEMP);
    assert_int_equal(p.mx.texts, 0);
    probe_fini(&p);
}

static void
test_silence_at_rset(void **state)
{
    static const struct mx_step rset[] = {EHLO,         HEAR("MAIL"),      SAY("250 ok\r\n"),
                                          HEAR("RCPT"), SAY("550 no\r\n"), END};
    struct probe p;
    (void)state;
    need_scale();
    probe_init(&p);
    script_mx_add(&p.mx, rset);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_true(p.closed);
    assert_int_equal(p.rcpts[0].verdict.code, 550);
    probe_fini(&p);
}

static void
test_silence_at_quit(void **state)
{
    static const struct mx_step quit[] = {EHLO, END};
    struct probe p;
    (void)state;
    probe_init(&p);
    script_mx_add(&p.mx, quit);
    probe_connect(&p);
    probe_quit(&p); /* returns when the client has gone */
    probe_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_in_a_transaction),
        cmocka_unit_test(test_silence_while_opening),
        cmocka_unit_test(test_silence_around_tls),
        cmocka_unit_test(test_dot_withheld_for_too_long),
        cmocka_unit_test(test_silence_at_rset),
        cmocka_unit_test(test_silence_at_quit),
    };
    setenv("STAGEPOST_TIME_SCALE", "300", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
