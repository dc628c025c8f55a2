/* AUT-01: one exchange, with a client of libgsasl, and with what no client says. */
#include "relay/accept/scram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "tests/unit/support/scram_client.h"

static const struct stream_binding BINDING = {.name = "tls-exporter", .n = 4, .bytes = "abcd"};
#define BINDING_TEXT "YWJjZA=="

/* Iterations as few as may be: what is tested is not how long they take. */
static struct scram_key
make_key(const char *password, const struct scram_key *like)
{
    const struct scram_key shape = {
        .iterations = SCRAM_ITERATIONS_MIN, .salt = "0123456789abcdef", .salt_bytes = 16};
    struct scram_key key;
    assert_true(scram_key_make(slice_str(password), like != NULL ? like : &shape, &key));
    return key;
}

struct dialog {
    struct scram_client client;
    struct scram *server;
    struct scram_key keys[SCRAM_KEYS_MAX];
    unsigned count, which;
    struct buf said;
};

static void
open_dialog(struct dialog *d, const char *password, const char *binding_text, bool has_binding)
{
    *d = (struct dialog){.count = 1};
    d->keys[0] = make_key("pencil", NULL);
    scram_client_open(&d->client, "u,s=r", password, binding_text);
    d->server = scram_new(has_binding ? &BINDING : NULL, binding_text != NULL);
    buf_init(&d->said, 10000);
}

static void
close_dialog(struct dialog *d)
{
    scram_client_close(&d->client);
    scram_free(d->server);
    buf_fini(&d->said);
}

/* To the server's answer to client-first. */
static void
begin_dialog(struct dialog *d)
{
    assert_true(scram_client_step(&d->client, NULL, 0));
    assert_int_equal(scram_take_first(d->server, slice_str(d->client.said)), SCRAM_GO_ON);
    assert_true(slice_eq(scram_user(d->server), SLICE("u,s=r")));
    assert_int_equal(scram_answer(d->server, &d->keys[0], &d->said), SCRAM_GO_ON);
    assert_true(scram_client_step(&d->client, buf_slice(&d->said).p, d->said.len));
    buf_clear(&d->said);
}

static enum scram_outcome
final(struct dialog *d, const char *message)
{
    return scram_take_final(d->server, slice_str(message), d->keys, d->count, &d->which, &d->said);
}

static enum scram_outcome
whole_dialog(const char *password, const char *binding_text)
{
    struct dialog d;
    open_dialog(&d, password, binding_text, binding_text != NULL);
    begin_dialog(&d);
    enum scram_outcome o = final(&d, d.client.said);
    if (o == SCRAM_RIGHT) /* and the client believes the server */
        assert_true(scram_client_step(&d.client, buf_slice(&d.said).p, d.said.len));
    else
        assert_int_equal(d.said.len, 0);
    close_dialog(&d);
    return o;
}

static void
right_and_wrong(void **state)
{
    (void)state;
    assert_int_equal(whole_dialog("pencil", NULL), SCRAM_RIGHT);
    assert_int_equal(whole_dialog("Pencil", NULL), SCRAM_WRONG);
    assert_int_equal(whole_dialog("pencil", BINDING_TEXT), SCRAM_RIGHT);
    assert_int_equal(whole_dialog("x", BINDING_TEXT), SCRAM_WRONG);
    assert_int_equal(whole_dialog("pencil", "YWJjZQ=="), SCRAM_WRONG); /* another connection */
}

static void
either_of_two_keys(void **state)
{
    static const char *const PASSWORDS[] = {"pencil", "pen"};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct dialog d;
        open_dialog(&d, PASSWORDS[i], NULL, false);
        d.keys[1] = make_key("pen", &d.keys[0]);
        d.count = 2;
        begin_dialog(&d);
        assert_int_equal(final(&d, d.client.said), SCRAM_RIGHT);
        assert_int_equal(d.which, i);
        assert_true(scram_client_step(&d.client, buf_slice(&d.said).p, d.said.len));
        close_dialog(&d);
    }
}

