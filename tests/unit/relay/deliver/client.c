#include "tests/unit/relay/deliver/client_probe.h"

#include "relay/wire/dot.h"

#define SAY(text)                                                                                  \
    {                                                                                              \
        MX_SAY, text                                                                               \
    }
#define HEAR(text)                                                                                 \
    {                                                                                              \
        MX_HEAR, text                                                                              \
    }
#define TEXT                                                                                       \
    {                                                                                              \
        MX_TEXT, ""                                                                                \
    }
#define HANG_UP                                                                                    \
    {                                                                                              \
        MX_HANG_UP, ""                                                                             \
    }
#define RESET                                                                                      \
    {                                                                                              \
        MX_RESET, ""                                                                               \
    }
#define END                                                                                        \
    {                                                                                              \
        MX_END, ""                                                                                 \
    }

#define PLAIN_EHLO SAY("220 mx.test\r\n"), HEAR("EHLO gateway.test"), SAY("250 mx.test\r\n")
#define FULL_EHLO                                                                                  \
    SAY("220 mx.test\r\n"), HEAR("EHLO gateway.test"),                                             \
        SAY("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n"              \
            "250-SMTPUTF8\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n")
#define ONE_BY_ONE                                                                                 \
    HEAR("MAIL FROM:<sender@example.org>"), SAY("250 ok\r\n"), HEAR("RCPT TO:<a@mx.test>"),        \
        SAY("250 ok\r\n"), HEAR("DATA")
/* The client's three lines come together. */
#define GROUP_OF_1 HEAR("MAIL"), HEAR("RCPT"), HEAR("DATA")
#define GROUP_OF_3 HEAR("MAIL"), HEAR("RCPT"), HEAR("RCPT"), HEAR("RCPT"), HEAR("DATA")
#define GO_AHEAD SAY("250 ok\r\n250 ok\r\n354 go\r\n")
#define BYE HEAR("QUIT"), SAY("221 bye\r\n"), HANG_UP

static void
begin(struct probe *p, const struct mx_step *script)
{
    probe_init(p);
    script_mx_add(&p->mx, script);
}

/* ---- the good way --------------------------------------------------------- */

static void
test_one_by_one(void **state)
{
    static const struct mx_step script[] = {
        PLAIN_EHLO, ONE_BY_ONE, SAY("354 go\r\n"), TEXT, SAY("250 2.0.0 queued\r\n"), BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    assert_true(p.ready);
    probe_send(&p, 1);
    assert_true(p.ready);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    assert_true(slice_eq(p.rcpts[0].verdict.text, SLICE("queued")));
    assert_true(slice_eq(p.rcpts[0].verdict.mx, SLICE("mx.test")));
    assert_int_equal(p.rcpts[0].verdict.enhanced[0], 2);
    assert_true(p.op.dot_sent);
    assert_true(slice_eq(buf_slice(&p.mx.text), SLICE("Subject: x\r\n\r\n..dot\r\nbody\r\n.\r\n")));
    probe_quit(&p);
    assert_script_kept(&p);
    probe_fini(&p);
}

static void
test_pipelined_with_options(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1,        GO_AHEAD,
                                            TEXT,      SAY("250 ok\r\n"), BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    p.envelope.eightbit = true;
    p.envelope.ret = RET_HDRS;
    p.envelope.envid = SLICE("id=1 +");
    p.rcpts[0].options.notify = NOTIFY_GIVEN | NOTIFY_SUCCESS | NOTIFY_FAILURE;
    p.rcpts[0].options.orcpt = SLICE("rfc822;o+x@example.org");
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    assert_false(p.op.relayed_without_dsn);
    probe_quit(&p);
    assert_true(script_mx_heard(&p.mx, "MAIL FROM:<sender@example.org> SIZE=26 BODY=8BITMIME "
                                       "RET=HDRS ENVID=id+3D1+20+2B"));
    assert_true(script_mx_heard(&p.mx, "RCPT TO:<a@mx.test> NOTIFY=SUCCESS,FAILURE "
                                       "ORCPT=rfc822;o+2Bx@example.org"));
    assert_script_kept(&p);
    probe_fini(&p);
}

/* Nothing that was not offered is used. */
static void
test_no_options_for_a_plain_peer(void **state)
{
    static const struct mx_step script[] = {PLAIN_EHLO, ONE_BY_ONE,        SAY("354 go\r\n"),
                                            TEXT,       SAY("250 ok\r\n"), BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    p.envelope.ret = RET_FULL;
    p.envelope.envid = SLICE("x");
    p.rcpts[0].options.notify = NOTIFY_GIVEN | NOTIFY_NEVER;
    p.rcpts[0].options.orcpt = SLICE("rfc822;o@example.org");
    probe_send(&p, 1);
    assert_true(p.op.relayed_without_dsn);
    probe_quit(&p);
    assert_true(script_mx_heard(&p.mx, "MAIL FROM:<sender@example.org>"));
    assert_true(script_mx_heard(&p.mx, "RCPT TO:<a@mx.test>"));
    probe_fini(&p);
}

static void
test_helo_fallback(void **state)
{
    static const struct mx_step script[] = {
        SAY("220 old\r\n"), HEAR("EHLO"), SAY("502 what?\r\n"), HEAR("HELO gateway.test"),
        SAY("250 old\r\n"), ONE_BY_ONE,   SAY("354 go\r\n"),    TEXT,
        SAY("250 ok\r\n"),  BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_quit(&p);
    assert_script_kept(&p);
    probe_fini(&p);
}

/* ---- reuse (RTY-20) -------------------------------------------------------- */

static void
test_two_messages_and_rset(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO,
                                            GROUP_OF_1,
                                            GO_AHEAD,
                                            TEXT,
                                            SAY("250 first\r\n"),
                                            GROUP_OF_1,
                                            SAY("250 ok\r\n550 5.1.1 no\r\n554 nobody\r\n"),
                                            HEAR("RSET"),
                                            SAY("250 ok\r\n"),
                                            GROUP_OF_1,
                                            GO_AHEAD,
                                            TEXT,
                                            SAY("250 third\r\n"),
                                            BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_PERM, 550);
    assert_true(p.ready);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    assert_int_equal(client_messages(p.client), 3);
    assert_int_equal(p.mx.connections, 1);
    probe_quit(&p);
    assert_script_kept(&p);
    probe_fini(&p);
}

static void
test_peer_closed_while_idle(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO,         GROUP_OF_1,   GO_AHEAD, TEXT,
                                            SAY("250 ok\r\n"), HEAR("MAIL"), HANG_UP};
    static const struct mx_step closing[] = {FULL_EHLO,
                                             GROUP_OF_1,
                                             GO_AHEAD,
                                             TEXT,
                                             SAY("250 ok\r\n"),
                                             HEAR("MAIL"),
                                             SAY("421 4.4.2 idle\r\n"),
                                             HANG_UP};
    const struct mx_step *scripts[] = {script, closing};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct probe p;
        begin(&p, scripts[i]);
        probe_connect(&p);
        probe_send(&p, 1);
        assert_true(p.ready);
        probe_send(&p, 1);
        assert_true(p.closed);
        assert_rcpt(&p, 0, RCPT_OPEN, 0, 0);
        assert_true(p.op.peer_was_gone);
        probe_fini(&p);
    }
}

