/* Records of the registry, with a queue that the test plays. */
#include "relay/accept/credential_registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue/registry.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

static const char *own[] = {"example.org"};
static const struct config_credential IN_FILE = {
    .user = "file", .tenant = "t", .senders = own, .sender_count = 1};

static struct {
    struct loop *loop;
    struct queue_registry_read_op *op;
    struct deferred soon;
    int64_t generation;
    struct slice names[5];
    const char *values[5];
    unsigned count, asked;
    bool away;
} fake;

static void
on_soon(struct deferred *d)
{
    struct queue_registry_read_op *op = fake.op;
    (void)d;
    fake.op = NULL;
    fake.asked++;
    if (fake.away)
        err_set(&op->err, ERR_AWAY, "away");
    else
        op->generation = fake.generation;
    for (unsigned i = 0; !fake.away && op->known != fake.generation && i < fake.count; i++)
        op->each(op, fake.names[i], slice_str(fake.values[i]));
    op->state = NULL;
    op->done(op);
    loop_stop(fake.loop);
}

void
queue_registry_read_start(struct queue_registry_read_op *op, struct queue *q)
{
    (void)q;
    assert_null(fake.op);
    fake.op = op;
    err_clear(&op->err);
    deferred_init(&fake.soon, fake.loop, on_soon);
    deferred_schedule(&fake.soon);
}

void
queue_registry_read_cancel(struct queue_registry_read_op *op)
{
    (void)op; /* done comes soon anyway */
}

static void
refresh(struct credentials *cs)
{
    unsigned before = fake.asked;
    credentials_refresh(cs);
    loop_run(fake.loop);
    assert_int_equal(fake.asked, before + 1);
}

static void
records_come_change_and_go(void **state)
{
    struct config config = {.credentials = &IN_FILE, .credential_count = 1, .development = true};
    (void)state;
    log_init("test", 0, LOG_ERROR + 1);
    memset(&fake, 0, sizeof fake);
    fake.loop = loop_new();
    struct credentials *cs = credentials_new(fake.loop, &config);
    credentials_use_queue(cs, NULL);
    assert_false(credentials_are_known(cs));
    refresh(cs);
    assert_true(credentials_are_known(cs));
    assert_non_null(credential_at(cs, 0));
    assert_null(credential_at(cs, 1));

    const struct config_credential shop = {
        .user = "shop", .tenant = "s", .password_hash = "h", .senders = own, .sender_count = 1};
    char *text = credential_record_text(&shop), *again;
    fake.names[0] = SLICE("shop"), fake.values[0] = text;
    fake.names[1] = SLICE("broken"), fake.values[1] = "{\"user\":\"broken\",\"senders\":[1]}";
    fake.names[2] = SLICE("other name"), fake.values[2] = text;
    fake.names[3] = SLICE("none"), fake.values[3] = "";
    fake.count = 4;
    fake.generation = 7;
    refresh(cs);
    const struct config_credential *held = credential_by_user(cs, SLICE("shop"));
    assert_non_null(held);
    assert_ptr_equal(credential_at(cs, 1), held);
    assert_null(credential_at(cs, 2));
    assert_string_equal(held->senders[0], "example.org");
    assert_false(credential_is_of_file(cs, held));
    assert_true(credential_is_of_file(cs, &IN_FILE));
    assert_true(credential_record(cs, SLICE("shop"), &again));
    assert_string_equal(again, text);   /* what was read is what is compared */
    assert_null(strstr(text, "scram")); /* as records were before there was SCRAM */
    assert_string_equal(held->scram, "");
    free(again);
    assert_false(credential_record(cs, SLICE("file"), &again));

    /* What a session holds outlives the change; away changes nothing. */
    struct config_generation *memory = config_hold(credential_memory(cs, held));
    fake.away = true;
    refresh(cs);
    assert_ptr_equal(credential_by_user(cs, SLICE("shop")), held);
    assert_true(credentials_are_known(cs));
    fake.away = false;
    fake.count = 0;
    fake.generation = 8;
    refresh(cs);
    assert_null(credential_by_user(cs, SLICE("shop")));
    assert_string_equal(held->tenant, "s");
    config_let_go(&memory);

    free(text);
    credentials_free(cs);
    loop_run(fake.loop);
    loop_free(fake.loop);
}

