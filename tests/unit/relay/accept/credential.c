#include "relay/accept/credential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <crypt.h>
#include <openssl/sha.h>

#include "relay/accept/api_key.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/work.h"

enum { CHECKS_MAX = CREDENTIAL_HASHES_MAX + 4 };

/* SHA-256 of "dev". */
static const char DEV_KEY[] = "ef260e9aa3c673af240d17a2660480361a8e081d1ffeca2a5ed0e3219fc18567";

struct fixture {
    struct loop *loop;
    struct config_credential rows[3];
    struct config config;
    struct credentials *cs;
    char hash_a[CRYPT_OUTPUT_SIZE], hash_b[CRYPT_OUTPUT_SIZE];
    struct check {
        struct credential_check_op op;
        struct fixture *f;
        unsigned done;
    } checks[CHECKS_MAX];
    unsigned done;
};

static void
make_hash(const char *password, char out[CRYPT_OUTPUT_SIZE])
{
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    assert_non_null(crypt_gensalt_rn("$y$", 1, NULL, 0, salt, sizeof salt));
    struct crypt_data *data = calloc(1, sizeof *data);
    snprintf(out, CRYPT_OUTPUT_SIZE, "%s", crypt_r(password, salt, data));
    assert_int_equal(out[0], '$');
    free(data);
}

static void
fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    make_hash("right", f->hash_a);
    make_hash("x", f->hash_b);
    f->rows[0] = (struct config_credential){
        .user = "a", .tenant = "t", .password_hash = f->hash_a, .key_sha256 = DEV_KEY};
    f->rows[1] = (struct config_credential){.user = "b", .tenant = "t", .password_hash = f->hash_b};
    f->rows[2] = (struct config_credential){
        .user = "keyonly", .tenant = "t", .password_hash = "", .key_sha256 = ""};
    f->config = (struct config){.credentials = f->rows, .credential_count = 3};
    f->loop = loop_new();
    f->cs = credentials_new(f->loop, &f->config);
}

static void
fixture_fini(struct fixture *f)
{
    credentials_free(f->cs);
    loop_run(f->loop); /* hashes that nobody waits for */
    loop_free(f->loop);
    assert_int_equal(work_pending(), 0);
}

static void
on_done(struct credential_check_op *op)
{
    struct check *c = container_of(op, struct check, op);
    c->done++;
    c->f->done++;
}

static void
start(struct fixture *f, unsigned i, struct slice user, struct slice password)
{
    f->checks[i] = (struct check){.op.done = on_done, .f = f};
    credential_check_start(&f->checks[i].op, f->cs, user, password);
    assert_int_equal(f->checks[i].done, 0); /* never inside the call */
}

static enum credential_result
check(struct fixture *f, struct slice user, struct slice password)
{
    start(f, 0, user, password);
    loop_run(f->loop);
    assert_int_equal(f->checks[0].done, 1);
    assert_int_equal(f->checks[0].op.result == CREDENTIAL_OK, f->checks[0].op.credential != NULL);
    return f->checks[0].op.result;
}

