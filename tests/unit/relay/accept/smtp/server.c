/* What the server decides by itself: time limits and listeners. */
#include "relay/accept/smtp/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/support/smtp_dialog_play.h"

/* CMD-02: five minutes, scaled to two seconds. */
static void
silent_clients_are_closed(void **state)
{
    (void)state;
    static const struct step at_banner[] = {S("220 "), S("421 4.4.2 "), GONE, END};
    static const struct step in_line[] = {S("220 "), RAW("EHL"), S("421 4.4.2 "), GONE, END};
    static const struct step in_data[] = {
        LOGGED_IN, MAIL_RCPT, C("DATA"), S("354 "), RAW("From: a\r\n."), S("421 4.4.2 "), GONE, END,
    };
    struct dialog d = {.steps = at_banner, .second = in_line};
    dialog_play(&d);
    assert_int_equal(dialog_steps(in_data), 0);
}

/* CMD-02: a byte now and then does not extend the time of a command. */
static void
dribbling_clients_are_closed(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "), C("NOOP"), S("250 "), DRIBBLE(400, "x", "421 4.4.2 "), GONE, END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

/* CMD-02: nor does a small chunk, or a command between two chunks. */
static void
dribbled_chunks_are_closed(void **state)
{
    (void)state;
    static const struct step steps[] = {
        LOGGED_IN, MAIL_RCPT, DRIBBLE(400, "BDAT 2\r\n\r\nNOOP\r\n", "421 4.4.2 "), GONE, END,
    };
    static const struct step in_chunk[] = {
        LOGGED_IN, MAIL_RCPT, C("BDAT 3"), S("421 4.4.2 "), GONE, END,
    };
    struct dialog d = {.steps = steps, .second = in_chunk};
    dialog_play(&d);
    assert_int_equal(d.visits, 0);
}

static void
a_handshake_has_a_time(void **state)
{
    (void)state;
    static const struct step steps[] = {
        S("220 "), C("EHLO c"), S("250 "), C("STARTTLS"), S("220 "), GONE, END,
    };
    assert_int_equal(dialog_steps(steps), 0);
}

static void
listeners_are_refused(void **state)
{
    (void)state;
    const struct config config = {.hostname = "gw.example"};
    struct loop *loop = loop_new();
    const struct smtp_server_parts parts = {.loop = loop, .config = &config};
    struct smtp_server *server = smtp_server_new(&parts);
    struct net_address at;
    struct err err = {0};
    assert_true(net_address_parse(SLICE("127.0.0.1:0"), &at));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(smtp_server_listen(server, fd, true, NULL, &err), -1); /* no certificate */
    assert_int_equal(err.code, ERR_CONFIG);
    for (int i = 0; i < SMTP_LISTENERS_MAX; i++) {
        assert_int_equal(smtp_server_listen(server, fd, false, NULL, &err), 0);
        fd = net_listen(&at, false, false, &err);
    }
    assert_int_equal(smtp_server_listen(server, fd, false, NULL, &err), -1);
    assert_int_equal(err.code, ERR_FULL);
    close(fd);
    assert_false(smtp_server_busy(server));
    smtp_server_free(server);
    smtp_server_free(NULL);
    loop_free(loop);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "150", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_clients_are_closed),
        cmocka_unit_test(dribbling_clients_are_closed),
        cmocka_unit_test(dribbled_chunks_are_closed),
        cmocka_unit_test(a_handshake_has_a_time),
        cmocka_unit_test(listeners_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
