/* Notices of one message that fall due close together are one. */
#include "tests/unit/support/queue_test.h"

#include "queue/gather.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { PARTITION = 13, MINUTE_MS = 60000 };

/* ---- how long ----------------------------------------------------------------- */

static void
debts_wait_as_long_as_the_message_has(void **state)
{
    static const struct {
        unsigned deliveries;
        int64_t age_ms, due_in_ms, until_age_ms; /* 0: does not wait */
    } cases[] = {
        {2, 0, 0, QUEUE_GATHER_MS},
        {2, QUEUE_GATHER_MS - 1, -1000, QUEUE_GATHER_MS}, /* due before: under way */
        {2, QUEUE_GATHER_MS, 0, 0},                       /* few: in the beginning only */
        {2, 0, QUEUE_GATHER_MS + 1, 0},                   /* nothing more will come soon */
        {QUEUE_GATHER_FEW + 1, QUEUE_GATHER_MS, 0, 2 * QUEUE_GATHER_MS},
        {QUEUE_GATHER_FEW + 1, 3 * QUEUE_GATHER_MS, 0, 4 * QUEUE_GATHER_MS},
        {QUEUE_GATHER_FEW + 1, 60 * MINUTE_MS, 20 * MINUTE_MS, 1024 * QUEUE_GATHER_MS},
        {QUEUE_GATHER_FEW + 1, 60 * MINUTE_MS, 30 * MINUTE_MS, 0},
        {2, -1000, 0, QUEUE_GATHER_MS}, /* the clock was put back */
    };
    enum { MANY = QUEUE_GATHER_FEW + 1 };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct queue_target bounced = {.state = QUEUE_BOUNCED}, open = {.state = QUEUE_DEFERRED};
        struct queue_delivery d[MANY];
        bool owing[MANY] = {true};
        const int64_t created = 1795435200000, now = created + cases[i].age_ms;
        unsigned others;
        for (unsigned k = 0; k < MANY; k++)
            d[k] = (struct queue_delivery){.targets = &bounced, .target_count = 1};
        d[1].targets = &open;
        d[1].due_unix_ms = now + cases[i].due_in_ms;
        struct queue_message m = {
            .created_unix_ms = created, .deliveries = d, .delivery_count = cases[i].deliveries};
        int64_t want = cases[i].until_age_ms > 0 ? created + cases[i].until_age_ms : 0;
        assert_true(gather_until(&m, owing, now, &others) == want);
        assert_int_equal(others, want > 0);
        owing[1] = true; /* a delay is told: it is known already */
        assert_true(gather_until(&m, owing, now, &others) == 0);
    }
}

/* ---- with a Redis ------------------------------------------------------------- */

static void
open_gathering(struct world *w, struct worker *k)
{
    k->cfg.no_gathering = false;
    worker_open(w, k);
    WORLD_UNTIL(w, queue_partitions_held(k->q) == QUEUE_PARTITIONS);
}

/* A message of three next hops, whose deliveries end so. */
static struct msg_id
end_three(struct world *w, const enum queue_state states[3])
{
    struct mail mail;
    mail_init(&mail, PARTITION, "Subject: original\r\n\r\nbody\r\n");
    mail_add(&mail, "a.example", "one@a.example");
    mail_add(&mail, "b.example", "two@b.example");
    mail_add(&mail, "c.example", "three@c.example");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    for (int i = 0; i < 3; i++) {
        struct queue_job *job = worker_job(w, &w->a);
        job_intend(w, &w->a, job);
        assert_false(job_end(w, &w->a, job, states[queue_job_delivery(job)->index]));
    }
    mail_fini(&mail);
    return mail.m.id;
}

static const enum queue_state all_bounce[] = {QUEUE_BOUNCED, QUEUE_BOUNCED, QUEUE_BOUNCED};
static const enum queue_state one_waits[] = {QUEUE_BOUNCED, QUEUE_DEFERRED, QUEUE_BOUNCED};

static void
pay_one(struct world *w, struct worker *k, unsigned targets)
{
    const struct queue_notice_target *t;
    struct mail ndr;
    WORLD_UNTIL(w, k->notice_count == 1);
    assert_int_equal(queue_notice_targets(k->notices[0], &t), targets);
    for (unsigned i = 1; i < targets; i++)
        assert_int_not_equal(t[i].delivery, t[0].delivery);
    mail_init(&ndr, PARTITION, "Subject: Undelivered\r\n\r\nsorry\r\n");
    mail_add(&ndr, "sender.example", "sender@sender.example");
    assert_false(notice_pay(w, k, k->notices[0], &ndr));
    mail_fini(&ndr);
}