/* On a fresh connection the same is the host's failure. */
static void
test_peer_closed_at_mail(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, HEAR("MAIL"), HANG_UP};
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_OPEN, 0, 0);
    assert_false(p.op.peer_was_gone);
    assert_int_equal(p.op.failure.seen, SEEN_LOST);
    probe_fini(&p);
}

/* ---- the opening goes wrong (MXR-01, -02, -12) ------------------------------- */

static void
test_bad_openings(void **state)
{
    static const struct {
        struct mx_step script[6];
        enum phase phase;
        enum seen seen;
        unsigned code;
    } cases[] = {
        {{SAY("554 no service\r\n"), END}, PHASE_GREETING, SEEN_PERM, 554},
        {{SAY("421 busy\r\n"), HANG_UP}, PHASE_GREETING, SEEN_CLOSING, 421},
        {{SAY("421\r\n"), HANG_UP}, PHASE_GREETING, SEEN_CLOSING, 421},
        {{SAY("450 later\r\n"), END}, PHASE_GREETING, SEEN_TEMP, 450},
        {{SAY("354 what\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 354},
        {{SAY("250 what\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 250},
        {{SAY("2200 x\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{SAY("bogus\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{SAY("220-a\r\n250 b\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{SAY("220 a\r\n220 b\r\n"), END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{{MX_FLOOD, "220-x\r\n"}, END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{{MX_FLOOD, "220 long line without end "}, END}, PHASE_GREETING, SEEN_BROKEN, 0},
        {{SAY("220-"), HANG_UP}, PHASE_GREETING, SEEN_LOST, 0},
        {{HANG_UP}, PHASE_GREETING, SEEN_LOST, 0},
        {{SAY("220 a\r\n"), HEAR("EHLO"), SAY("421 no\r\n"), END}, PHASE_EHLO, SEEN_CLOSING, 421},
        {{SAY("220 a\r\n"), HEAR("EHLO"), SAY("451 no\r\n"), END}, PHASE_EHLO, SEEN_TEMP, 451},
        {{SAY("220 a\r\n"), HEAR("EHLO"), HANG_UP}, PHASE_EHLO, SEEN_LOST, 0},
        {{SAY("220 a\r\n"), HEAR("EHLO"), SAY("500 a\r\n"), HEAR("HELO"), SAY("550 no\r\n"), END},
         PHASE_EHLO,
         SEEN_PERM,
         550},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct probe p;
        begin(&p, cases[i].script);
        probe_connect(&p);
        assert_true(p.closed);
        const struct finding *f = client_failure(p.client);
        if (f->phase != cases[i].phase || f->seen != cases[i].seen || f->code != cases[i].code)
            fail_msg("case %zu: phase %d seen %d code %u %.*s", i, f->phase, f->seen, f->code,
                     (int)f->text_bytes, f->text);
        assert_int_equal(outcome_rule(f->phase, f->seen)->outcome, OUTCOME_TEMP);
        assert_true(f->text_bytes <= VERDICT_TEXT_MAX);
        probe_fini(&p);
    }
}

static void
test_connection_refused(void **state)
{
    static const struct mx_step script[] = {END};
    struct probe p;
    (void)state;
    begin(&p, script);
    listener_close(p.mx.listener);
    p.mx.listener = NULL;
    probe_connect(&p);
    assert_true(p.closed);
    assert_int_equal(client_failure(p.client)->phase, PHASE_CONNECT);
    assert_int_equal(client_failure(p.client)->seen, SEEN_LOST);
    probe_fini(&p);
}

/* ---- TLS (MXR-11) ------------------------------------------------------------ */

struct tls_probe {
    struct probe p;
    struct identity id;
};

static void
tls_begin(struct tls_probe *t, const struct mx_step *script)
{
    struct err err = {0};
    begin(&t->p, script);
    identity_make(&t->id);
    t->p.mx.tls = tls_server_new(t->id.cert, t->id.key, &err);
    t->p.env.tls = tls_client_opportunistic_new(&err);
    assert_non_null(t->p.mx.tls);
    assert_non_null(t->p.env.tls);
}

static void
tls_fini(struct tls_probe *t)
{
    struct tls_context *server = t->p.mx.tls, *client = t->p.env.tls;
    probe_fini(&t->p);
    tls_context_free(server);
    tls_context_free(client);
    identity_remove(&t->id);
}

#define OFFER_TLS SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250-mx\r\n250-SIZE 5\r\n250 STARTTLS\r\n")

static void
test_starttls(void **state)
{
    /* What was said in clear (SIZE 5) does not count any more. */
    static const struct mx_step script[] = {OFFER_TLS,
                                            HEAR("STARTTLS"),
                                            SAY("220 go\r\n"),
                                            {MX_TLS, ""},
                                            HEAR("EHLO"),
                                            SAY("250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n"),
                                            GROUP_OF_1,
                                            GO_AHEAD,
                                            TEXT,
                                            SAY("250 ok\r\n"),
                                            BYE};
    struct tls_probe t;
    (void)state;
    tls_begin(&t, script);
    probe_connect(&t.p);
    assert_true(t.p.ready);
    assert_true(client_is_tls(t.p.client));
    probe_send(&t.p, 1);
    assert_rcpt(&t.p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_quit(&t.p);
    assert_script_kept(&t.p);
    tls_fini(&t);
}

static void
test_helo_after_tls(void **state)
{
    static const struct mx_step script[] = {OFFER_TLS,    HEAR("STARTTLS"),  SAY("220 go\r\n"),
                                            {MX_TLS, ""}, HEAR("EHLO"),      SAY("502 no\r\n"),
                                            HEAR("HELO"), SAY("250 mx\r\n"), BYE};
    struct tls_probe t;
    (void)state;
    tls_begin(&t, script);
    probe_connect(&t.p);
    assert_true(t.p.ready);
    probe_quit(&t.p);
    assert_script_kept(&t.p);
    tls_fini(&t);
}

static void
test_starttls_refused_goes_on_in_clear(void **state)
{
    static const struct mx_step script[] = {SAY("220 mx\r\n"),
                                            HEAR("EHLO"),
                                            SAY("250-mx\r\n250 STARTTLS\r\n"),
                                            HEAR("STARTTLS"),
                                            SAY("454 not now\r\n"),
                                            ONE_BY_ONE,
                                            SAY("354 go\r\n"),
                                            TEXT,
                                            SAY("250 ok\r\n"),
                                            BYE};
    struct tls_probe t;
    (void)state;
    tls_begin(&t, script);
    probe_connect(&t.p);
    assert_false(client_is_tls(t.p.client));
    probe_send(&t.p, 1);
    assert_rcpt(&t.p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_quit(&t.p);
    tls_fini(&t);
}

static void
test_starttls_broken(void **state)
{
    static const struct {
        struct mx_step script[8];
        enum phase phase;
        enum scope scope;
    } cases[] = {
        {{OFFER_TLS, HEAR("STARTTLS"), HANG_UP}, PHASE_STARTTLS, SCOPE_NO_TLS},
        {{OFFER_TLS, HEAR("STARTTLS"), SAY("220 go\r\n"), HEAR(""), END}, PHASE_TLS, SCOPE_NONE},
        {{OFFER_TLS, HEAR("STARTTLS"), SAY("220 go\r\n"), HANG_UP}, PHASE_TLS, SCOPE_NO_TLS},
        /* Bytes behind the 220: injected before the handshake (RFC 3207 4.2). */
        {{OFFER_TLS, HEAR("STARTTLS"), SAY("220 go\r\n250 injected\r\n"), END},
         PHASE_STARTTLS,
         SCOPE_HOST},
        {{OFFER_TLS, HEAR("STARTTLS"), SAY("250 what\r\n"), END}, PHASE_STARTTLS, SCOPE_HOST},
        {{OFFER_TLS, HEAR("STARTTLS"), SAY("421 no\r\n"), END}, PHASE_STARTTLS, SCOPE_HOST},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].scope == SCOPE_NONE)
            continue; /* a silent peer: client_timeouts.c */
        struct tls_probe t;
        tls_begin(&t, cases[i].script);
        probe_connect(&t.p);
        assert_true(t.p.closed);
        const struct finding *f = client_failure(t.p.client);
        assert_int_equal(f->phase, cases[i].phase);
        assert_int_equal(outcome_rule(f->phase, f->seen)->scope, cases[i].scope);
        tls_fini(&t);
    }
}

static void
test_handshake_garbage(void **state)
{
    /* The handshake gets text instead of a TLS record. */
    static const struct mx_step script[] = {
        OFFER_TLS, HEAR("STARTTLS"), SAY("220 go\r\n"), {MX_DEAF, ""}};
    struct tls_probe t;
    (void)state;
    tls_begin(&t, script);
    t.p.leave_in = CLIENT_HANDSHAKE; /* and leaving in it is clean */
    probe_connect(&t.p);
    assert_true(t.p.left);
    tls_fini(&t);
}

/* ---- refusals (RTY-02..04, -18, MXR-06, -07) ----------------------------------- */

struct want {
    enum client_rcpt_result result;
    enum outcome outcome;
    unsigned code;
};

struct refusal {
    const char *name;
    struct mx_step script[16];
    unsigned rcpts;
    struct want want[PROBE_RCPTS];
    bool usable; /* the connection, afterwards */
};

static const struct refusal refusals[] = {
    {"MAIL 5xx, pipelined: the replies to RCPT and DATA change nothing",
     {FULL_EHLO, GROUP_OF_3, SAY("550 5.7.1 no\r\n503 no\r\n503 no\r\n503 no\r\n503 no\r\n"),
      HEAR("RSET"), SAY("250 ok\r\n"), END},
     3,
     {{RCPT_SETTLED, OUTCOME_PERM, 550},
      {RCPT_SETTLED, OUTCOME_PERM, 550},
      {RCPT_SETTLED, OUTCOME_PERM, 550}},
     true},
    {"MAIL 4xx, one by one",
     {PLAIN_EHLO, HEAR("MAIL"), SAY("451 4.3.0 later\r\n"), END},
     2,
     {{RCPT_SETTLED, OUTCOME_TEMP, 451}, {RCPT_SETTLED, OUTCOME_TEMP, 451}},
     true},
    {"MXR-07: closed right after 550 to MAIL",
     {FULL_EHLO, HEAR("MAIL"), SAY("550 5.7.1 blocked\r\n"), HANG_UP},
     2,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}, {RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
    {"MXR-07: closed right after 550 to the only RCPT",
     {FULL_EHLO, HEAR("MAIL"), SAY("250 ok\r\n550 5.1.1 no\r\n"), HANG_UP},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
    {"RTY-02: 421 after MAIL is the host's",
     {FULL_EHLO, GROUP_OF_1, SAY("421 4.3.2 closing\r\n"), HANG_UP},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"RTY-18: one delivered, one refused, one later",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n451 4.2.1 later\r\n354 \r\n"),
      TEXT, SAY("250 done\r\n"), END},
     3,
     {{RCPT_SETTLED, OUTCOME_DELIVERED, 250},
      {RCPT_SETTLED, OUTCOME_PERM, 550},
      {RCPT_SETTLED, OUTCOME_TEMP, 451}},
     true},
    {"RTY-03: too many recipients: the rest at once, in another transaction",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n452 4.5.3 many\r\n452 many\r\n354 \r\n"),
      TEXT, SAY("250 done\r\n"), END},
     3,
     {{RCPT_SETTLED, OUTCOME_DELIVERED, 250},
      {RCPT_AGAIN, OUTCOME_TEMP, 452},
      {RCPT_AGAIN, OUTCOME_TEMP, 452}},
     true},
    {"too many, and then DATA is refused: nothing is left to come again now",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n452 4.5.3 many\r\n452 many\r\n451 no\r\n"),
      HEAR("RSET"), SAY("250 ok\r\n"), END},
     3,
     {{RCPT_SETTLED, OUTCOME_TEMP, 451},
      {RCPT_SETTLED, OUTCOME_TEMP, 452},
      {RCPT_SETTLED, OUTCOME_TEMP, 452}},
     true},
    {"too many, and then the host wants no more: all of them to another host",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n452 4.5.3 many\r\n452 many\r\n421 no\r\n"),
      HANG_UP},
     3,
     {{RCPT_OPEN, 0, 0}, {RCPT_OPEN, 0, 0}, {RCPT_OPEN, 0, 0}},
     false},
    {"452 to the first recipient, or for a full mailbox, is only that",
     {FULL_EHLO, GROUP_OF_3,
      SAY("250 ok\r\n452 4.5.3 many\r\n250 ok\r\n452 4.2.2 full\r\n354 \r\n"), TEXT,
      SAY("250 done\r\n"), END},
     3,
     {{RCPT_SETTLED, OUTCOME_TEMP, 452},
      {RCPT_SETTLED, OUTCOME_DELIVERED, 250},
      {RCPT_SETTLED, OUTCOME_TEMP, 452}},
     true},
    {"MXR-06: 421 among the recipients: what was refused stays refused",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n550 no\r\n421 4.7.0 out\r\n"), HANG_UP},
     3,
     {{RCPT_OPEN, 0, 0}, {RCPT_SETTLED, OUTCOME_PERM, 550}, {RCPT_OPEN, 0, 0}},
     false},
    {"DATA 4xx",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\n250 ok\r\n451 no\r\n"), HEAR("RSET"), SAY("250 \r\n"),
      END},
     1,
     {{RCPT_SETTLED, OUTCOME_TEMP, 451}},
     true},
    {"DATA 5xx, one by one",
     {PLAIN_EHLO, ONE_BY_ONE, SAY("554 5.6.0 no\r\n"), HEAR("RSET"), SAY("250 \r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 554}},
     true},
    {"final reply 4xx",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("451 4.7.1 grey\r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_TEMP, 451}},
     true},
    {"final reply 5xx",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("550 5.7.1 spam\r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}},
     true},
    {"RTY-02: 421 to the dot: not accepted, another host may take it",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("421 4.3.0 out\r\n"), HANG_UP},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"250 and the host closes with 421 behind it: delivered",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("250 ok\r\n421 4.4.2 idle\r\n"), HANG_UP},
     1,
     {{RCPT_SETTLED, OUTCOME_DELIVERED, 250}},
     false},
    {"RSET refused: the results stand, the connection does not",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\n550 no\r\n503 no\r\n"), HEAR("RSET"), SAY("500 \r\n"),
      END},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
    {"CRS-26: all refused for good, then closed",
     {FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n550 a\r\n550 b\r\n550 c\r\n"), HANG_UP},
     3,
     {{RCPT_SETTLED, OUTCOME_PERM, 550},
      {RCPT_SETTLED, OUTCOME_PERM, 550},
      {RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
    {"MXR-05: 354 though nobody was accepted: no dot, no delivery",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\n550 no\r\n354 go\r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
    {"one by one, everybody refused: DATA is never said",
     {PLAIN_EHLO, HEAR("MAIL"), SAY("250 \r\n"), HEAR("RCPT"), SAY("550 no\r\n"), HEAR("RSET"),
      SAY("250 \r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_PERM, 550}},
     true},
    /* MXR-04: out of step. Nothing is delivered. */
    {"250 to DATA instead of 354",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\n250 ok\r\n250 ok\r\n"), END},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"354 to MAIL", {FULL_EHLO, GROUP_OF_1, SAY("354 go\r\n"), END}, 1, {{RCPT_OPEN, 0, 0}}, false},
    {"354 and a 250 behind it",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"), END},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"two replies to MAIL, one by one",
     {PLAIN_EHLO, HEAR("MAIL"), SAY("250 ok\r\n250 ok\r\n"), END},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"two replies to RCPT, one by one",
     {PLAIN_EHLO, HEAR("MAIL"), SAY("250 ok\r\n"), HEAR("RCPT"), SAY("250 ok\r\n354 ok\r\n"), END},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"two replies to the dot: which of them is it?",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("250 ok\r\n550 no\r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_UNCERTAIN, 0}},
     false},
    {"no reply but words, to RCPT",
     {FULL_EHLO, GROUP_OF_1, SAY("250 ok\r\nhello\r\n"), END},
     1,
     {{RCPT_OPEN, 0, 0}},
     false},
    {"354 to the dot",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, SAY("354 more\r\n"), END},
     1,
     {{RCPT_SETTLED, OUTCOME_UNCERTAIN, 354}},
     false},
    /* CRS-10: after the dot nobody knows. */
    {"closed after the dot",
     {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, HANG_UP},
     1,
     {{RCPT_SETTLED, OUTCOME_UNCERTAIN, 0}},
     false},
    {"reset after the dot; the refused recipient stays refused",
     {FULL_EHLO, HEAR("MAIL"), HEAR("RCPT"), HEAR("RCPT"), HEAR("DATA"),
      SAY("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n"), TEXT, RESET},
     2,
     {{RCPT_SETTLED, OUTCOME_UNCERTAIN, 0}, {RCPT_SETTLED, OUTCOME_PERM, 550}},
     false},
};

static void
test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct probe p;
        begin(&p, r->script);
        probe_connect(&p);
        assert_true(p.ready);
        probe_send(&p, r->rcpts);
        for (unsigned k = 0; k < r->rcpts; k++) {
            const struct client_rcpt *got = &p.rcpts[k];
            bool good = got->result == r->want[k].result;
            if (good && got->result != RCPT_OPEN)
                good = got->verdict.outcome == r->want[k].outcome &&
                       got->verdict.code == r->want[k].code;
            if (!good)
                fail_msg("%s: recipient %u: result %d outcome %d code %u", r->name, k, got->result,
                         got->verdict.outcome, got->verdict.code);
        }
        if (p.mx.fault[0] != '\0')
            fail_msg("%s: %s", r->name, p.mx.fault);
        if (!r->usable && !p.closed)
            run_until_flag(p.loop, &p.closed);
        if (p.ready != r->usable)
            fail_msg("%s: usable %d", r->name, p.ready);
        probe_fini(&p);
    }
}

/* ---- while the text is sent (MXR-08, CRS-09) -------------------------------- */

static void
big_content(struct probe *p, size_t lines)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    buf_add_str(&b, "Subject: big\r\n\r\n");
    for (size_t i = 0; i < lines; i++)
        buf_addf(&b, "%s%060zu\r\n", i % 7 == 0 ? "." : "", i);
    content_unref(&p->content);
    p->content.head = blob_new_copy(SLICE("X-Head: 1\r\n"));
    p->content.rest = blob_take_buf(&b);
    buf_fini(&b);
}

static void
test_reply_in_the_middle_of_text(void **state)
{
    static const struct {
        struct mx_step script[12];
        unsigned code;
    } cases[] = {
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("451 4.3.0 full\r\n"), {MX_DEAF, ""}},
         451},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("421 4.3.0 out\r\n"), {MX_DEAF, ""}}, 421},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("552 big\r\n"), {MX_DEAF, ""}}, 552},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("250 ok\r\n"), {MX_DEAF, ""}}, 0},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), HANG_UP}, 0},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), RESET}, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct probe p;
        begin(&p, cases[i].script);
        big_content(&p, 300000);
        probe_connect(&p);
        probe_send(&p, 1);
        assert_false(p.op.dot_sent);
        assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_TEMP, cases[i].code);
        assert_true(p.closed);
        probe_fini(&p);
    }
}

/* 18 MB with dots arrive as they were, the memory in between stays small. */
static void
test_back_pressure(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1,        GO_AHEAD,
                                            TEXT,      SAY("250 ok\r\n"), BYE};
    struct probe p;
    struct dot_decoder d;
    struct buf got;
    struct slice pieces[2];
    (void)state;
    begin(&p, script);
    big_content(&p, 300000);
    probe_connect(&p);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    buf_init(&got, 64 << 20);
    dot_decoder_init(&d, 64 << 20);
    struct slice in = buf_slice(&p.mx.text);
    assert_int_equal(dot_decode(&d, &in, &got), PARSE_OK);
    assert_int_equal(content_pieces(&p.content, pieces), 2);
    struct slice all = buf_slice(&got);
    assert_true(slice_eq(slice_cut(&all, pieces[0].n), pieces[0]));
    assert_true(slice_eq(all, pieces[1]));
    buf_fini(&got);
    probe_quit(&p);
    assert_script_kept(&p);
    probe_fini(&p);
}

