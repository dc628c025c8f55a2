#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/deliver/pool.h"
#include "relay/sys/base/limits.h"

struct conn {
    struct pool_entry entry;
    bool expired;
};

static void
on_expire(struct pool_entry *e)
{
    struct conn *c = container_of(e, struct conn, entry);
    assert_false(c->expired);
    c->expired = true;
}

static void
test_take_is_last_in(void **state)
{
    struct loop *l = loop_new();
    struct pool p;
    struct list site, other;
    struct conn c[3] = {0};
    (void)state;
    pool_init(&p);
    list_init(&site);
    list_init(&other);
    for (int i = 0; i < 3; i++)
        pool_entry_init(&c[i].entry, l, on_expire);
    assert_null(pool_take(&site));
    pool_put(&p, &site, &c[0].entry);
    pool_put(&p, &other, &c[1].entry);
    pool_put(&p, &site, &c[2].entry);
    assert_ptr_equal(pool_take(&site), &c[2].entry);
    assert_ptr_equal(pool_take(&site), &c[0].entry);
    assert_null(pool_take(&site)); /* another site's is not for us */
    pool_remove(&c[1].entry);
    pool_remove(&c[1].entry);
    assert_false(pool_evict(&p));
    loop_free(l); /* and no timer is left */
}

static void
test_evict_is_longest_idle(void **state)
{
    struct loop *l = loop_new();
    struct pool p;
    struct list site;
    struct conn c[3] = {0};
    (void)state;
    pool_init(&p);
    list_init(&site);
    for (int i = 0; i < 3; i++) {
        pool_entry_init(&c[i].entry, l, on_expire);
        pool_put(&p, &site, &c[i].entry);
    }
    assert_true(pool_evict(&p));
    assert_true(c[0].expired && !c[1].expired && !c[2].expired);
    pool_expire_all(&p);
    assert_true(c[1].expired && c[2].expired);
    loop_free(l);
}

static void
test_idle_for_too_long(void **state)
{
    struct loop *l = loop_new();
    struct pool p;
    struct list site;
    struct conn c = {0};
    (void)state;
    pool_init(&p);
    list_init(&site);
    pool_entry_init(&c.entry, l, on_expire);
    pool_put(&p, &site, &c.entry);
    run_until_flag(l, &c.expired); /* POOL_IDLE_MS, scaled */
    assert_null(pool_take(&site));
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_is_last_in),
        cmocka_unit_test(test_evict_is_longest_idle),
        cmocka_unit_test(test_idle_for_too_long),
    };
    setenv("STAGEPOST_TIME_SCALE", "100", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
