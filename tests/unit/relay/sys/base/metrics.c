#include "relay/sys/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

static void
counts_are_summed_over_processes_and_survive_them(void **state)
{
    (void)state;
    struct err err;
    int fd = metrics_create(&err), status;
    assert_true(fd >= 0);
    for (unsigned slot = 1; slot <= 2; slot++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (metrics_attach(fd, slot, &err) != 0)
                _exit(1);
            metrics_add(METRIC_SIGNED, 10 * slot);
            metrics_set(GAUGE_CONNECTIONS_SMTP, slot);
            metrics_set(GAUGE_TLS_EXPIRY, slot == 2 ? 2000 : 3000);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    assert_int_equal(metrics_attach(fd, 0, &err), 0);
    metrics_add(METRIC_SIGNED, 5);
    assert_int_equal(metrics_total(METRIC_SIGNED), 35);
    assert_int_equal(metrics_gauge(GAUGE_CONNECTIONS_SMTP), 3);
    assert_int_equal(metrics_gauge(GAUGE_TLS_EXPIRY), 2000); /* the first to end */
    metrics_forget_gauges(1);
    assert_int_equal(metrics_gauge(GAUGE_CONNECTIONS_SMTP), 2);
    assert_int_equal(metrics_attach(fd, 2, &err),
                     0); /* a new process of the slot has nothing open */
    assert_int_equal(metrics_gauge(GAUGE_CONNECTIONS_SMTP), 0);
    assert_int_equal(metrics_total(METRIC_SIGNED), 35);
    close(fd);
}

static void
every_series_exists_from_the_start(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_observe(HISTOGRAM_TIME_TO_DELIVERY, 3000);
    metrics_observe(HISTOGRAM_TIME_TO_DELIVERY, UINT64_MAX / 2);
    metrics_observe(HISTOGRAM_STAGE_TLS, 400);
    metrics_observe(HISTOGRAM_STAGE_TLS, 401);
    metrics_render(&out);
    static const char *const WANTED[] = {
        "\nstagepost_accepted_messages_total{source=\"http\"} 0\n",
        "\nstagepost_uncertain_attempts_total 0\n",
        "# TYPE stagepost_time_to_delivery_seconds histogram\n",
        "stagepost_time_to_delivery_seconds_bucket{le=\"0.002000\"} 0\n",
        "stagepost_time_to_delivery_seconds_bucket{le=\"0.004000\"} 1\n",
        "stagepost_time_to_delivery_seconds_bucket{le=\"+Inf\"} 2\n",
        "stagepost_time_to_delivery_seconds_count 2\n",
        "stagepost_attempt_duration_seconds_bucket{stage=\"tls\",le=\"0.000400\"} 1\n",
        "stagepost_attempt_duration_seconds_bucket{stage=\"tls\",le=\"0.001600\"} 2\n",
        "stagepost_attempt_duration_seconds_sum{stage=\"tls\"} 0.000801\n",
        "stagepost_attempt_duration_seconds_count{stage=\"dns\"} 0\n",
        "\nstagepost_delivery_attempts_total{provider=\"google\",result=\"bounced\"} 0\n",
        "\nstagepost_rejected_submissions_total{source=\"http\",reason=\"too-large\"} 0\n",
        "\nstagepost_connections{side=\"mx\"} 0\n"};
    for (size_t i = 0; i < sizeof WANTED / sizeof WANTED[0]; i++)
        assert_true(slice_find_slice(buf_slice(&out), slice_str(WANTED[i])) < buf_slice(&out).n);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_series_exists_from_the_start),
        cmocka_unit_test(counts_are_summed_over_processes_and_survive_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
