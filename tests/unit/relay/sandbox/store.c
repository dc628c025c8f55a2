/* The capture store: what is on disk, what is listed, what a crash leaves. */
#include "relay/sandbox/store.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "tests/unit/support/temp_dir.h"

enum { PUTS = 200 };

struct world {
    struct temp_dir dir;
    struct loop *loop;
    struct store *store;
    struct store_put puts[PUTS];
    unsigned done, failed;
};

static struct world *world_of_puts; /* put -> world, for the one callback below */

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    temp_dir_make(&w->dir);
    w->loop = loop_new();
    world_of_puts = w;
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    loop_free(w->loop);
    temp_dir_remove(&w->dir);
    free(w);
    return 0;
}

static void
open_store(struct world *w, unsigned max)
{
    struct err err = {0};
    store_close(w->store);
    w->store = store_open(w->loop, w->dir.path, max, &err);
    if (w->store == NULL)
        fail_msg("%s", err.text);
}

static void
on_done(struct store_put *op)
{
    world_of_puts->done++;
    world_of_puts->failed += op->err.code != ERR_NONE;
}

static void
put(struct world *w, unsigned i, const char *message)
{
    struct slice to = SLICE("to@b.test");
    unsigned before = w->done;
    store_put_start(
        &w->puts[i], w->store,
        &(struct capture){
            .from = SLICE("from@a.test"), .to = &to, .to_count = 1, .message = slice_str(message)},
        on_done);
    assert_int_equal(w->done, before);
}

static void
put_many(struct world *w, unsigned n)
{
    char message[64];
    for (unsigned i = 0; i < n; i++) {
        snprintf(message, sizeof(message), "Subject: %u\r\n\r\n%u\r\n", i, i);
        put(w, i, message);
    }
    w->done = w->failed = 0;
    loop_run(w->loop);
    assert_int_equal(w->done, n);
}

static json_t *
list(struct world *w, unsigned limit)
{
    struct buf out;
    struct err err = {0};
    buf_init(&out, 1 << 20);
    assert_int_equal(store_list(w->dir.path, limit, &out, &err), 0);
    json_t *j = json_loadb(buf_slice(&out).p, out.len, 0, NULL);
    assert_non_null(j);
    buf_fini(&out);
    return j;
}

static const char *
subject_at(json_t *list_, size_t i)
{
    return json_string_value(json_object_get(json_array_get(list_, i), "subject"));
}

static void
captures_come_back_as_they_were(void **state)
{
    struct world *w = *state;
    struct buf raw;
    struct err err = {0};
    open_store(w, 10);
    put(w, 0, "Subject: x\r\n\r\nline\r\n.dot\r\n");
    loop_run(w->loop);
    assert_int_equal(w->failed, 0);
    buf_init(&raw, 1000);
    assert_int_equal(store_read_raw(w->dir.path, w->puts[0].id, &raw, &err), 0);
    assert_true(slice_eq(buf_slice(&raw), SLICE("Subject: x\r\n\r\nline\r\n.dot\r\n")));
    uint64_t size;
    char first;
    int fd = store_open_raw(w->dir.path, w->puts[0].id, &size, &err);
    assert_true(fd >= 0);
    assert_int_equal(size, raw.len);
    assert_int_equal(read(fd, &first, 1), 1);
    assert_int_equal(first, 'S');
    close(fd);
    buf_fini(&raw);
    buf_init(&raw, 5);
    assert_int_equal(store_read_raw(w->dir.path, w->puts[0].id, &raw, &err), -1);
    assert_int_equal(err.code, ERR_FULL);
    buf_fini(&raw);
    assert_int_equal(temp_dir_count(&w->dir, ".eml"), 1);
    assert_int_equal(temp_dir_count(&w->dir, ""), 1);
}

static void
empty_message_is_a_capture(void **state)
{
    struct world *w = *state;
    struct buf raw;
    struct err err = {0};
    open_store(w, 10);
    put(w, 0, "");
    loop_run(w->loop);
    buf_init(&raw, 10);
    assert_int_equal(store_read_raw(w->dir.path, w->puts[0].id, &raw, &err), 0);
    assert_int_equal(raw.len, 0);
    buf_fini(&raw);
}

