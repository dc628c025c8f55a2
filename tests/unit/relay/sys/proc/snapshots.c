#include "relay/sys/proc/snapshots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define EMPTY "/dev/null" /* stands in for certificates and keys */

static const struct config GOOD = {
    .hostname = "one", .tls_cert_path = EMPTY, .tls_key_path = EMPTY};

static void
test_each_reader_has_one_that_nobody_changes(void **state)
{
    struct snapshots s;
    struct err err = {0};
    (void)state;
    assert_int_equal(snapshots_open(&s, &GOOD, &err), 0);
    for (int i = 0; i < CONFIG_READER_COUNT; i++) {
        const struct config *c = config_read_snapshot(s.fds[i], &err);
        assert_non_null(c);
        assert_string_equal(c->hostname, "one");
        config_free(c);
        assert_int_equal(write(s.fds[i], "x", 1), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(s.fds[i], 0), -1);
        assert_int_equal(fcntl(s.fds[i], F_GETFD), FD_CLOEXEC);
    }
    snapshots_close(&s);
    assert_int_equal(s.fds[0], -1);
}

static void
test_all_or_none(void **state)
{
    struct snapshots s;
    struct err err = {0};
    struct config bad = GOOD;
    (void)state;
    bad.tls_key_path = "/nowhere/key.pem";
    assert_int_equal(snapshots_open(&s, &bad, &err), -1);
    assert_int_equal(err.code, ERR_CONFIG);
    for (int i = 0; i < CONFIG_READER_COUNT; i++)
        assert_int_equal(s.fds[i], -1);
}

static void
test_the_next_takes_the_place_of_the_last(void **state)
{
    struct snapshots now, next;
    struct err err = {0};
    (void)state;
    assert_int_equal(snapshots_open(&now, &GOOD, &err), 0);
    assert_int_equal(snapshots_open(&next, &GOOD, &err), 0);
    int old = now.fds[0], fresh = next.fds[0];
    snapshots_move(&now, &next);
    assert_int_equal(now.fds[0], fresh);
    assert_int_equal(next.fds[0], -1);
    assert_int_equal(fcntl(old, F_GETFD), -1); /* closed */
    snapshots_close(&now);
    snapshots_close(&next);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_reader_has_one_that_nobody_changes),
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_the_next_takes_the_place_of_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