/* RFC 5802 6, 5.1, 7. */
static void
first_messages(void **state)
{
    static const struct {
        const char *text;
        bool has_binding, plus;
        enum scram_outcome want;
    } ROWS[] = {
        {"n,,n=u,r=x", false, false, SCRAM_GO_ON},
        {"n,,n=u,r=x", true, false, SCRAM_GO_ON},
        {"y,,n=u,r=x", false, false, SCRAM_GO_ON}, /* true: we do not offer it here */
        {"y,,n=u,r=x", true, false, SCRAM_DOWNGRADED},
        {"y,,n=u,r=x", true, true, SCRAM_DOWNGRADED},
        {"n,,n=u,r=x", true, true, SCRAM_WRONG},
        {"p=tls-exporter,,n=u,r=x", true, true, SCRAM_GO_ON},
        {"p=tls-exporter,,n=u,r=x", true, false, SCRAM_WRONG},
        {"p=tls-unique,,n=u,r=x", true, true, SCRAM_WRONG},
        {"p=,,n=u,r=x", true, true, SCRAM_WRONG},
        {"n,a=u,n=u,r=x", false, false, SCRAM_GO_ON},
        {"n,a=root,n=u,r=x", false, false, SCRAM_WRONG},
        {"n,a=,n=u,r=x", false, false, SCRAM_MALFORMED},
        {"n,b,n=u,r=x", false, false, SCRAM_MALFORMED},
        {"", false, false, SCRAM_MALFORMED},
        {"x,,n=u,r=x", false, false, SCRAM_MALFORMED},
        {"nn,,n=u,r=x", false, false, SCRAM_MALFORMED},
        {"n=u,r=x", false, false, SCRAM_MALFORMED},
        {"n,,r=x,n=u", false, false, SCRAM_MALFORMED},
        {"n,,n=,r=x", false, false, SCRAM_MALFORMED},
        {"n,,n=u", false, false, SCRAM_MALFORMED},
        {"n,,n=u,r=", false, false, SCRAM_MALFORMED},
        {"n,,n=a=2,r=x", false, false, SCRAM_MALFORMED},
        {"n,,n=a=2c,r=x", false, false, SCRAM_MALFORMED},
        {"n,,n=a=,r=x", false, false, SCRAM_MALFORMED},
        {"n,,n=\xff,r=x", false, false, SCRAM_MALFORMED},
        {"n,,m=u,n=u,r=x", false, false, SCRAM_MALFORMED}, /* an extension nobody may ignore */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct scram *x = scram_new(ROWS[i].has_binding ? &BINDING : NULL, ROWS[i].plus);
        assert_int_equal(scram_take_first(x, slice_str(ROWS[i].text)), ROWS[i].want);
        scram_free(x);
    }
}

static void
first_messages_beyond_limits(void **state)
{
    static char text[SCRAM_MESSAGE_MAX + 2];
    struct scram *x = scram_new(NULL, false);
    (void)state;
    assert_int_equal(scram_take_first(x, SLICE("n,,n=u\0v,r=x")), SCRAM_MALFORMED);
    scram_free(x);
    memset(text, 'a', SCRAM_MESSAGE_MAX + 1);
    memcpy(text, "n,,n=u,r=", 9);
    x = scram_new(NULL, false);
    assert_int_equal(scram_take_first(x, slice_str(text)), SCRAM_MALFORMED);
    scram_free(x);
    text[SCRAM_MESSAGE_MAX] = '\0'; /* the longest there can be comes to its end */
    x = scram_new(NULL, false);
    struct scram_key key = make_key("pencil", NULL);
    struct buf out;
    buf_init(&out, 10000);
    assert_int_equal(scram_take_first(x, slice_str(text)), SCRAM_GO_ON);
    assert_int_equal(scram_answer(x, &key, &out), SCRAM_GO_ON);
    buf_fini(&out);
    scram_free(x);
    memcpy(text, "n,,n=", 5); /* a name of 256 octets */
    memcpy(text + 5 + SCRAM_USER_MAX + 1, ",r=x", 5);
    memset(text + 5, 'a', SCRAM_USER_MAX + 1);
    x = scram_new(NULL, false);
    assert_int_equal(scram_take_first(x, slice_str(text)), SCRAM_MALFORMED);
    scram_free(x);
}