/* AUT-01: a password of one character is one; AUT-02. */
static void
right_and_wrong(void **state)
{
    (void)state;
    static const struct {
        struct slice user, password;
        enum credential_result want;
    } rows[] = {
        {SLICE("a"), SLICE("right"), CREDENTIAL_OK},
        {SLICE("a"), SLICE("right"), CREDENTIAL_OK}, /* remembered */
        {SLICE("b"), SLICE("x"), CREDENTIAL_OK},
        {SLICE("a"), SLICE("wrong"), CREDENTIAL_WRONG},
        {SLICE("a"), SLICE("righ"), CREDENTIAL_WRONG},
        {SLICE("a"), SLICE("right\0x"), CREDENTIAL_WRONG}, /* crypt(5) would stop at the NUL */
        {SLICE("a"), SLICE(""), CREDENTIAL_WRONG},
        {SLICE("a"), SLICE("x"), CREDENTIAL_WRONG},
        {SLICE("b"), SLICE("right"), CREDENTIAL_WRONG},
        {SLICE("A"), SLICE("right"), CREDENTIAL_WRONG},
        {SLICE("a\0"), SLICE("right"), CREDENTIAL_WRONG},
        {SLICE("nobody"), SLICE("right"), CREDENTIAL_WRONG},
        {SLICE("keyonly"), SLICE("right"), CREDENTIAL_WRONG},
        {SLICE("keyonly"), SLICE(""), CREDENTIAL_WRONG},
        {SLICE(""), SLICE(""), CREDENTIAL_WRONG},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (check(&f, rows[i].user, rows[i].password) != rows[i].want)
            fail_msg("row %zu", i);
    assert_ptr_equal(f.checks[0].op.credential, NULL);
    assert_int_equal(check(&f, SLICE("b"), SLICE("x")), CREDENTIAL_OK);
    assert_ptr_equal(f.checks[0].op.credential, &f.rows[1]);
    fixture_fini(&f);
}

/* A password above crypt(5)'s limit of 512 is wrong, not a crash. */
static void
long_passwords_are_wrong(void **state)
{
    (void)state;
    static char text[9000];
    memset(text, 'x', sizeof text);
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(check(&f, SLICE("b"), slice_from(text, sizeof text)), CREDENTIAL_WRONG);
    assert_int_equal(check(&f, slice_from(text, sizeof text), SLICE("x")), CREDENTIAL_WRONG);
    fixture_fini(&f);
}

/* A remembered password costs no hash; a changed stored hash forgets it. */
static void
success_is_remembered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    start(&f, 1, SLICE("a"), SLICE("right"));
    assert_int_equal(work_pending(), 0);
    loop_run(f.loop);
    assert_int_equal(f.checks[1].op.result, CREDENTIAL_OK);

    start(&f, 1, SLICE("a"), SLICE("wrong")); /* failures are not remembered */
    assert_int_equal(work_pending(), 1);
    loop_run(f.loop);
    start(&f, 1, SLICE("a"), SLICE("wrong"));
    assert_int_equal(work_pending(), 1);
    loop_run(f.loop);

    f.rows[0].password_hash = f.hash_b;
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_WRONG);
    fixture_fini(&f);
}

/* The real one, counted: what was hashed, in the order of the hashes. */
static struct {
    atomic_uint count;
    char settings[4][CRYPT_OUTPUT_SIZE];
} hashed;

char *
crypt_r(const char *phrase, const char *setting, struct crypt_data *data)
{
    unsigned i = atomic_fetch_add(&hashed.count, 1);
    snprintf(hashed.settings[i % ARRAY_LEN(hashed.settings)], CRYPT_OUTPUT_SIZE, "%s", setting);
    return crypt_rn(phrase, setting, data, sizeof *data);
}

static unsigned
hashes_of(struct fixture *f, struct slice user, const char *password)
{
    hashed.count = 0;
    assert_int_equal(check(f, user, slice_str(password)), CREDENTIAL_WRONG);
    return atomic_load(&hashed.count);
}

/* AUT-02: a wrong password costs as many hashes as an unknown user. */
static void
unknown_users_cost_a_hash(void **state)
{
    static const struct slice users[] = {SLICE("a"), SLICE("b"), SLICE("nobody"), SLICE("keyonly"),
                                         SLICE("")};
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (unsigned needed = 1; needed <= 2; needed++) {
        for (size_t i = 0; i < ARRAY_LEN(users); i++)
            assert_int_equal(hashes_of(&f, users[i], "wrong"), needed);
        f.rows[0].other_password_hash = f.hash_b; /* two live: everybody costs two */
    }
    fixture_fini(&f);

    /* also where no credential has a password at all */
    fixture_init(&f);
    f.config.credential_count = 0;
    credentials_free(f.cs);
    f.cs = credentials_new(f.loop, &f.config);
    start(&f, 0, SLICE("nobody"), SLICE("right"));
    assert_int_equal(work_pending(), 1);
    uint64_t before_us = clock_mono_us();
    loop_run(f.loop);
    assert_int_equal(f.checks[0].op.result, CREDENTIAL_WRONG);
    assert_true(clock_mono_us() - before_us > 500); /* crypt() took the setting and worked */
    fixture_fini(&f);
}

