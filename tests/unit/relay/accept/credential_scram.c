/* AUT-01, AUT-02: whose keys an exchange is held with, and what the check makes of it. */
#include "relay/accept/credential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/accept/credential_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "tests/unit/support/scram_client.h"

struct fixture {
    struct loop *loop;
    struct config_credential rows[4];
    struct config config;
    struct credentials *cs;
    char one[SCRAM_KEY_TEXT_MAX], two[SCRAM_KEY_TEXT_MAX];
    struct credential_check_op op;
    unsigned done;
};

static void
on_done(struct credential_check_op *op)
{
    container_of(op, struct fixture, op)->done++;
}

static void
make_keys(struct fixture *f)
{
    struct scram_key key = {
        .iterations = SCRAM_ITERATIONS_MIN, .salt = "0123456789ab", .salt_bytes = 12};
    assert_true(scram_key_make(SLICE("one"), &key, &key));
    scram_key_format(&key, f->one);
    assert_true(scram_key_make(SLICE("two"), &key, &key));
    scram_key_format(&key, f->two);
}

static void
fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    log_init("test", 0, LOG_ERROR + 1);
    make_keys(f);
    f->rows[0] = (struct config_credential){.user = "plain", .password_hash = "$y$x"};
    f->rows[1] = (struct config_credential){.user = "a", .scram = f->one, .other_scram = f->two};
    f->rows[2] = (struct config_credential){.user = "over", .scram = f->one, .expires_unix_ms = 1};
    f->rows[3] = (struct config_credential){.user = "broken", .scram = "SCRAM-SHA-256$1:x$y:z"};
    f->config = (struct config){.credentials = f->rows, .credential_count = 4};
    f->loop = loop_new();
    f->cs = credentials_new(f->loop, &f->config);
    f->op.done = on_done;
}

static void
fixture_fini(struct fixture *f)
{
    credentials_free(f->cs);
    loop_run(f->loop);
    loop_free(f->loop);
}

/* To where the client has said its last word. */
static void
begin(struct fixture *f, struct credential_scram *x, struct scram_client *client, const char *user,
      const char *password)
{
    struct buf answer;
    buf_init(&answer, 10000);
    scram_client_open(client, user, password, NULL);
    credential_scram_init(x, f->cs, NULL, false);
    assert_true(scram_client_step(client, NULL, 0));
    assert_int_equal(credential_scram_first(x, slice_str(client->said), &answer), SCRAM_GO_ON);
    assert_true(scram_client_step(client, buf_slice(&answer).p, answer.len));
    buf_fini(&answer);
}

static void
start(struct fixture *f, struct credential_scram *x, struct scram_client *client)
{
    f->done = 0;
    credential_check_scram_start(&f->op, x, slice_str(client->said));
    assert_int_equal(f->done, 0); /* never inside the call */
}

static enum credential_result
check(struct fixture *f, const char *user, const char *password)
{
    struct credential_scram x;
    struct scram_client client;
    begin(f, &x, &client, user, password);
    start(f, &x, &client);
    loop_run(f->loop);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->op.result == CREDENTIAL_OK, f->op.credential != NULL);
    if (f->op.result == CREDENTIAL_OK)
        assert_true(scram_client_step(&client, buf_slice(&x.last).p, x.last.len));
    scram_client_close(&client);
    credential_scram_fini(&x);
    credential_scram_fini(&x); /* twice is fine */
    return f->op.result;
}

static void
right_and_wrong(void **state)
{
    static const struct {
        const char *user, *password;
        enum credential_result want;
    } ROWS[] = {
        {"a", "one", CREDENTIAL_OK},         {"a", "two", CREDENTIAL_OK},
        {"a", "three", CREDENTIAL_WRONG},    {"A", "one", CREDENTIAL_WRONG},
        {"nobody", "one", CREDENTIAL_WRONG}, {"plain", "one", CREDENTIAL_WRONG},
        {"over", "one", CREDENTIAL_WRONG},   {"broken", "one", CREDENTIAL_WRONG},
    };
    struct fixture f;
    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        assert_int_equal(check(&f, ROWS[i].user, ROWS[i].password), ROWS[i].want);
    fixture_fini(&f);
}

/* The proof is of the stored text: what is retired renews nothing. */
static void
a_retired_password_ends_the_session(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    assert_int_equal(check(&f, "a", "two"), CREDENTIAL_OK);
    const struct config_credential *cr = f.op.credential;
    assert_ptr_equal(cr, &f.rows[1]);
    assert_ptr_equal(credential_renew(f.cs, cr, &f.op.proof, NULL), cr);
    f.rows[1].other_scram = "";
    assert_null(credential_renew(f.cs, cr, &f.op.proof, NULL));
    f.rows[1].scram = f.two; /* it is the first one now */
    assert_ptr_equal(credential_renew(f.cs, cr, &f.op.proof, NULL), cr);
    f.rows[1].frozen = true;
    assert_null(credential_renew(f.cs, cr, &f.op.proof, NULL));
    assert_int_equal(check(&f, "a", "two"), CREDENTIAL_WRONG);
    fixture_fini(&f);
}

