/* The snapshot that children read: what was written comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/config/config.h"

static const char *proxies[] = {"10.0.0.0/8", "::1"};
static const struct config_listener LISTENERS[] = {{CONFIG_SMTP, "0.0.0.0", 587, NULL, 0},
                                                   {CONFIG_SMTPS, "::1", 465, proxies, 2},
                                                   {CONFIG_HTTP, "127.0.0.1", 8025, NULL, 0}};

static void
test_listeners_and_redis_come_back(void **state)
{
    struct config c = {
        .redis = "unix:/r", .redis_embedded = true, .listeners = LISTENERS, .listener_count = 3};
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    assert_true(back->redis_embedded);
    assert_string_equal(back->redis, "unix:/r");
    assert_int_equal(back->listener_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(back->listeners[i].kind, LISTENERS[i].kind);
        assert_string_equal(back->listeners[i].address, LISTENERS[i].address);
        assert_int_equal(back->listeners[i].port, LISTENERS[i].port);
        assert_int_equal(back->listeners[i].proxy_count, LISTENERS[i].proxy_count);
        for (unsigned k = 0; k < LISTENERS[i].proxy_count; k++)
            assert_string_equal(back->listeners[i].proxies[k], LISTENERS[i].proxies[k]);
    }
    config_free(back);
    close(fd);
}

static void
test_a_snapshot_without_a_member_is_refused(void **state)
{
    static const char TEXT[] = "{\"generation\":1}";
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(write(fd, TEXT, sizeof TEXT - 1), sizeof TEXT - 1);
    assert_null(config_read_snapshot(fd, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    close(fd);
}

/* A session keeps its credential when the snapshot has been let go. */
static void
test_what_is_held_stays(void **state)
{
    const char *senders[] = {"example.org"};
    const struct config_credential shop = {
        .user = "shop", .tenant = "t", .senders = senders, .sender_count = 1};
    const struct config c = {.credentials = &shop, .credential_count = 1};
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    struct config_generation *held = config_hold(back->memory);
    const struct config_credential *mine = config_credential_by_user(back, SLICE("shop"));
    config_free(back);
    assert_string_equal(mine->user, "shop");
    assert_true(config_credential_owns(mine, SLICE("example.org")));
    config_let_go(&held);
    assert_null(held);
    config_let_go(&held);
    assert_null(config_hold(NULL));
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_and_redis_come_back),
        cmocka_unit_test(test_a_snapshot_without_a_member_is_refused),
        cmocka_unit_test(test_what_is_held_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
