/* Two workers on one Redis: balance, takeover, and facts that come after it. */
#include "queue/record.h"
#include "tests/unit/support/queue_test.h"

enum { L_MS = 800 }; /* takeovers are waited for */

static int
setup_first(void **state)
{
    setup_redis(state);
    world.a.cfg.lease_ms = L_MS;
    world.b.cfg.lease_ms = L_MS;
    worker_open(&world, &world.a);
    WORLD_UNTIL(&world, queue_partitions_held(world.a.q) == QUEUE_PARTITIONS);
    return 0;
}

static int
setup_two(void **state)
{
    setup_first(state);
    worker_open(&world, &world.b);
    WORLD_UNTIL(&world, queue_partitions_held(world.a.q) == QUEUE_PARTITIONS / 2 &&
                            queue_partitions_held(world.b.q) == QUEUE_PARTITIONS / 2);
    return 0;
}

#define FIRST(f) cmocka_unit_test_setup_teardown(f, setup_first, teardown)
#define TWO(f) cmocka_unit_test_setup_teardown(f, setup_two, teardown)

/* A worker whose process stands still: its links stay, nothing is sent. Here its
 * lease in Redis is changed to one that nobody renews. */
static void
make_owner(struct world *w, unsigned partition, const char *owner)
{
    struct key k = key_of_part(partition, KEY_LEASE);
    freeReplyObject(redis_ask(&w->redis, "HSET %b o %s", k.text, k.n, owner));
    freeReplyObject(redis_ask(&w->redis, "HINCRBY %b e 1", k.text, k.n));
}

static bool
has_lease(struct world *w, const struct worker *k, unsigned partition)
{
    struct key lease = key_of_part(partition, KEY_LEASE);
    char hex[2 * QUEUE_OWNER_BYTES + 1];
    for (size_t i = 0; i < QUEUE_OWNER_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", k->cfg.owner[i]);
    redisReply *r = redis_ask(&w->redis, "HGET %b o", lease.text, lease.n);
    bool has = strcmp(r->str, hex) == 0;
    freeReplyObject(r);
    return has;
}

static void
workers_share_the_partitions(void **state)
{
    struct world *w = *state;
    unsigned owned[2] = {0, 0};
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++)
        owned[has_lease(w, &w->a, p)]++;
    assert_int_equal(owned[0], QUEUE_PARTITIONS / 2);
    assert_int_equal(owned[1], QUEUE_PARTITIONS / 2);
}

static void
a_worker_that_leaves_hands_over_at_once(void **state)
{
    struct world *w = *state;
    worker_close(w, &w->b);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

/* What it drains is the others', and stays theirs: its beat no longer counts. */
static void
a_worker_that_drains_takes_no_share(void **state)
{
    struct world *w = *state;
    queue_drain(w->b.q);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    for (int i = 0; i < 20; i++) {
        world_run_ms(w, w->a.cfg.lease_ms / 10);
        assert_int_equal(queue_partitions_held(w->a.q), QUEUE_PARTITIONS);
    }
}

/* An attempt of an owner that nobody knows to be dead: waited for as long as L. */
static void
leave_attempt(struct world *w, unsigned partition)
{
    struct record_attempt a = {.owner = "somebody", .epoch = 1, .revision = 1};
    char member[KEY_MEMBER_MAX + 1];
    struct key inflight = key_of_part(partition, KEY_INFLIGHT);
    struct buf record;
    buf_init(&record, RECORD_ATTEMPT_MAX);
    assert_true(record_add_attempt(&record, &a));
    size_t n = key_member(id_new(partition), 0, member);
    freeReplyObject(redis_ask(&w->redis, "HSET %b %b %b", inflight.text, inflight.n, member, n,
                              buf_slice(&record).p, buf_slice(&record).n));
    buf_fini(&record);
}

/* One worker takes over more than its share. What it gives away while it waits
 * for an attempt, the next owner would wait for as long again. */
static void
a_partition_that_waits_for_an_attempt_stays(void **state)
{
    static const uint8_t GONE[16] = {0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab,
                                     0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab};
    struct world *w = *state;
    queue_owner_died(w->a.q, GONE);
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++) {
        leave_attempt(w, p);
        make_owner(w, p, "abababababababababababababababab");
    }
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) == 0);
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) > 0);
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++) {
        struct key inflight = key_of_part(p, KEY_INFLIGHT);
        if (has_lease(w, &w->b, p)) /* only the permanent member */
            assert_int_equal(redis_int(&w->redis, "HLEN %b", inflight.text, inflight.n), 1);
    }
}