/* AUT-02: hashes of other kinds take other times. A name that nobody has costs what one of
 * ours does, always the same one, and not always the first. */
static void
unknown_users_have_a_stand_in(void **state)
{
    char user[32], first[CRYPT_OUTPUT_SIZE];
    unsigned like_a = 0;
    struct fixture f;
    (void)state;
    fixture_init(&f);
    for (unsigned i = 0; i < 64; i++) {
        snprintf(user, sizeof user, "nobody%u", i);
        assert_int_equal(hashes_of(&f, slice_str(user), "right"), 1); /* and is not let in */
        snprintf(first, sizeof first, "%s", hashed.settings[0]);
        assert_int_equal(hashes_of(&f, slice_str(user), "x"), 1);
        assert_string_equal(hashed.settings[0], first);
        like_a += strcmp(first, f.hash_a) == 0;
    }
    assert_in_range(like_a, 10, 54);
    fixture_fini(&f);
}

/* AUT-05. */
static void
hashes_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    for (unsigned i = 0; i < CHECKS_MAX - 1; i++) {
        char password[16];
        snprintf(password, sizeof password, "wrong%u", i);
        start(&f, i, SLICE("a"), slice_str(password));
    }
    assert_int_equal(work_pending(), CREDENTIAL_HASHES_MAX);
    start(&f, CHECKS_MAX - 1, SLICE("a"), SLICE("right")); /* known: no hash is needed */
    f.done = 0;
    loop_run(f.loop);
    assert_int_equal(f.done, CHECKS_MAX);
    for (unsigned i = 0; i < CHECKS_MAX - 1; i++)
        assert_int_equal(f.checks[i].op.result,
                         i < CREDENTIAL_HASHES_MAX ? CREDENTIAL_WRONG : CREDENTIAL_BUSY);
    assert_int_equal(f.checks[CHECKS_MAX - 1].op.result, CREDENTIAL_OK);
    assert_int_equal(check(&f, SLICE("b"), SLICE("x")), CREDENTIAL_OK); /* room again */
    fixture_fini(&f);
}

/* AUT-05: who asks the same while a hash runs is answered by that hash. */
static void
one_question_is_hashed_once(void **state)
{
    (void)state;
    static const struct {
        struct slice user, password;
        unsigned hashes; /* under way then */
        enum credential_result want;
    } rows[] = {
        {SLICE("a"), SLICE("right"), 1, CREDENTIAL_OK},
        {SLICE("a"), SLICE("right"), 1, CREDENTIAL_OK},
        {SLICE("a"), SLICE("right\0x"), 2, CREDENTIAL_WRONG}, /* crypt(5) would stop at the NUL */
        {SLICE("a"), SLICE("wrong"), 3, CREDENTIAL_WRONG},
        {SLICE("a"), SLICE("wrong"), 3, CREDENTIAL_WRONG},
        {SLICE("b"), SLICE("right"), 4, CREDENTIAL_WRONG},
        {SLICE("nobody"), SLICE("right"), 5, CREDENTIAL_WRONG},
        {SLICE("a"), SLICE("right"), 5, CREDENTIAL_OK},
    };
    struct fixture f;
    fixture_init(&f);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        start(&f, i, rows[i].user, rows[i].password);
        assert_int_equal(work_pending(), rows[i].hashes);
    }
    loop_run(f.loop);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(f.checks[i].done, 1);
        assert_int_equal(f.checks[i].op.result, rows[i].want);
    }
    assert_ptr_equal(f.checks[7].op.credential, &f.rows[0]);
    fixture_fini(&f);
}

