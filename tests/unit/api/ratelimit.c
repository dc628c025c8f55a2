#include "api/ratelimit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FIELD_IS(r, i, text) assert_true(slice_eq((r).fields[i].value, SLICE(text)))

static void
fields(void **state)
{
    const struct config_credential none = {0}, all = {.rate = {100, 60000},
                                                      .daily = 1000000000,
                                                      .new_recipients = 1000000000};
    struct submit_op op = {.credential = &none, .result = SUBMIT_ACCEPTED};
    struct ratelimit r;
    (void)state;
    ratelimit_make(&r, &op);
    assert_int_equal(r.count, 0);

    op.credential = &all;
    op.allowance = (struct submit_allowance){.known = true,
                                             .rate_left = 99,
                                             .daily_left = 999999999,
                                             .rate_full_s = 1,
                                             .daily_reset_s = 86400};
    ratelimit_make(&r, &op);
    assert_int_equal(r.count, 2);
    assert_true(slice_eq(r.fields[0].name, SLICE("RateLimit-Policy")));
    assert_true(slice_eq(r.fields[1].name, SLICE("RateLimit")));
    FIELD_IS(r, 0,
             "\"rate\";q=100;w=60, \"daily\";q=1000000000;w=86400, \"new\";q=1000000000;w=86400");
    FIELD_IS(r, 1, "\"rate\";r=99;t=1, \"daily\";r=999999999;t=86400");

    op.result = SUBMIT_RATE;
    op.allowance = (struct submit_allowance){.retry_after_s = 13, .over = "daily"};
    ratelimit_make(&r, &op);
    FIELD_IS(r, 1, "\"daily\";r=0;t=13");

    op.result = SUBMIT_AWAY; /* nothing was counted */
    op.allowance = (struct submit_allowance){.known = false};
    ratelimit_make(&r, &op);
    assert_int_equal(r.count, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