static void
test_bad_text_is_not_sent(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1, GO_AHEAD, END};
    struct probe p;
    (void)state;
    begin(&p, script);
    content_unref(&p.content);
    p.content.rest = blob_new_copy(SLICE("Subject: x\r\n\r\nbare\n.\r\nMAIL FROM:<evil>\r\n"));
    probe_connect(&p);
    probe_send(&p, 1);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_PERM, 0);
    assert_false(p.op.dot_sent);
    assert_true(p.closed);
    probe_fini(&p);
}

/* ---- the dot is held back ------------------------------------------------------ */

static bool
in_dot(void *arg)
{
    struct probe *p = arg;
    return p->client != NULL && client_state(p->client) == CLIENT_DOT;
}

static void
test_dot_waits_for_permission(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1,        GO_AHEAD,
                                            TEXT,      SAY("250 ok\r\n"), BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    p.permit = false;
    probe_connect(&p);
    probe_start(&p, 1);
    run_until(p.loop, in_dot, &p);
    run_turns(p.loop, 30);
    assert_false(p.done);
    assert_int_equal(p.mx.texts, 0);
    p.permit = true;
    client_permit_dot(p.client);
    probe_finish(&p);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_quit(&p);
    probe_fini(&p);
}

/* The lease was late and is there again: nobody tells, the client asks. */
static void
test_dot_is_asked_for_again(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1,        GO_AHEAD,
                                            TEXT,      SAY("250 ok\r\n"), BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    p.permit = false;
    probe_connect(&p);
    probe_start(&p, 1);
    run_until(p.loop, in_dot, &p);
    p.permit = true;
    probe_finish(&p);
    assert_true(p.asked >= 2);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    probe_quit(&p);
    probe_fini(&p);
}