static void
one_notice_for_all_deliveries(void **state)
{
    struct world *w = *state;
    open_gathering(w, &w->a);
    struct msg_id id = end_three(w, all_bounce);
    pay_one(w, &w->a, 3);
    struct queue_target first = target_of(w, &w->a, id, 0), last = target_of(w, &w->a, id, 2);
    assert_true(first.has_notice_id && last.has_notice_id);
    assert_true(id_eq(first.notice_id, last.notice_id));
    world_run_ms(w, 300);
    assert_int_equal(w->a.notice_count, 0);
    struct queue_depth depth = world_depth(w, &w->a);
    assert_int_equal(depth.notices, 0);
    assert_int_equal(depth.live_messages, 1); /* the notice; the original is finished */
    struct key chunk = key_of_chunk(id, 0);
    assert_int_equal(redis_int(&w->redis, "EXISTS %b", chunk.text, chunk.n), 0);
}

static void
what_waits_goes_out_in_time(void **state)
{
    struct world *w = *state;
    open_gathering(w, &w->a);
    end_three(w, one_waits);
    pay_one(w, &w->a, 2);
    assert_int_equal(world_depth(w, &w->a).notices, 0);
    assert_null(w->a.q->gathers);
}

static void
what_waits_is_taken_over(void **state)
{
    struct world *w = *state;
    open_gathering(w, &w->a);
    end_three(w, one_waits);
    worker_close(w, &w->a);
    open_gathering(w, &w->b);
    pay_one(w, &w->b, 2);
    assert_int_equal(world_depth(w, &w->b).notices, 0);
}

/* A late script of a former owner paid one of the debts: all or none. */
static void
debts_paid_in_part_come_again(void **state)
{
    struct world *w = *state;
    struct key ndr = key_of_part(PARTITION, KEY_NDR);
    struct mail mail;
    open_gathering(w, &w->a);
    end_three(w, all_bounce);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    redisReply *names = redis_ask(&w->redis, "HKEYS %b", ndr.text, ndr.n);
    for (size_t i = 0, done = 0; i < names->elements && !done; i++)
        if (names->element[i]->len > 0)
            done = redis_int(&w->redis, "HDEL %b %b", ndr.text, ndr.n, names->element[i]->str,
                             names->element[i]->len) == 1;
    freeReplyObject(names);
    mail_init(&mail, PARTITION, "Subject: Undelivered\r\n\r\nsorry\r\n");
    mail_add(&mail, "sender.example", "sender@sender.example");
    assert_true(notice_pay(w, &w->a, w->a.notices[0], &mail));
    assert_false(message_exists(w, mail.m.id));
    mail_fini(&mail);
    pay_one(w, &w->a, 2);
    assert_int_equal(world_depth(w, &w->a).notices, 0);
}

/* A debt that cannot be read is put away; the others of its message are paid. */
static void
a_broken_debt_stops_nobody(void **state)
{
    struct world *w = *state;
    struct key ndr = key_of_part(PARTITION, KEY_NDR);
    char name[64], id_text[ID_TEXT_BYTES + 1];
    struct mail mail;
    open_gathering(w, &w->a);
    mail_init(&mail, PARTITION, "Subject: original\r\n\r\nbody\r\n");
    mail_add(&mail, "a.example", "one@a.example");
    mail_commit(w, &w->a, &mail);
    id_format(mail.m.id, id_text);
    snprintf(name, sizeof name, "%s.0.99", id_text);
    redis_int(&w->redis, "HSET %b %s broken", ndr.text, ndr.n, name);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_BOUNCED));
    mail_fini(&mail);
    pay_one(w, &w->a, 1);
    struct key bad = key_of_part(PARTITION, KEY_BAD);
    WORLD_UNTIL(w, redis_int(&w->redis, "HLEN %b", bad.text, bad.n) == 1);
    assert_int_equal(world_depth(w, &w->a).notices, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debts_wait_as_long_as_the_message_has),
        BARE(one_notice_for_all_deliveries),
        BARE(what_waits_goes_out_in_time),
        BARE(what_waits_is_taken_over),
        BARE(debts_paid_in_part_come_again),
        BARE(a_broken_debt_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