/* A mark freezes the file's credential, and is none itself. */
static void
a_mark_freezes_one_of_the_file(void **state)
{
    struct config config = {.credentials = &IN_FILE, .credential_count = 1, .development = true};
    static const char *const NAMES[] = {"\0file", "\0gone", "\0shop", "\0\xff"};
    static const size_t LENGTHS[] = {5, 5, 5, 2};
    const struct config_credential shop = {
        .user = "shop", .tenant = "s", .password_hash = "h", .senders = own, .sender_count = 1};
    char *text = credential_record_text(&shop);
    (void)state;
    log_init("test", 0, LOG_ERROR + 1);
    memset(&fake, 0, sizeof fake);
    fake.loop = loop_new();
    struct credentials *cs = credentials_new(fake.loop, &config);
    credentials_use_queue(cs, NULL);
    refresh(cs);
    assert_false(credential_is_frozen(cs, SLICE("file")));

    for (unsigned i = 0; i < 4; i++)
        fake.names[i] = slice_from(NAMES[i], LENGTHS[i]), fake.values[i] = CREDENTIAL_MARK;
    fake.names[4] = SLICE("shop"), fake.values[4] = text;
    fake.count = 5;
    fake.generation = 1;
    refresh(cs);
    assert_true(credential_is_frozen(cs, SLICE("file")));
    assert_true(credential_is_marked(cs, "file"));
    assert_false(credential_is_frozen(cs, SLICE("gone")));
    assert_false(credential_is_frozen(cs, SLICE("shop"))); /* not the file's */
    assert_null(credential_by_user(cs, SLICE("gone")));
    assert_non_null(credential_at(cs, 1));
    assert_null(credential_at(cs, 2));

    fake.away = true; /* stays in force */
    refresh(cs);
    assert_true(credential_is_frozen(cs, SLICE("file")));
    fake.away = false;
    fake.count = 0;
    fake.generation = 2;
    refresh(cs);
    assert_false(credential_is_frozen(cs, SLICE("file")));

    free(text);
    credentials_free(cs);
    loop_run(fake.loop);
    loop_free(fake.loop);
}

static void
the_name_of_a_mark_is_no_users(void **state)
{
    struct buf name;
    (void)state;
    buf_init(&name, CREDENTIAL_MARK_NAME_MAX);
    credential_mark_name(SLICE("file"), &name);
    assert_true(slice_eq(buf_slice(&name), slice_from("\0file", 5)));
    buf_fini(&name);
}

struct asker {
    struct credentials_refresh_op op;
    struct credentials *cs;
    struct asker *next; /* starts when this one is done */
    unsigned at;        /* how many questions were answered before it was done */
};

static void
on_told(struct credentials_refresh_op *op)
{
    struct asker *a = container_of(op, struct asker, op);
    a->at = fake.asked;
    if (a->next != NULL)
        credentials_refresh_start(&a->next->op, a->cs);
}

/* Who asks while an answer is on its way gets that of the next question. */
static void
waiting_ends_with_a_later_question(void **state)
{
    struct config config = {.development = true};
    struct asker a[4] = {0};
    (void)state;
    log_init("test", 0, LOG_ERROR + 1);
    memset(&fake, 0, sizeof fake);
    fake.loop = loop_new();
    struct credentials *cs = credentials_new(fake.loop, &config);
    credentials_use_queue(cs, NULL);
    for (unsigned i = 0; i < 4; i++)
        a[i] = (struct asker){.cs = cs, .op.done = on_told, .next = i == 1 ? &a[2] : NULL};
    credentials_refresh_start(&a[0].op, cs);
    credentials_refresh_start(&a[1].op, cs);
    assert_int_equal(a[0].at, 0); /* nothing within the start */
    loop_run(fake.loop);
    assert_int_equal(a[0].at, 1);
    assert_int_equal(a[1].at, 1);
    assert_int_equal(a[2].at, 0);
    assert_true(a[0].op.is_fresh);
    fake.away = true;
    loop_run(fake.loop);
    assert_int_equal(a[2].at, 2);
    assert_false(a[2].op.is_fresh);
    credentials_refresh_start(&a[3].op, cs);
    credentials_free(cs);
    assert_false(a[3].op.is_fresh);
    assert_int_equal(a[3].at, 2);
    loop_run(fake.loop);
    loop_free(fake.loop);
}

struct login {
    struct credential_check_op op;
    enum credential_result result;
};

static void
on_checked(struct credential_check_op *op)
{
    container_of(op, struct login, op)->result = op->result;
    loop_stop(fake.loop);
}

/* Before the registry was read nobody is refused for good, and the file's, which may
 * be frozen, does not get in; and it is asked for again and again. */
static void
nobody_is_judged_before_they_are_known(void **state)
{
    struct config config = {.credentials = &IN_FILE, .credential_count = 1, .development = true};
    struct login l = {.op.done = on_checked, .result = CREDENTIAL_OK};
    (void)state;
    log_init("test", 0, LOG_ERROR + 1);
    memset(&fake, 0, sizeof fake);
    fake.loop = loop_new();
    fake.away = true;
    struct credentials *cs = credentials_new(fake.loop, &config);
    credentials_use_queue(cs, NULL);
    credential_check_start(&l.op, cs, SLICE("file"), SLICE("password"));
    while (l.result == CREDENTIAL_OK || fake.asked < 3)
        loop_run(fake.loop);
    assert_int_equal(l.result, CREDENTIAL_BUSY);
    assert_false(credentials_are_known(cs));
    fake.away = false;
    while (!credentials_are_known(cs))
        loop_run(fake.loop);
    credential_check_start(&l.op, cs, SLICE("file"), SLICE("password"));
    while (l.result == CREDENTIAL_BUSY)
        loop_run(fake.loop);
    assert_int_equal(l.result, CREDENTIAL_WRONG);
    credentials_free(cs);
    loop_run(fake.loop);
    loop_free(fake.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_come_change_and_go),
                                       cmocka_unit_test(a_mark_freezes_one_of_the_file),
                                       cmocka_unit_test(the_name_of_a_mark_is_no_users),
                                       cmocka_unit_test(waiting_ends_with_a_later_question),
                                       cmocka_unit_test(nobody_is_judged_before_they_are_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