/* What an attacker may do to the client's last message. */
static void
spoil(char *m, unsigned how)
{
    char *nonce = strstr(m, ",r="), *proof = strstr(m, ",p=");
    assert_non_null(nonce);
    assert_non_null(proof);
    switch (how) {
    case 0: /* another nonce */
        nonce[3] = nonce[3] == 'A' ? 'B' : 'A';
        break;
    case 1: /* another proof */
        proof[3] = proof[3] == 'A' ? 'B' : 'A';
        break;
    case 2: /* a short proof */
        strcpy(proof, ",p=AAAA");
        break;
    case 3: /* no proof */
        *proof = '\0';
        break;
    case 4: /* another flag in the header that is repeated: "y,," */
        memcpy(m, "c=eSws", 6);
        break;
    case 5:
        memcpy(m, "c=%%%%", 6);
        break;
    case 6: /* something behind the proof */
        strcat(m, ",x=y");
        break;
    case 7: /* only the client's part of the nonce */
        memmove(nonce + 8, proof, strlen(proof) + 1);
        break;
    default:
        strcpy(m, "p=");
    }
}

static void
spoilt_final_messages(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 9; how++) {
        struct dialog d;
        char message[4096];
        open_dialog(&d, "pencil", NULL, false);
        begin_dialog(&d);
        strcpy(message, d.client.said);
        spoil(message, how);
        enum scram_outcome o = final(&d, message);
        assert_true(o == SCRAM_WRONG || o == SCRAM_MALFORMED);
        assert_int_equal(d.said.len, 0);
        close_dialog(&d);
    }
}

/* RFC 7677 3 has the password, the salt and, by its example, the keys. */
static void
keys_of_passwords(void **state)
{
    struct scram_key key, vector;
    char text[SCRAM_KEY_TEXT_MAX], *huge = calloc(1, SCRAM_PASSWORD_MAX + 2);
    (void)state;
    assert_true(scram_key_parse(SLICE("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                                      "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                                      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
                                &vector));
    key = make_key("pencil", &vector);
    assert_memory_equal(key.stored, vector.stored, sizeof key.stored);
    assert_memory_equal(key.server, vector.server, sizeof key.server);
    assert_true(scram_key_make(SLICE("pencil"), NULL, &key));
    assert_int_equal(key.iterations, SCRAM_ITERATIONS);
    scram_key_format(&key, text);
    assert_true(scram_key_parse(slice_str(text), &key));
    memset(huge, 'a', SCRAM_PASSWORD_MAX + 1);
    assert_false(scram_key_make(slice_str(huge), NULL, &key));
    assert_false(scram_key_make(SLICE(""), NULL, &key));
    assert_false(scram_key_make(SLICE("a\0b"), NULL, &key));
    assert_false(scram_key_make(SLICE("a\x07"), NULL, &key));
    assert_false(scram_key_make(SLICE("\xff"), NULL, &key));
    free(huge);
    key = make_key("I\xc2\xadX", NULL); /* RFC 4013 3: the soft hyphen is nothing */
    vector = make_key("IX", NULL);
    assert_memory_equal(key.stored, vector.stored, sizeof key.stored);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_and_wrong),       cmocka_unit_test(either_of_two_keys),
        cmocka_unit_test(first_messages),        cmocka_unit_test(first_messages_beyond_limits),
        cmocka_unit_test(spoilt_final_messages), cmocka_unit_test(keys_of_passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