/* CRS-18: the lease is lost: no dot, no copy. */
static void
test_withdrawn_before_the_dot(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO, GROUP_OF_1, GO_AHEAD, TEXT, END};
    struct probe p;
    (void)state;
    begin(&p, script);
    p.permit = false;
    probe_connect(&p);
    probe_start(&p, 1);
    run_until(p.loop, in_dot, &p);
    client_withdraw(p.client, "stale");
    probe_finish(&p);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_TEMP, 0);
    assert_int_equal(p.mx.texts, 0);
    assert_true(p.closed);
    probe_fini(&p);
}

/* A reply while the dot is held back, or the peer's end, is never delivery. */
static void
test_peer_acts_while_the_dot_is_held(void **state)
{
    static const struct {
        struct mx_step script[12];
        unsigned code;
    } cases[] = {
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("250 ok\r\n"), END}, 0},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), SAY("451 ok\r\n"), END}, 451},
        {{FULL_EHLO, GROUP_OF_1, GO_AHEAD, HEAR(""), HANG_UP}, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct probe p;
        begin(&p, cases[i].script);
        p.permit = false;
        probe_connect(&p);
        probe_send(&p, 1);
        assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_TEMP, cases[i].code);
        assert_false(p.op.dot_sent);
        probe_fini(&p);
    }
}