/* Whether it was changed in between decides, not only who asked and what. */
static void
a_changed_password_is_another_question(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    start(&f, 0, SLICE("a"), SLICE("x"));
    f.rows[0].password_hash = f.hash_b;
    start(&f, 1, SLICE("a"), SLICE("x"));
    assert_int_equal(work_pending(), 2);
    loop_run(f.loop);
    assert_int_equal(f.checks[0].op.result, CREDENTIAL_WRONG);
    assert_int_equal(f.checks[1].op.result, CREDENTIAL_OK);
    fixture_fini(&f);
}

/* Neither the one that hashes nor one that waits keeps the others from an answer. */
static void
cancelled_among_waiters(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (unsigned i = 0; i < 4; i++)
        start(&f, i, SLICE("a"), SLICE("right"));
    credential_check_cancel(&f.checks[0].op);
    credential_check_cancel(&f.checks[2].op);
    loop_run(f.loop);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(f.checks[i].done, 1);
        assert_int_equal(f.checks[i].op.result, i % 2 == 0 ? CREDENTIAL_BUSY : CREDENTIAL_OK);
    }

    /* all are cancelled, and the owner of all goes while the hash runs */
    for (unsigned i = 0; i < 3; i++)
        start(&f, i, SLICE("a"), SLICE("wrong"));
    for (unsigned i = 0; i < 3; i++)
        credential_check_cancel(&f.checks[i].op);
    fixture_fini(&f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f.checks[i].done, 1);
}

static void
cancelled_checks_end_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    start(&f, 0, SLICE("a"), SLICE("right"));
    credential_check_cancel(&f.checks[0].op);
    credential_check_cancel(&f.checks[0].op);
    loop_run(f.loop);
    assert_int_equal(f.checks[0].done, 1);
    assert_int_equal(f.checks[0].op.result, CREDENTIAL_BUSY);
    credential_check_cancel(&f.checks[0].op); /* after done: nothing */

    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    start(&f, 0, SLICE("a"), SLICE("right")); /* answered from memory, not told yet */
    credential_check_cancel(&f.checks[0].op);
    loop_run(f.loop);
    assert_int_equal(f.checks[0].done, 1);

    /* the owner of all goes while a hash runs */
    start(&f, 0, SLICE("a"), SLICE("wrong"));
    credential_check_cancel(&f.checks[0].op);
    fixture_fini(&f);
    assert_int_equal(f.checks[0].done, 1);
}

static void
keys_are_found_by_digest(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_ptr_equal(credential_by_key(f.cs, SLICE("dev"), NULL), &f.rows[0]);
    static const struct slice wrong[] = {SLICE(""),    SLICE("de"),    SLICE("devv"),
                                         SLICE("DEV"), SLICE("dev\0"), SLICE_NONE};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_null(credential_by_key(f.cs, wrong[i], NULL));
    assert_null(credential_by_key(f.cs, slice_str(DEV_KEY), NULL));
    assert_ptr_equal(credential_by_user(f.cs, slice_str(f.rows[0].user)), &f.rows[0]);
    assert_null(credential_by_user(f.cs, SLICE("")));
    fixture_fini(&f);
}

static struct credential_proof
proof_of(const char *stored)
{
    struct credential_proof p;
    SHA256((const unsigned char *)stored, strlen(stored), p.digest);
    return p;
}

/* AUT-09: what a session learned before a change is asked again by its name, and
 * by the secret that it showed. */