static void
newest_are_listed_first(void **state)
{
    struct world *w = *state;
    open_store(w, PUTS);
    put_many(w, 150); /* more than two batches */
    json_t *j = list(w, 1000);
    assert_int_equal(json_array_size(j), 150);
    assert_string_equal(subject_at(j, 0), "149");
    assert_string_equal(subject_at(j, 149), "0");
    json_decref(j);
    j = list(w, 3);
    assert_int_equal(json_array_size(j), 3);
    assert_string_equal(subject_at(j, 2), "147");
    json_decref(j);
}

static void
oldest_go_beyond_the_maximum(void **state)
{
    struct world *w = *state;
    open_store(w, 5);
    put_many(w, 3);
    assert_int_equal(temp_dir_count(&w->dir, ".eml"), 3);
    put_many(w, PUTS);
    assert_int_equal(temp_dir_count(&w->dir, ".eml"), 5);
    json_t *j = list(w, 10);
    assert_string_equal(subject_at(j, 0), "199");
    assert_string_equal(subject_at(j, 4), "195");
    json_decref(j);
    open_store(w, 2); /* a smaller maximum, after a restart */
    loop_run(w->loop);
    assert_int_equal(temp_dir_count(&w->dir, ".eml"), 2);
    put_many(w, 1);
    j = list(w, 10);
    assert_string_equal(subject_at(j, 0), "0"); /* numbering goes on: newest */
    assert_string_equal(subject_at(j, 1), "199");
    json_decref(j);
}

static void
touch(struct world *w, const char *name)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", w->dir.path, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"half", 6), 6);
    close(fd);
}

static void
what_a_crash_left_is_removed(void **state)
{
    struct world *w = *state;
    touch(w, "0000000000000007-01901234-5678-7abc-8def-0123456789ab.tmp");
    touch(w, "somebody-elses.tmp");
    json_t *j = list(w, 10); /* a reader, before the sandbox is back */
    assert_int_equal(json_array_size(j), 0);
    json_decref(j);
    open_store(w, 10);
    assert_int_equal(temp_dir_count(&w->dir, ".tmp"), 1);
    put_many(w, 1);
    assert_in_range(w->puts[0].sequence, 8, 8); /* never the same name again */
    j = list(w, 10);
    assert_int_equal(json_array_size(j), 1);
    json_decref(j);
}

static void
failures_are_reported_and_leave_nothing(void **state)
{
    struct world *w = *state;
    open_store(w, 10);
    temp_dir_remove(&w->dir); /* the directory goes away under the store */
    put(w, 0, "Subject: lost\r\n\r\n");
    put(w, 1, "Subject: lost\r\n\r\n");
    loop_run(w->loop);
    assert_int_equal(w->done, 2);
    assert_int_equal(w->failed, 2);
    assert_int_equal(w->puts[0].err.code, ERR_IO);
    json_t *j = list(w, 10);
    assert_int_equal(json_array_size(j), 0);
    json_decref(j);
}

static void
readers_say_what_is_missing(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    struct buf out;
    uint64_t size;
    open_store(w, 10);
    assert_int_equal(store_open_raw(w->dir.path, id_new(0), &size, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    put_many(w, 5);
    buf_init(&out, 40);
    assert_int_equal(store_list(w->dir.path, 10, &out, &err), -1);
    assert_int_equal(err.code, ERR_FULL);
    buf_fini(&out);
    buf_init(&out, 40);
    assert_int_equal(store_list("/nowhere/at/all", 10, &out, &err), 0);
    assert_true(slice_eq(buf_slice(&out), SLICE("[]")));
    buf_fini(&out);
}

static void
directory_that_cannot_be(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    assert_null(store_open(w->loop, "/nowhere/at/all", 10, &err));
    assert_int_equal(err.code, ERR_IO);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(captures_come_back_as_they_were),
        STORE_TEST(empty_message_is_a_capture),
        STORE_TEST(newest_are_listed_first),
        STORE_TEST(oldest_go_beyond_the_maximum),
        STORE_TEST(what_a_crash_left_is_removed),
        STORE_TEST(failures_are_reported_and_leave_nothing),
        STORE_TEST(readers_say_what_is_missing),
        STORE_TEST(directory_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
