/* Copies of a queue's files, without a Redis: with one, see tests/system/test_backup.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/proc/backup.h"
#include "relay/sys/proc/statedir.h"

#define UUID "0123456789abcdef0123456789abcdef"
#define LOG "state/redis/appendonlydir/"
#define MANIFEST                                                                                   \
    "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"

static struct backup_list list;

static void
put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void
assert_file(const char *path, const char *text)
{
    char got[4096] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
}

/* A state directory as a stopped gateway of development mode leaves it. */
static int
setup(void **state)
{
    char folder[] = "/tmp/sp-backup-XXXXXX";
    if (mkdtemp(folder) == NULL || chdir(folder) != 0)
        return -1;
    *state = strdup(folder);
    assert_int_equal(mkdir("state", 0711), 0);
    assert_int_equal(mkdir("state/redis", 0700), 0);
    assert_int_equal(mkdir("state/redis/appendonlydir", 0700), 0);
    put("state/development", "");
    put("state/dataset", UUID "\n");
    put(LOG "appendonly.aof.manifest", MANIFEST);
    put(LOG "appendonly.aof.1.base.rdb", "base");
    put(LOG "appendonly.aof.1.incr.aof", "and more");
    put(LOG "appendonly.aof.0.base.rdb", "of no use");
    return 0;
}

static int
teardown(void **state)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    free(*state);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static int
restore_code(const char *from, const char *to)
{
    struct err err = {0};
    return backup_restore(from, to, "nobody", &list, &err) == 0 ? ERR_NONE : (int)err.code;
}

static void
test_there_and_back(void **state)
{
    struct err err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(backup_take("state", "copy//", &list, &err), 0); /* as "copy" */
    assert_int_equal(list.count, 5);
    assert_int_not_equal(stat("copy/appendonly.aof.0.base.rdb", &st), 0);
    assert_int_equal(restore_code("copy", "other/state"), ERR_NONE);
    assert_file("other/state/redis/appendonlydir/appendonly.aof.manifest", MANIFEST);
    assert_file("other/state/redis/appendonlydir/appendonly.aof.1.base.rdb", "base");
    assert_file("other/state/redis/appendonlydir/appendonly.aof.1.incr.aof", "and more");
    assert_file("other/state/dataset", UUID "\n");
    assert_file("other/state/development", "");
    assert_int_equal(restore_code("copy", "other/state"), ERR_REFUSED); /* has one now */
}

static void
test_what_cannot_be_copied(void **state)
{
    struct err err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(mkdir("there", 0700), 0);
    assert_int_equal(backup_take("state", "there", &list, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_int_equal(backup_take("nowhere", "copy", &list, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    unlink(LOG "appendonly.aof.1.incr.aof");
    assert_int_equal(backup_take("state", "copy", &list, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    put(LOG "appendonly.aof.manifest", "file ../../dataset seq 1 type b\n");
    assert_int_equal(backup_take("state", "copy", &list, &err), -1);
    assert_int_equal(err.code, ERR_BAD);
    assert_int_not_equal(stat("copy", &st), 0);
    assert_int_not_equal(stat("copy.part", &st), 0);
}

static void
test_a_copy_that_is_not_whole(void **state)
{
    struct err err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(backup_take("state", "copy", &list, &err), 0);
    put("copy/appendonly.aof.1.incr.aof", "and mire");
    assert_int_equal(restore_code("copy", "other"), ERR_BAD);
    put("copy/appendonly.aof.1.incr.aof", "and mor");
    assert_int_equal(restore_code("copy", "other"), ERR_BAD);
    unlink("copy/appendonly.aof.1.incr.aof");
    assert_int_equal(restore_code("copy", "other"), ERR_NOT_FOUND);
    assert_int_not_equal(stat("other", &st), 0);
}

static void
test_not_into_a_state_that_is_used(void **state)
{
    struct err err = {0};
    struct statedir used;
    (void)state;
    assert_int_equal(backup_take("state", "copy", &list, &err), 0);
    assert_int_equal(statedir_open(&used, "used", &err), 0);
    assert_int_equal(restore_code("copy", "used"), ERR_REFUSED);
    int lock = statedir_try_lock("used/redis/redis.lock", &err);
    statedir_close(&used);
    assert_int_equal(restore_code("copy", "used"), ERR_REFUSED); /* its Redis */
    close(lock);
    put("used/production", "");
    assert_int_equal(restore_code("copy", "used"), ERR_CONFIG);
    unlink("used/production");
    assert_int_equal(restore_code("copy", "used"), ERR_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_copy_that_is_not_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_into_a_state_that_is_used, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