/* ---- what must not go to this peer (RTY-22) -------------------------------------- */

static void
test_unfit_messages(void **state)
{
    static const struct mx_step script[] = {SAY("220 mx\r\n"), HEAR("EHLO"),
                                            SAY("250-mx\r\n250 SIZE 20\r\n"), BYE};
    static const struct {
        bool utf8, eightbit;
        const char *sender;
        unsigned enhanced[3];
    } cases[] = {
        {true, false, "sender@example.org", {5, 6, 7}},
        {false, false, "\xc3\xa4@example.org", {5, 6, 7}},
        {false, true, "sender@example.org", {5, 6, 3}},
        {false, false, "sender@example.org", {5, 3, 4}},
        {false, false, "x>\r\nRCPT TO:<y@example.org", {5, 1, 7}},
    };
    struct probe p;
    (void)state;
    begin(&p, script);
    probe_connect(&p);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        p.envelope.smtputf8 = cases[i].utf8;
        p.envelope.eightbit = cases[i].eightbit;
        p.envelope.reverse_path = slice_str(cases[i].sender);
        probe_send(&p, 2);
        assert_true(p.ready);
        for (unsigned k = 0; k < 2; k++) {
            assert_rcpt(&p, k, RCPT_SETTLED, OUTCOME_PERM, 0);
            for (unsigned e = 0; e < 3; e++)
                assert_int_equal(p.rcpts[k].verdict.enhanced[e], cases[i].enhanced[e]);
        }
    }
    probe_quit(&p);
    assert_script_kept(&p); /* nothing was said but EHLO and QUIT */
    probe_fini(&p);
}

