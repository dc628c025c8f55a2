#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "relay/event/event.h"
#include "relay/sys/base/metrics.h"

static struct queue_message message = {.tenant = {"t", 1}, .created_unix_ms = 1000};

static struct event_set
set_of(enum event_type type, const struct verdict *v, const struct slice *to, unsigned count)
{
    return (struct event_set){.type = type,
                              .message = &message,
                              .verdict = v,
                              .recipients = to,
                              .count = count,
                              .attempts = 2,
                              .at_unix_ms = 4000,
                              .next_attempt_unix_ms = type == EVENT_DEFERRED ? 9000 : 0};
}

static void
test_record(void **state)
{
    const struct slice to[] = {SLICE("a@b"), SLICE("\"q\\\"\"@b")};
    struct verdict v = {.code = 451,
                        .enhanced = {4, 7, 1},
                        .text = SLICE("say \"later\"\x01"),
                        .mx = SLICE("mx.b"),
                        .phase = SLICE("RCPT")};
    struct event_set set = set_of(EVENT_DEFERRED, &v, to, 2);
    struct buf b;
    (void)state;
    buf_init(&b, 4096);
    assert_true(event_add(&b, &set));
    struct slice line = buf_slice(&b);
    assert_int_equal(line.p[line.n - 1], '\n');
    json_t *o = json_loadb(line.p, line.n, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "type")), "delivery.deferred");
    assert_string_equal(json_string_value(json_object_get(o, "enhanced")), "4.7.1");
    assert_int_equal(json_integer_value(json_object_get(o, "code")), 451);
    assert_int_equal(json_integer_value(json_object_get(o, "attempts")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "age_ms")), 3000);
    assert_string_equal(json_string_value(json_object_get(o, "next_attempt_at")),
                        "1970-01-01T00:00:09.000Z");
    json_t *list = json_object_get(o, "recipients");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_array_get(list, 1)), "\"q\\\"\"@b");
    assert_string_equal(json_string_value(json_object_get(o, "message")),
                        "00000000-0000-0000-0000-000000000000");
    json_decref(o);
    buf_fini(&b);
}

static void
test_what_does_not_fit_is_left_out_whole(void **state)
{
    const struct slice to[] = {SLICE("a@b")};
    struct verdict v = {.text = SLICE("x")};
    struct event_set set = set_of(EVENT_BOUNCED, &v, to, 1);
    struct buf b;
    (void)state;
    buf_init(&b, 500);
    while (event_add(&b, &set))
        ;
    struct slice all = buf_slice(&b);
    assert_true(all.n > 0 && all.p[all.n - 1] == '\n');
    buf_fini(&b);
}

static void
test_report_counts(void **state)
{
    static const struct {
        enum event_type type;
        enum metric metric;
    } cases[] = {{EVENT_SUCCEEDED, METRIC_ATTEMPTS_DELIVERED},
                 {EVENT_DEFERRED, METRIC_ATTEMPTS_DEFERRED},
                 {EVENT_BOUNCED, METRIC_ATTEMPTS_BOUNCED},
                 {EVENT_EXPIRED, METRIC_EXPIRED},
                 {EVENT_UNCERTAIN, METRIC_UNCERTAIN}};
    const struct slice to[] = {SLICE("a@b"), SLICE("c@b")};
    struct verdict v = {.code = 250};
    struct buf b;
    (void)state;
    buf_init(&b, 65536);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event_set set = set_of(cases[i].type, &v, to, 2);
        assert_true(event_add(&b, &set));
        assert_int_equal(metrics_total(cases[i].metric), 0);
    }
    event_report(SLICE("1-1"), buf_slice(&b)); /* all of them in one event */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(metrics_total(cases[i].metric), 2);
    buf_fini(&b);
}

/* LOP-02: what nobody else will hear of is counted. */
static void
test_double_bounce(void **state)
{
    const struct slice to[] = {SLICE("a@b"), SLICE("c@b")};
    struct verdict v = {.code = 550};
    struct event_set set = set_of(EVENT_BOUNCED, &v, to, 2);
    struct buf b;
    (void)state;
    uint64_t before = metrics_total(METRIC_DOUBLE_BOUNCES);
    buf_init(&b, 4096);
    assert_true(event_add(&b, &set));
    event_report(SLICE("1-1"), buf_slice(&b));
    assert_int_equal(metrics_total(METRIC_DOUBLE_BOUNCES) - before, 0);
    buf_clear(&b);
    set.double_bounce = true;
    assert_true(event_add(&b, &set));
    event_report(SLICE("1-2"), buf_slice(&b));
    assert_int_equal(metrics_total(METRIC_DOUBLE_BOUNCES) - before, 2);
    buf_fini(&b);
}

/* What is not ours is told, never a crash. */
static void
test_report_of_anything(void **state)
{
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "{",
                                        "[]",
                                        "{}",
                                        "null",
                                        "{\"type\":1}",
                                        "{\"type\":\"delivery.succeeded\"}",
                                        "{\"type\":\"delivery.succeeded\",\"recipients\":[1,null]}",
                                        "{\"event\":\"queue.uncertain\",\"id\":\"x\"}",
                                        "\xff\xfe"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        event_report(SLICE("1-1"), slice_str(texts[i]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_what_does_not_fit_is_left_out_whole),
        cmocka_unit_test(test_report_counts),
        cmocka_unit_test(test_double_bounce),
        cmocka_unit_test(test_report_of_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
