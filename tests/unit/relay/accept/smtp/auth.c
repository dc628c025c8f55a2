/* AUT-01, AUT-02 and AUT-03 from outside; the passwords themselves are in
 * tests/unit/relay/accept/credential.c. */
#include "relay/accept/smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

#define TLS_UP                                                                                     \
    S("220 "), C("EHLO c"), S("250 "), C("STARTTLS"), S("220 "), TLS, C("EHLO c"), S("250 ")

static void
all_forms_of_success(void **state)
{
    (void)state;
    static const struct step plain_initial[] = {TLS_UP, C("AUTH PLAIN AGRldgBkZXY="),
                                                S("235 2.7.0 "), END};
    static const struct step plain_asked[] = {
        TLS_UP, C("auth plain"), S("334 "), C("AGRldgBkZXY="), S("235 2.7.0 "), END};
    static const struct step plain_authzid[] = {TLS_UP, C("AUTH PLAIN ZGV2AGRldgBkZXY="), S("235 "),
                                                END};
    static const struct step login_asked[] = {TLS_UP,
                                              C("AUTH LOGIN"),
                                              S("334 VXNlcm5hbWU6"),
                                              C("ZGV2"),
                                              S("334 UGFzc3dvcmQ6"),
                                              C("ZGV2"),
                                              S("235 2.7.0 "),
                                              END};
    static const struct step login_initial[] = {
        TLS_UP, C("AUTH LOGIN ZGV2"), S("334 UGFzc3dvcmQ6"), C("ZGV2"), S("235 "), END};
    static const struct step slow[] = {TLS_UP,    SLOW("AUTH LOGIN\r\n"),
                                       S("334 "), SLOW("ZGV2\r\n"),
                                       S("334 "), SLOW("ZGV2\r\n"),
                                       S("235 "), SLOW("NOOP\r\n"),
                                       S("250 "), END};
    static const struct step *const all[] = {plain_initial, plain_asked,   plain_authzid,
                                             login_asked,   login_initial, slow};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(dialog_steps(all[i]), 0);
}

/* Not base64, no NUL, one, three, empty parts, a lone `=`. */
static void
malformed_answers(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "%%%%", "AGRldgBkZXY", "ZGV2", "AGRldg==", "AGRldgBkZXYAeA==", "AABkZXY=", "AGRldgA=", "="};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        char command[100];
        int n = snprintf(command, sizeof command, "AUTH PLAIN %s\r\n", answers[i]);
        const struct step steps[] = {
            TLS_UP,
            {.kind = STEP_SEND, .bytes = {command, (size_t)n}},
            S("501 5.5.2 "),
            C("AUTH PLAIN"),
            S("334 "),
            {.kind = STEP_SEND, .bytes = {command + 11, (size_t)n - 11}},
            S("501 5.5.2 "),
            C("MAIL FROM:<a@example.org>"),
            S("530 5.7.0 Authentication required"),
            C("AUTH PLAIN AGRldgBkZXY="),
            S("235 "),
            END,
        };
        assert_int_equal(dialog_steps(steps), 0);
    }
    static const struct step login[] = {TLS_UP,          C("AUTH LOGIN ="),
                                        S("501 5.5.2 "), C("AUTH LOGIN"),
                                        S("334 "),       C("!"),
                                        S("501 "),       C("AUTH LOGIN"),
                                        S("334 "),       C("ZGV2"),
                                        S("334 "),       C(""),
                                        S("501 5.5."),   C("NOOP"),
                                        S("250 "),       END};
    assert_int_equal(dialog_steps(login), 0);
}

static void
refusals(void **state)
{
    (void)state;
    static const struct step steps[] = {
        TLS_UP,          C("AUTH"),
        S("501 5.5.4 "), C("AUTH CRAM-MD5"),
        S("504 5.5.4 "), C("AUTH PLAIN"),
        S("334 "),       C("*"),
        S("501 5.7.0 "), C("AUTH LOGIN"),
        S("334 "),       RAW("ZGV2\n"),
        S("500 5.5.2 "), C("AUTH PLAIN AGJ1c3kAeA=="), /* AUT-03 */
        S("454 4.7.0 "), C("AUTH PLAIN AGRldgBkZXY="),
        S("235 "),       C("AUTH PLAIN AGRldgBkZXY="),
        S("503 5.5.1 "), C("MAIL FROM:<a@example.org>"),
        S("250 "),       C("AUTH PLAIN AGRldgBkZXY="),
        S("503 5.5.1 "), END,
    };
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step helo[] = {TLS_UP,          C("HELO c"), S("250 "),
                                       C("AUTH PLAIN"), S("503 "),   END};
    assert_int_equal(dialog_steps(helo), 0);
}

/* A wrong name and a wrong password look the same; the third ends it. */
static void
three_wrong_passwords(void **state)
{
    (void)state;
    static const struct step steps[] = {
        TLS_UP,
        C("AUTH PLAIN AGRldgB4"),
        S("535 5.7.8 Authentication credentials invalid"),
        C("AUTH PLAIN AG5vYm9keQBkZXY="),
        S("535 5.7.8 Authentication credentials invalid"),
        C("MAIL FROM:<a@example.org>"),
        S("530 5.7.0 "),
        C("AUTH LOGIN ZGV2"),
        S("334 "),
        C("eA=="),
        S("421 4.7.0 "),
        GONE,
        END,
    };
    assert_int_equal(dialog_steps(steps), 0);
    static const struct step other_identity[] = {TLS_UP, C("AUTH PLAIN cm9vdABkZXYAZGV2"),
                                                 S("535 5.7.8 "), END};
    assert_int_equal(dialog_steps(other_identity), 0);
}