static void
test_unfit_recipients_do_not_stop_the_others(void **state)
{
    static const struct mx_step script[] = {SAY("220 mx\r\n"),
                                            HEAR("EHLO"),
                                            SAY("250-mx\r\n250 PIPELINING\r\n"),
                                            HEAR("MAIL"),
                                            HEAR("RCPT TO:<b@mx.test>"),
                                            HEAR("DATA"),
                                            GO_AHEAD,
                                            TEXT,
                                            SAY("250 ok\r\n"),
                                            BYE};
    struct probe p;
    (void)state;
    begin(&p, script);
    p.rcpts[0].address = SLICE("\xc3\xa4@mx.test");
    p.rcpts[2].address = SLICE("c@mx.test>\r\nDATA");
    probe_connect(&p);
    probe_send(&p, 3);
    assert_rcpt(&p, 0, RCPT_SETTLED, OUTCOME_PERM, 0);
    assert_int_equal(p.rcpts[0].verdict.enhanced[2], 7);
    assert_rcpt(&p, 1, RCPT_SETTLED, OUTCOME_DELIVERED, 250);
    assert_rcpt(&p, 2, RCPT_SETTLED, OUTCOME_PERM, 0);
    probe_quit(&p);
    assert_script_kept(&p);
    probe_fini(&p);
}