static void
renewed_or_gone(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct config_credential removed = {.user = "removed"}, same = {.user = "a"};
    struct credential_proof a = proof_of(f.hash_a), b = proof_of(f.hash_b), key = proof_of(DEV_KEY),
                            none = proof_of("");
    assert_ptr_equal(credential_renew(f.cs, &same, &a, NULL), &f.rows[0]);
    assert_ptr_equal(credential_renew(f.cs, &same, &key, NULL), &f.rows[0]);
    assert_null(credential_renew(f.cs, &same, &b, NULL));
    assert_null(credential_renew(f.cs, &same, &none, NULL));
    assert_null(credential_renew(f.cs, &removed, &a, NULL));

    f.rows[0].password_hash = f.hash_b; /* rotated: both live */
    f.rows[0].other_password_hash = f.hash_a;
    assert_ptr_equal(credential_renew(f.cs, &same, &a, NULL), &f.rows[0]);
    assert_ptr_equal(credential_renew(f.cs, &same, &b, NULL), &f.rows[0]);
    f.rows[0].other_password_hash = ""; /* retired */
    assert_null(credential_renew(f.cs, &same, &a, NULL));

    f.rows[0].expires_unix_ms = 1;
    assert_null(credential_renew(f.cs, &same, &b, NULL));
    fixture_fini(&f);
}

/* Two passwords are live while one replaces the other, and each has its proof. */
static void
two_secrets_are_live(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    f.rows[0].other_password_hash = f.hash_b;
    assert_int_equal(check(&f, SLICE("a"), SLICE("x")), CREDENTIAL_OK);
    struct credential_proof b = proof_of(f.hash_b);
    assert_memory_equal(f.checks[0].op.proof.digest, b.digest, sizeof b.digest);
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    struct credential_proof a = proof_of(f.hash_a);
    assert_memory_equal(f.checks[0].op.proof.digest, a.digest, sizeof a.digest);
    start(&f, 0, SLICE("a"), SLICE("x")); /* remembered, under its own hash */
    assert_int_equal(work_pending(), 0);
    loop_run(f.loop);
    assert_int_equal(check(&f, SLICE("a"), SLICE("y")), CREDENTIAL_WRONG);
    assert_int_equal(check(&f, SLICE("b"), SLICE("right")), CREDENTIAL_WRONG);

    f.rows[1].other_key_sha256 = DEV_KEY;
    f.rows[0].key_sha256 = "";
    assert_ptr_equal(credential_by_key(f.cs, SLICE("dev"), NULL), &f.rows[1]);
    fixture_fini(&f);
}

/* An API key is a password under any name but another credential's of its tenant. */
static void
a_key_is_a_password(void **state)
{
    static const char KEY[] = "a key of thirty-two random bytes";
    struct fixture f;
    char hex[65];
    uint8_t digest[32];
    (void)state;
    fixture_init(&f);
    SHA256((const unsigned char *)KEY, strlen(KEY), digest);
    for (unsigned i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    f.rows[2].key_sha256 = hex;
    f.rows[1].tenant = "other";
    static const struct {
        struct slice user;
        enum credential_result want;
    } rows[] = {{SLICE("keyonly"), CREDENTIAL_OK},
                {SLICE("apikey"), CREDENTIAL_OK},
                {SLICE("someone@example.org"), CREDENTIAL_OK},
                {SLICE("a"), CREDENTIAL_WRONG},
                {SLICE("b"), CREDENTIAL_OK}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(check(&f, rows[i].user, slice_str(KEY)), rows[i].want);
        if (rows[i].want == CREDENTIAL_OK)
            assert_ptr_equal(f.checks[0].op.credential, &f.rows[2]);
    }
    assert_int_equal(check(&f, SLICE("apikey"), slice_from(KEY, 31)), CREDENTIAL_WRONG);
    /* "dev" is too short to be a key over SMTP */
    assert_int_equal(check(&f, SLICE("apikey"), SLICE("dev")), CREDENTIAL_WRONG);
    fixture_fini(&f);
}

/* The right password, from elsewhere or too late, is as wrong as any. */
static void
network_and_expiry_count(void **state)
{
    static const char *nets[] = {"192.0.2.0/24", "2001:db8::/32"};
    static const struct {
        const char *from;
        enum credential_result want;
    } rows[] = {{"192.0.2.7", CREDENTIAL_OK},
                {"192.0.3.7", CREDENTIAL_WRONG},
                {"::ffff:192.0.2.9", CREDENTIAL_OK},
                {"2001:db8::1", CREDENTIAL_OK},
                {"2001:db9::1", CREDENTIAL_WRONG}};
    struct fixture f;
    (void)state;
    fixture_init(&f);
    f.rows[0].networks = nets;
    f.rows[0].network_count = 2;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct net_address from;
        assert_true(net_address_from_ip(slice_str(rows[i].from), 1, &from));
        f.checks[0] = (struct check){.op.done = on_done, .op.from = &from, .f = &f};
        credential_check_start(&f.checks[0].op, f.cs, SLICE("a"), SLICE("right"));
        loop_run(f.loop);
        assert_int_equal(f.checks[0].op.result, rows[i].want);
        assert_int_equal(credential_by_key(f.cs, SLICE("dev"), &from) != NULL,
                         rows[i].want == CREDENTIAL_OK);
    }
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_WRONG); /* not known */
    f.rows[0].network_count = 0;
    f.rows[0].expires_unix_ms = (uint64_t)clock_sched_unix_ms() + 3600000;
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    f.rows[0].expires_unix_ms = (uint64_t)clock_sched_unix_ms();
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_WRONG);
    assert_null(credential_by_key(f.cs, SLICE("dev"), NULL));
    fixture_fini(&f);
}