/* RFC 4954 4: 12288 octets. */
static void
long_answers(void **state)
{
    (void)state;
    static char line[SMTP_AUTH_LINE_MAX + 2];
    memset(line, 'A', sizeof line);
    struct step steps[] = {
        TLS_UP,
        C("AUTH PLAIN"),
        S("334 "),
        {.kind = STEP_SEND},
        RAW("\r\n"),
        S("501 5.5.2 "),
        C("AUTH PLAIN"),
        S("334 "),
        {.kind = STEP_SEND},
        RAW("\r\n"),
        S("500 5.5.6 "),
        C("NOOP"),
        S("250 "),
        END,
    };
    size_t which = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].kind == STEP_SEND && steps[i].bytes.p == NULL)
            steps[i].bytes =
                slice_from(line, which++ == 0 ? SMTP_AUTH_LINE_MAX - 4 : SMTP_AUTH_LINE_MAX + 2);
    assert_int_equal(dialog_steps(steps), 0);
}

static void
scram_steps(bool offers, const struct step *steps)
{
    struct dialog d = {.steps = steps, .offers_scram = offers};
    dialog_play(&d);
}

/* "dev", "right", "last": what the exchange says is tested where it is; here is what
 * the session does with it. */
static void
scram_dialogs(void **state)
{
    (void)state;
    static const struct step whole[] = {TLS_UP,
                                        C("EHLO c"),
                                        S("250 AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
                                        C("AUTH SCRAM-SHA-256"),
                                        S("334 "),
                                        C("ZGV2"),
                                        S("334 Zmlyc3Q="),
                                        C("cmlnaHQ="),
                                        S("334 bGFzdA=="),
                                        C(""),
                                        S("235 2.7.0 "),
                                        C("AUTH SCRAM-SHA-256"),
                                        S("503 "),
                                        MAIL_RCPT,
                                        END};
    static const struct step plus[] = {TLS_UP,
                                       C("auth scram-sha-256-plus ZGV2"),
                                       S("334 Zmlyc3Q="),
                                       SLOW("cmlnaHQ=\r\n"),
                                       S("334 bGFzdA=="),
                                       C(""),
                                       S("235 "),
                                       END};
    static const struct step cancelled[] = {TLS_UP,          C("AUTH SCRAM-SHA-256 ZGV2"),
                                            S("334 "),       C("*"),
                                            S("501 5.7.0 "), C("AUTH SCRAM-SHA-256 ZGV2"),
                                            S("334 "),       C("cmlnaHQ="),
                                            S("334 "),       C("*"),
                                            S("501 5.7.0 "), C("MAIL FROM:<a@example.org>"),
                                            S("530 "),       C("AUTH SCRAM-SHA-256"),
                                            S("334 "),       C("*"),
                                            S("501 5.7.0 "), C("AUTH PLAIN AGRldgBkZXY="),
                                            S("235 "),       END};
    static const struct step malformed[] = {TLS_UP,          C("AUTH SCRAM-SHA-256 ="),
                                            S("501 5.5.2 "), C("AUTH SCRAM-SHA-256 %"),
                                            S("501 5.5.2 "), C("AUTH SCRAM-SHA-256 ZGV2"),
                                            S("334 "),       C("%"),
                                            S("501 5.5.2 "), C("AUTH SCRAM-SHA-256 ZGV2"),
                                            S("334 "),       C("cmlnaHQ="),
                                            S("334 "),       C("ZGV2"),
                                            S("501 5.5.2 "), C("MAIL FROM:<a@example.org>"),
                                            S("530 "),       C("AUTH SCRAM-SHA-1"),
                                            S("504 5.5.4 "), END};
    static const struct step wrong[] = {TLS_UP,
                                        C("AUTH SCRAM-SHA-256 ZGV2"),
                                        S("334 "),
                                        C("ZGV2"),
                                        S("535 5.7.8 "),
                                        C("AUTH SCRAM-SHA-256 eQ=="),
                                        /* a downgrade */ S("535 5.7.8 "),
                                        C("AUTH SCRAM-SHA-256 ZGV2"),
                                        S("334 "),
                                        C("ZGV2"),
                                        S("421 4.7.0 "),
                                        GONE,
                                        END};
    static const struct step removed[] = {TLS_UP,
                                          C("AUTH SCRAM-SHA-256 ZGV2"),
                                          S("334 "),
                                          C("cmlnaHQ="),
                                          S("334 "),
                                          DO(REVOKE),
                                          C(""),
                                          S("535 5.7.8 "),
                                          C("MAIL FROM:<a@example.org>"),
                                          S("530 "),
                                          END};
    static const struct step gone[] = {
        TLS_UP, C("AUTH SCRAM-SHA-256 ZGV2"), S("334 "), C("cmlnaHQ="), DO(CUT), END};
    static const struct step *const all[] = {whole, plus,    cancelled, malformed,
                                             wrong, removed, gone};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        scram_steps(true, all[i]);
}

/* Nobody has keys, or there is no TLS. */
static void
scram_not_offered(void **state)
{
    (void)state;
    static const struct step no_keys[] = {TLS_UP,
                                          C("EHLO c"),
                                          S("250 AUTH PLAIN LOGIN"),
                                          C("AUTH SCRAM-SHA-256"),
                                          S("504 "),
                                          C("AUTH SCRAM-SHA-256-PLUS"),
                                          S("504 "),
                                          END};
    static const struct step clear[] = {
        S("220 "), C("EHLO c"), S("250 LIMITS "), C("AUTH SCRAM-SHA-256"), S("530 "), END};
    scram_steps(false, no_keys);
    scram_steps(true, clear);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "50", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_of_success),
        cmocka_unit_test(malformed_answers),
        cmocka_unit_test(refusals),
        cmocka_unit_test(three_wrong_passwords),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(scram_dialogs),
        cmocka_unit_test(scram_not_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