/* ---- replies in pieces, leaving everywhere ------------------------------------------ */

static void
test_unsolicited_while_idle(void **state)
{
    static const struct mx_step script[] = {FULL_EHLO,         GROUP_OF_1,          GO_AHEAD, TEXT,
                                            SAY("250 ok\r\n"), SAY("250 more\r\n"), END};
    static const struct mx_step late[] = {SAY("220 mx\r\n"), HEAR("EHLO"),
                                          SAY("250 mx\r\n250 ok\r\n250 ok\r\n"), END};
    struct probe p;
    (void)state;
    begin(&p, late); /* replies before their commands */
    probe_connect(&p);
    assert_true(p.closed);
    assert_int_equal(client_failure(p.client)->seen, SEEN_BROKEN);
    probe_fini(&p);
    begin(&p, script);
    probe_connect(&p);
    probe_send(&p, 1);
    run_until_flag(p.loop, &p.closed);
    probe_fini(&p);
}

/* In every state the owner leaves: while opening by client_free, in a
 * transaction by client_withdraw; no callback is missing or too many. */
static void
test_leaving_in_every_state(void **state)
{
    static const struct mx_step script[] = {OFFER_TLS,
                                            HEAR("STARTTLS"),
                                            SAY("220 go\r\n"),
                                            {MX_TLS, ""},
                                            HEAR("EHLO"),
                                            SAY("250 mx\r\n"),
                                            HEAR("MAIL"),
                                            SAY("250 ok\r\n"),
                                            HEAR("RCPT"),
                                            SAY("250 ok\r\n"),
                                            HEAR("DATA"),
                                            SAY("354 go\r\n"),
                                            TEXT,
                                            END};
    (void)state;
    for (unsigned s = CLIENT_CONNECTING; s <= CLIENT_FINAL; s++) {
        if (s == CLIENT_HELO)
            continue;
        struct tls_probe t;
        tls_begin(&t, script);
        t.p.leave_in = (enum client_state)s;
        if (s >= CLIENT_BODY)
            t.p.permit = s == CLIENT_FINAL;
        probe_connect(&t.p);
        if (t.p.ready && !t.p.left) {
            probe_start(&t.p, 1);
            if (s == CLIENT_FINAL) { /* too late to withdraw: the peer must end it */
                run_until_flag(t.p.loop, &t.p.left);
                assert_false(t.p.done);
                script_mx_reset(&t.p.mx);
                probe_finish(&t.p);
                assert_rcpt(&t.p, 0, RCPT_SETTLED, OUTCOME_UNCERTAIN, 0);
            } else {
                probe_finish(&t.p);
                assert_true(t.p.rcpts[0].result == RCPT_SETTLED);
                assert_int_equal(t.p.rcpts[0].verdict.outcome, OUTCOME_TEMP);
            }
        }
        assert_true(t.p.left);
        tls_fini(&t);
    }
}

