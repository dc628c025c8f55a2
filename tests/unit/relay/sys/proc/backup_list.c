/* The lists that a backup goes by: what is read is what was written, and nothing that points
 * elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/proc/backup_list.h"

#define SUM "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int
setup(void **state)
{
    *state = calloc(1, sizeof(struct backup_list));
    return *state != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    free(*state);
    return 0;
}

static void
test_redis_manifest_without_its_history(void **state)
{
    struct backup_list *l = *state;
    struct buf kept;
    struct err err = {0};
    buf_init(&kept, 4096);
    assert_int_equal(backup_list_add_log(l,
                                         SLICE("file a.2.base.rdb seq 2 type b\n"
                                               "file a.1.base.rdb seq 1 type h\n"
                                               "file a.3.incr.aof seq 3 type i\n"),
                                         &kept, &err),
                     0);
    assert_int_equal(l->count, 2);
    assert_string_equal(l->files[0].name, "a.2.base.rdb");
    assert_string_equal(l->files[1].name, "a.3.incr.aof");
    assert_true(slice_eq(buf_slice(&kept), SLICE("file a.2.base.rdb seq 2 type b\n"
                                                 "file a.3.incr.aof seq 3 type i\n")));
    buf_fini(&kept);
}

static void
test_other_manifests_are_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "\n",
        "file a.1.base.rdb seq 1 type h\n",
        "file a seq 1 type x\n",
        "file a seq 1 type bb\n",
        "file a seq one type b\n",
        "file a type b seq 1\n",
        "file ../a seq 1 type b\n",
        "file \"a b\" seq 1 type b\n",
        "file a seq 1 type b\nfile a seq 2 type i\n",
        "dir a seq 1 type b\n",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct backup_list *l = *state;
        struct buf kept;
        struct err err = {0};
        l->count = 0;
        buf_init(&kept, 4096);
        assert_int_equal(backup_list_add_log(l, slice_str(BAD[i]), &kept, &err), -1);
        assert_int_equal(err.code, ERR_BAD);
        buf_fini(&kept);
    }
}

static void
test_our_list_is_read_as_it_was_written(void **state)
{
    struct backup_list *l = *state, again = {.count = 0};
    struct buf text;
    struct err err = {0};
    l->count = 0;
    assert_int_equal(backup_list_add(l, SLICE("dataset"), &err), 0);
    assert_int_equal(backup_list_add(l, SLICE("appendonly.aof.1.incr.aof"), &err), 0);
    for (unsigned i = 0; i < l->count; i++) {
        l->files[i].bytes = i * 5000000000u;
        memcpy(l->files[i].sum, SUM, sizeof SUM);
    }
    buf_init(&text, 4096);
    backup_list_write(l, &text);
    assert_int_equal(backup_list_read(&again, buf_slice(&text), &err), 0);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.files[1].bytes, l->files[1].bytes);
    assert_string_equal(again.files[1].sum, SUM);
    assert_non_null(backup_list_find(&again, "dataset"));
    assert_null(backup_list_find(&again, "data"));
    buf_fini(&text);
}

static void
test_other_lists_are_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "stagepost-backup 1\n",
        "stagepost-backup 2\n" SUM " 1 a\n",
        "stagepost-backup 1\n" SUM " a\n",
        "stagepost-backup 1\n" SUM " 1 \n",
        "stagepost-backup 1\n" SUM " 1 a/b\n",
        "stagepost-backup 1\n" SUM " 1 ..\n",
        "stagepost-backup 1\n" SUM " 1 .a\n",
        "stagepost-backup 1\n" SUM " -1 a\n",
        "stagepost-backup 1\n" SUM "0 1 a\n",
        "stagepost-backup 1\n" SUM " 1 a\n" SUM " 1 a\n",
        "stagepost-backup 1\n" SUM " 1 " SUM "\n",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct err err = {0};
        assert_int_equal(backup_list_read(*state, slice_str(BAD[i]), &err), -1);
        assert_int_equal(err.code, ERR_BAD);
    }
}

static void
test_no_more_files_than_there_is_room(void **state)
{
    struct backup_list *l = *state;
    struct err err = {0};
    char name[32];
    l->count = 0;
    for (unsigned i = 0; i < BACKUP_FILES_MAX; i++) {
        snprintf(name, sizeof name, "a.%u", i);
        assert_int_equal(backup_list_add(l, slice_str(name), &err), 0);
    }
    assert_int_equal(backup_list_add(l, SLICE("b"), &err), -1);
    assert_int_equal(err.code, ERR_FULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis_manifest_without_its_history),
        cmocka_unit_test(test_other_manifests_are_refused),
        cmocka_unit_test(test_our_list_is_read_as_it_was_written),
        cmocka_unit_test(test_other_lists_are_refused),
        cmocka_unit_test(test_no_more_files_than_there_is_room),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
