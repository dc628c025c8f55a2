#include "relay/sys/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include <jansson.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/metrics.h"

/* What log_write() puts on standard error, parsed; standard error is a pipe
 * meanwhile. */
struct catcher {
    int kept, fds[2];
};

static void
catch_start(struct catcher *c)
{
    assert_int_equal(pipe(c->fds), 0);
    c->kept = dup(STDERR_FILENO);
    dup2(c->fds[1], STDERR_FILENO);
}

static size_t
catch_end(struct catcher *c, char *out, size_t cap)
{
    dup2(c->kept, STDERR_FILENO);
    close(c->kept);
    close(c->fds[1]);
    size_t n = 0;
    ssize_t got;
    while (n < cap && (got = read(c->fds[0], out + n, cap - n)) > 0)
        n += (size_t)got;
    close(c->fds[0]);
    return n;
}

static void
a_line_is_one_json_object(void **state)
{
    (void)state;
    char line[LOG_LINE_MAX + 1];
    struct catcher c;
    catch_start(&c);
    LOG(LOG_NOTICE, "test.event", LF_S("text", SLICE("a\"b\\c\n\x1b\xff\0z")), LF_U("n", -5),
        LF_B("yes", true));
    size_t n = catch_end(&c, line, LOG_LINE_MAX);
    assert_int_equal(line[n - 1], '\n');
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "event")), "test.event");
    assert_string_equal(json_string_value(json_object_get(o, "level")), "notice");
    assert_int_equal(json_integer_value(json_object_get(o, "n")), -5);
    assert_true(json_is_true(json_object_get(o, "yes")));
    const char *text = json_string_value(json_object_get(o, "text"));
    assert_memory_equal(text, "a\"b\\c\n\x1b\xef\xbf\xbd", 11);
    json_decref(o);
}

/* Whatever stands beside it: bytes that stand for themselves are taken in runs. */
static void
every_byte_is_escaped_wherever_it_stands(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        const char *want;
    } rows[] = {
        {SLICE_NONE, "\"\""},
        {SLICE(" ~}"), "\" ~}\""},
        {SLICE("\""), "\"\\\"\""},
        {SLICE("ab\\cd\""), "\"ab\\\\cd\\\"\""},
        {SLICE("\x1f\x7fx\0"), "\"\\u001f\\u007fx\\u0000\""},
        {SLICE("x\xc3\xa4y\xc2\x9b"), "\"x\xc3\xa4y\\u009b\""},
        {SLICE("\xffx\xff"), "\"\\ufffdx\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        buf_init(&b, 100);
        json_add_string(&b, rows[i].text);
        assert_true(slice_eq(buf_slice(&b), slice_str(rows[i].want)));
        buf_fini(&b);
    }
}

static void
a_line_has_at_most_its_maximum_and_stays_json(void **state)
{
    (void)state;
    char line[2 * LOG_LINE_MAX], big[3000];
    struct catcher c;
    memset(big, '\x01', sizeof big); /* six bytes each when escaped */
    catch_start(&c);
    LOG(LOG_WARN, "big", LF_S("one", slice_from(big, sizeof big)), LF_STR("two", "kept"));
    size_t n = catch_end(&c, line, sizeof line);
    assert_true(n <= LOG_LINE_MAX);
    json_t *o = json_loadb(line, n, 0, NULL);
    assert_non_null(o);
    assert_null(json_object_get(o, "one"));
    assert_string_equal(json_string_value(json_object_get(o, "two")), "kept");
    json_decref(o);
}

static void
nothing_reaches_a_terminal_but_text(void **state)
{
    (void)state;
    char line[LOG_LINE_MAX + 1];
    struct catcher c;
    catch_start(&c);
    LOG(LOG_INFO, "test.event",
        LF_S("text", SLICE("\r\n\x1b[2J\xc2\x9b"
                           "2J\x7f\0 \xc3\xa9 {\"event\":1}")));
    size_t n = catch_end(&c, line, LOG_LINE_MAX);
    for (size_t i = 0; i + 1 < n; i++)
        assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f && line[i] != '\xc2');
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    const char text[] = "\r\n\x1b[2J\xc2\x9b"
                        "2J\x7f\0 \xc3\xa9 {\"event\":1}";
    assert_memory_equal(json_string_value(json_object_get(o, "text")), text, sizeof text);
    json_decref(o);
}

static void
the_ids_stand_first(void **state)
{
    (void)state;
    char line[LOG_LINE_MAX + 1] = "";
    struct catcher c;
    catch_start(&c);
    log_init("worker", 7, LOG_INFO);
    LOG(LOG_INFO, "order", LF_STR("why", "x"), LF_U("session", 3), LF_STR("attempt", "2"),
        LF_STR("msg", "1"), LF_U("n", 4));
    catch_end(&c, line, LOG_LINE_MAX);
    static const char WANTED[] =
        "\"level\":\"info\",\"event\":\"order\",\"worker\":7,\"msg\":\"1\",\"attempt\":\"2\","
        "\"session\":3,\"why\":\"x\",\"n\":4}\n";
    assert_memory_equal(line, "{\"ts\":\"20", 9);
    assert_string_equal(strchr(line, ',') + 1, WANTED);
    log_init("test", 3, LOG_INFO);
}

static void
a_reader_that_stands_still_costs_lines_and_no_wait(void **state)
{
    (void)state;
    struct catcher c;
    static char all[1 << 20];
    uint64_t before = log_dropped_lines(), counted = metrics_total(METRIC_LOG_DROPPED);
    catch_start(&c);
    for (int i = 0; i < 2000; i++)
        LOG(LOG_WARN, "flood", LF_U("i", i), LF_STR("pad", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
    size_t n = catch_end(&c, all, sizeof all);
    assert_true(log_dropped_lines() > before);
    assert_int_equal(metrics_total(METRIC_LOG_DROPPED) - counted, log_dropped_lines() - before);
    assert_int_equal(all[n - 1], '\n'); /* no line is torn */
}

static void
levels_below_the_least_are_silent(void **state)
{
    (void)state;
    char line[100];
    struct catcher c;
    log_init("test", 3, LOG_WARN);
    catch_start(&c);
    LOG0(LOG_NOTICE, "quiet");
    assert_int_equal(catch_end(&c, line, sizeof line), 0);
    log_init("test", 3, LOG_INFO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(every_byte_is_escaped_wherever_it_stands),
        cmocka_unit_test(a_line_has_at_most_its_maximum_and_stays_json),
        cmocka_unit_test(nothing_reaches_a_terminal_but_text),
        cmocka_unit_test(the_ids_stand_first),
        cmocka_unit_test(a_reader_that_stands_still_costs_lines_and_no_wait),
        cmocka_unit_test(levels_below_the_least_are_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