/* ---- any peer at all -------------------------------------------------------------- */

static uint32_t
next_random(uint32_t *seed) /* xorshift: the same games in every run */
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void
random_script(struct mx_step *steps, unsigned count, uint32_t *seed)
{
    static const struct mx_step vocabulary[] = {
        SAY("220 mx\r\n"),
        SAY("250-mx\r\n250 PIPELINING\r\n"),
        SAY("250 ok\r\n"),
        SAY("250 ok\r\n250 ok\r\n354 go\r\n"),
        SAY("354 go\r\n"),
        SAY("421 out\r\n"),
        SAY("451 later\r\n"),
        SAY("550 no\r\n"),
        SAY("250-"),
        SAY("\r\n"),
        SAY("junk \x01\xff\r\n"),
        HEAR(""),
        HEAR(""),
        HEAR(""),
        TEXT,
        HANG_UP,
        RESET,
    };
    static const struct mx_step usual[] = {
        FULL_EHLO, GROUP_OF_3, SAY("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"), TEXT,
        SAY("250 ok\r\n")};
    for (unsigned i = 0; i + 1 < count; i++) {
        bool keeps_to_it = i < ARRAY_LEN(usual) && next_random(seed) % 8 != 0;
        steps[i] = keeps_to_it ? usual[i] : vocabulary[next_random(seed) % ARRAY_LEN(vocabulary)];
    }
    steps[count - 1] = (struct mx_step)HANG_UP;
}

/* Where both wait for each other, the peer goes. */
static bool
settled_or_pushed(void *arg)
{
    enum { PATIENCE_LOOKS = 20 };
    struct probe *p = arg;
    if (!p->sending && probe_settled(p))
        return true;
    if (++p->looks % PATIENCE_LOOKS == 0)
        script_mx_reset(&p->mx);
    return false;
}

/* Whatever a peer does: every recipient has a result, delivered is said only
 * after a dot, and everything ends. */
static void
test_random_peers(void **state)
{
    enum { GAMES = 400, STEPS = 24 };
    uint32_t seed = 20261123;
    unsigned delivered = 0, uncertain = 0, opened = 0;
    (void)state;
    for (unsigned game = 0; game < GAMES; game++) {
        struct mx_step steps[STEPS];
        struct probe p;
        random_script(steps, STEPS, &seed);
        begin(&p, steps);
        probe_open(&p);
        run_until(p.loop, settled_or_pushed, &p);
        while (p.ready) {
            opened++;
            probe_start(&p, 3);
            run_until(p.loop, settled_or_pushed, &p);
            assert_true(p.done);
            for (unsigned i = 0; i < 3; i++) {
                if (p.rcpts[i].result == RCPT_OPEN)
                    continue;
                enum outcome o = p.rcpts[i].verdict.outcome;
                delivered += o == OUTCOME_DELIVERED;
                uncertain += o == OUTCOME_UNCERTAIN;
                if (o == OUTCOME_DELIVERED || o == OUTCOME_UNCERTAIN)
                    assert_true(p.op.dot_sent && p.rcpts[i].accepted);
                if (o == OUTCOME_PERM)
                    assert_true(p.rcpts[i].verdict.code >= 500);
            }
        }
        probe_fini(&p);
    }
    assert_true(delivered > 20 && uncertain > 20 && opened > 100); /* the games are worth playing */
}

static void
test_every_state_was_entered(void **state)
{
    (void)state;
    for (unsigned s = 0; s < CLIENT_STATES; s++)
        if (states_entered[s] == 0)
            fail_msg("state %u was never entered", s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_pipelined_with_options),
        cmocka_unit_test(test_no_options_for_a_plain_peer),
        cmocka_unit_test(test_helo_fallback),
        cmocka_unit_test(test_two_messages_and_rset),
        cmocka_unit_test(test_peer_closed_while_idle),
        cmocka_unit_test(test_peer_closed_at_mail),
        cmocka_unit_test(test_bad_openings),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_helo_after_tls),
        cmocka_unit_test(test_starttls_refused_goes_on_in_clear),
        cmocka_unit_test(test_starttls_broken),
        cmocka_unit_test(test_handshake_garbage),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_reply_in_the_middle_of_text),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_bad_text_is_not_sent),
        cmocka_unit_test(test_dot_waits_for_permission),
        cmocka_unit_test(test_dot_is_asked_for_again),
        cmocka_unit_test(test_withdrawn_before_the_dot),
        cmocka_unit_test(test_peer_acts_while_the_dot_is_held),
        cmocka_unit_test(test_unfit_messages),
        cmocka_unit_test(test_unfit_recipients_do_not_stop_the_others),
        cmocka_unit_test(test_unsolicited_while_idle),
        cmocka_unit_test(test_leaving_in_every_state),
        cmocka_unit_test(test_random_peers),
        cmocka_unit_test(test_every_state_was_entered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