/* And takes as long: neither memory nor a key answers sooner, or the time would say that
 * it is right (AUT-02). */
static void
what_may_not_be_used_costs_a_hash(void **state)
{
    static const char KEY[] = "a key of thirty-two random bytes";
    static const char *nets[] = {"192.0.2.0/24"};
    char hex[API_KEY_DIGEST_HEX + 1] = "";
    struct fixture f;
    (void)state;
    fixture_init(&f);
    api_key_digest(slice_str(KEY), hex);
    f.rows[0].other_key_sha256 = hex;
    f.rows[0].other_password_hash = f.hash_b;
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    assert_int_equal(check(&f, SLICE("a"), slice_str(KEY)), CREDENTIAL_OK);
    f.rows[0].networks = nets; /* and nobody knows from where these come */
    f.rows[0].network_count = 1;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(hashes_of(&f, SLICE("a"), "right"), 2);
        assert_int_equal(hashes_of(&f, SLICE("a"), KEY), 2);
        assert_int_equal(hashes_of(&f, SLICE("a"), "wrong"), 2);
    }
    f.rows[0].network_count = 0;
    assert_int_equal(check(&f, SLICE("a"), SLICE("right")), CREDENTIAL_OK);
    fixture_fini(&f);
}

/* A reload takes the credential away while its hash is computed. */
static void
removed_during_the_check(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    start(&f, 0, SLICE("a"), SLICE("right"));
    f.config.credential_count = 0;
    loop_run(f.loop);
    assert_int_equal(f.checks[0].done, 1);
    assert_int_equal(f.checks[0].op.result, CREDENTIAL_WRONG);
    assert_null(f.checks[0].op.credential);
    fixture_fini(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_and_wrong),
        cmocka_unit_test(long_passwords_are_wrong),
        cmocka_unit_test(success_is_remembered),
        cmocka_unit_test(unknown_users_cost_a_hash),
        cmocka_unit_test(unknown_users_have_a_stand_in),
        cmocka_unit_test(hashes_are_bounded),
        cmocka_unit_test(cancelled_checks_end_once),
        cmocka_unit_test(keys_are_found_by_digest),
        cmocka_unit_test(two_secrets_are_live),
        cmocka_unit_test(a_key_is_a_password),
        cmocka_unit_test(what_may_not_be_used_costs_a_hash),
        cmocka_unit_test(network_and_expiry_count),
        cmocka_unit_test(renewed_or_gone),
        cmocka_unit_test(removed_during_the_check),
        cmocka_unit_test(one_question_is_hashed_once),
        cmocka_unit_test(a_changed_password_is_another_question),
        cmocka_unit_test(cancelled_among_waiters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