/* What stands behind the nonce in the server's first message. */
static void
told(struct fixture *f, const char *user, char out[200])
{
    char first[300];
    struct credential_scram x;
    struct buf answer;
    buf_init(&answer, 10000);
    credential_scram_init(&x, f->cs, NULL, false);
    snprintf(first, sizeof first, "n,,n=%s,r=abc", user);
    assert_int_equal(credential_scram_first(&x, slice_str(first), &answer), SCRAM_GO_ON);
    size_t at = slice_find_slice(buf_slice(&answer), SLICE(",s="));
    assert_true(at < answer.len);
    assert_true(slice_to_cstr(slice_skip(buf_slice(&answer), at), out, 200));
    buf_fini(&answer);
    credential_scram_fini(&x);
}

/* AUT-02: the same each time, of the same form for everybody, another for each name,
 * and the same in all processes of one dataset. */
static void
false_salts(void **state)
{
    struct fixture f;
    char a[200], nobody[200], again[200], plain[200];
    (void)state;
    fixture_init(&f);
    f.config.credential_count = 3;
    told(&f, "a", a);
    told(&f, "nobody", nobody);
    told(&f, "nobody", again);
    assert_string_equal(nobody, again);
    assert_int_equal(strlen(a), strlen(nobody));
    assert_string_equal(strstr(a, ",i="), ",i=4096");
    assert_string_equal(strstr(nobody, ",i="), ",i=4096");
    told(&f, "plain", plain);
    assert_string_not_equal(nobody, plain);
    credential_use_dataset(f.cs, SLICE("0198-uuid"));
    told(&f, "nobody", nobody);
    assert_string_not_equal(nobody, again);
    struct credentials *other = f.cs;
    f.cs = credentials_new(f.loop, &f.config);
    credential_use_dataset(f.cs, SLICE("0198-uuid"));
    told(&f, "nobody", again);
    assert_string_equal(nobody, again);
    credentials_free(other);
    fixture_fini(&f);
}

/* Where keys have several counts, names that nobody has are told all of them, always the same
 * one for a name. */
static void
false_counts(void **state)
{
    struct fixture f;
    char user[32], first[200], again[200], few[] = ",i=4096";
    struct scram_key key = {.iterations = SCRAM_ITERATIONS_MIN + 1, .salt_bytes = SCRAM_SALT_MAX};
    unsigned counts[2] = {0, 0};
    (void)state;
    fixture_init(&f);
    assert_true(scram_key_make(SLICE("two"), &key, &key));
    scram_key_format(&key, f.two);
    f.rows[1].other_scram = NULL;
    f.rows[2].scram = f.two;
    f.config.credential_count = 3;
    for (unsigned i = 0; i < 64; i++) {
        snprintf(user, sizeof user, "nobody%u", i);
        told(&f, user, first);
        told(&f, user, again);
        assert_string_equal(first, again);
        counts[strcmp(strstr(first, ",i="), few) == 0]++;
    }
    assert_in_range(counts[0], 10, 54);
    assert_int_equal(counts[0] + counts[1], 64);
    fixture_fini(&f);
}

static void
offered_when_somebody_has_keys(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    assert_true(credentials_offer_scram(f.cs));
    f.config.credential_count = 1;
    assert_false(credentials_offer_scram(f.cs));
    fixture_fini(&f);
}

static void
cancelled_checks_are_told(void **state)
{
    struct fixture f;
    struct credential_scram x;
    struct scram_client client;
    (void)state;
    fixture_init(&f);
    begin(&f, &x, &client, "a", "one");
    start(&f, &x, &client);
    credential_check_cancel(&f.op);
    loop_run(f.loop);
    assert_int_equal(f.done, 1);
    scram_client_close(&client);
    credential_scram_fini(&x);
    begin(&f, &x, &client, "a", "one"); /* and credentials may go first */
    start(&f, &x, &client);
    fixture_fini(&f);
    assert_int_equal(f.done, 1);
    scram_client_close(&client);
    credential_scram_fini(&x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_and_wrong),
        cmocka_unit_test(a_retired_password_ends_the_session),
        cmocka_unit_test(false_salts),
        cmocka_unit_test(false_counts),
        cmocka_unit_test(offered_when_somebody_has_keys),
        cmocka_unit_test(cancelled_checks_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