/* Whoever commits, the owner delivers. */
static void
a_commit_into_anothers_partition_reaches_its_owner(void **state)
{
    struct world *w = *state;
    unsigned start_a = w->a.jobs_seen, start_b = w->b.jobs_seen;
    for (unsigned p = 0; p < QUEUE_PARTITIONS; p++)
        commit_one(w, &w->a, p);
    WORLD_UNTIL(w, w->a.jobs_seen - start_a + w->b.jobs_seen - start_b == QUEUE_PARTITIONS);
    assert_in_range(w->b.jobs_seen - start_b, 1, QUEUE_PARTITIONS - 1);
    world_run_ms(w, 1000);
    assert_int_equal(w->a.jobs_seen - start_a + w->b.jobs_seen - start_b, QUEUE_PARTITIONS);
}

/* RDS-19: the channel of hints may be deaf. */
static void
without_hints_renewals_find_the_commit(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "ACL SETUSER default resetchannels"));
    for (unsigned p = 0; p < 16; p++)
        commit_one(w, &w->a, p);
    WORLD_UNTIL(w, w->a.jobs_seen + w->b.jobs_seen == 16);
}

static void
a_silent_owner_is_replaced_after_l(void **state)
{
    struct world *w = *state;
    uint64_t start = clock_mono_ms(), taken = metrics_total(METRIC_LEASES_TAKEN);
    make_owner(w, 17, "0123456789abcdef0123456789abcdef");
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS - 1);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    assert_true(clock_mono_ms() - start >= w->a.cfg.lease_ms);
    assert_int_equal(metrics_total(METRIC_LEASES_TAKEN) - taken, 1);
}

/* With a lease so long that a slow machine does not wait for it either. */
static void
a_dead_owner_is_replaced_at_once(void **state)
{
    struct world *w = *state;
    static const uint8_t GONE[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    w->a.cfg.lease_ms = 10 * L_MS;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    make_owner(w, 17, "0102030405060708090a0b0c0d0e0f10");
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS - 1);
    queue_owner_died(w->a.q, GONE);
    uint64_t start = clock_mono_ms();
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    assert_true(clock_mono_ms() - start < w->a.cfg.lease_ms);
}

/* A stall of Redis is not the owner's silence. */
static void
a_stalled_redis_evicts_nobody(void **state)
{
    struct world *w = *state;
    uint64_t taken = metrics_total(METRIC_LEASES_TAKEN);
    redis_pause(&w->redis);
    world_run_ms(w, 3 * w->a.cfg.lease_ms);
    redis_resume(&w->redis);
    world_run_ms(w, 2 * w->a.cfg.lease_ms);
    assert_int_equal(metrics_total(METRIC_LEASES_TAKEN), taken);
    assert_int_equal(queue_partitions_held(w->a.q), QUEUE_PARTITIONS / 2);
    assert_int_equal(queue_partitions_held(w->b.q), QUEUE_PARTITIONS / 2);
}

static void
without_renewal_no_dot_is_sent(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, 5);
    struct queue_job *job = worker_job(w, &w->a);
    assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
    assert_true(queue_job_may_send_dot(w->a.q, job));
    redis_pause(&w->redis);
    world_run_ms(w, w->a.cfg.lease_ms / 2 + 1);
    assert_false(queue_job_may_send_dot(w->a.q, job));
    redis_resume(&w->redis);
    /* Nobody replaced us: the lease goes on, and with it the attempt. */
    WORLD_UNTIL(w, queue_job_may_send_dot(w->a.q, job));
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_int_equal(target_of(w, &w->a, id, 0).attempts, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TWO(workers_share_the_partitions),
        TWO(a_worker_that_leaves_hands_over_at_once),
        TWO(a_worker_that_drains_takes_no_share),
        TWO(a_partition_that_waits_for_an_attempt_stays),
        TWO(a_commit_into_anothers_partition_reaches_its_owner),
        FIRST(a_silent_owner_is_replaced_after_l),
        BARE(a_dead_owner_is_replaced_at_once),
        TWO(a_stalled_redis_evicts_nobody),
        ONE(without_renewal_no_dot_is_sent),
        TWO(without_hints_renewals_find_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
