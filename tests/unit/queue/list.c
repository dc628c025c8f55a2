/* Listing: order over partitions, every filter, pages, bounds, what history
 * forgets, and hostile texts. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/index.h"
#include "queue/operate.h"
#include "relay/sys/base/limits.h"

struct listing {
    struct queue_list_op op;
    struct arena arena;
    bool done;
};

static void
on_listed(struct queue_list_op *op)
{
    container_of(op, struct listing, op)->done = true;
}

static void
listing_init(struct listing *l, unsigned limit)
{
    memset(l, 0, sizeof *l);
    arena_init(&l->arena, 6 * QUEUE_RECORD_MAX);
    l->op = (struct queue_list_op){.done = on_listed, .limit = limit, .arena = &l->arena};
}

static void
listing_run(struct world *w, struct listing *l)
{
    l->done = false;
    queue_list_start(&l->op, w->a.q);
    WORLD_UNTIL(w, l->done);
    assert_int_equal(l->op.err.code, ERR_NONE);
}

static void
listing_fini(struct listing *l)
{
    arena_fini(&l->arena);
}

static unsigned
count_of(struct world *w, const char *tenant, const char *recipient, const char *submitter)
{
    struct listing l;
    listing_init(&l, 100);
    l.op.tenant = slice_str(tenant);
    l.op.recipient = slice_str(recipient);
    l.op.submitter = slice_str(submitter);
    listing_run(w, &l);
    unsigned n = l.op.count;
    listing_fini(&l);
    return n;
}

/* An id of that age; its last octet is the partition. */
static struct msg_id
id_of(unsigned second, unsigned partition)
{
    struct msg_id id = id_new(partition);
    uint64_t ms = 1700000000000ull + second * 1000ull;
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    return id;
}

static struct msg_id
put(struct world *w, unsigned second, unsigned partition, const char *tenant, const char *address)
{
    struct mail mail;
    mail_init(&mail, partition, "body");
    mail.m.id = id_of(second, partition);
    mail.m.created_unix_ms = 1700000000000 + second * 1000;
    mail.m.tenant = slice_str(tenant);
    mail.m.submitter = SLICE("shop");
    mail_add(&mail, "example.org", address);
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    mail_fini(&mail);
    return mail.m.id;
}

static void
messages_come_newest_first_whatever_their_partition(void **state)
{
    struct world *w = *state;
    enum { N = 60 };
    struct msg_id id[N];
    struct listing l;
    unsigned seen = 0;
    for (unsigned i = 0; i < N; i++) /* two thirds in one partition: its pages are read on */
        id[i] = put(w, i, i % 3 == 0 ? i : 7, "tenant", "user@example.org");
    listing_init(&l, 7);
    do {
        arena_reset(&l.arena);
        listing_run(w, &l);
        for (unsigned i = 0; i < l.op.count; i++)
            assert_true(id_eq(l.op.messages[i]->id, id[N - 1 - seen++]));
        l.op.has_after = true;
        l.op.after = l.op.next;
    } while (l.op.has_more);
    assert_int_equal(seen, N);
    listing_fini(&l);
}

static void
each_filter_finds_its_own(void **state)
{
    struct world *w = *state;
    put(w, 1, 1, "one", "anna@example.org");
    put(w, 2, 2, "one", "bert@example.org");
    put(w, 3, 3, "two", "anna@example.org");
    assert_int_equal(count_of(w, "", "", ""), 3);
    assert_int_equal(count_of(w, "one", "", ""), 2);
    assert_int_equal(count_of(w, "", "anna@example.org", ""), 2);
    assert_int_equal(count_of(w, "two", "anna@example.org", ""), 1);
    assert_int_equal(count_of(w, "two", "bert@example.org", ""), 0);
    assert_int_equal(count_of(w, "", "", "shop"), 3);
    assert_int_equal(count_of(w, "one", "anna@example.org", "shop"), 1);
    assert_int_equal(count_of(w, "", "", "sho"), 0);
    assert_int_equal(count_of(w, "onea", "nna@example.org", ""), 0);
}

static void
states_and_times_are_filtered(void **state)
{
    struct world *w = *state;
    struct msg_id held = put(w, 10, 1, "t", "a@example.org");
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_HELD));
    put(w, 20, 1, "t", "b@example.org");
    put(w, 30, 2, "t", "c@example.org");
    struct listing l;
    listing_init(&l, 10);
    l.op.has_wanted = true;
    l.op.wanted = QUEUE_HELD;
    listing_run(w, &l);
    assert_int_equal(l.op.count, 1);
    assert_true(id_eq(l.op.messages[0]->id, held));
    assert_true(slice_eq(l.op.messages[0]->submitter, SLICE("shop")));
    l.op.has_wanted = false;
    l.op.since_unix_ms = 1700000020000;
    listing_run(w, &l);
    assert_int_equal(l.op.count, 2);
    l.op.until_unix_ms = 1700000030000;
    listing_run(w, &l);
    assert_int_equal(l.op.count, 1);
    assert_true(
        slice_eq(l.op.messages[0]->deliveries[0].targets[0].address, SLICE("b@example.org")));
    listing_fini(&l);
}

/* Texts of users reach Redis as digests and record bytes only (INJ-07, ADR-06). */
static void
hostile_texts_are_found_and_do_nothing_else(void **state)
{
    struct world *w = *state;
    static const char *const TEXTS[] = {
        "{1}{2}@example.org", "*",   "?", "[x]", "a\r\n*1\r\n$8\r\nFLUSHALL\r\n",
        "\xff\xfe",           "a b", "(", "-"};
    for (unsigned i = 0; i < ARRAY_LEN(TEXTS); i++)
        put(w, i, i, TEXTS[i], TEXTS[i]);
    assert_int_equal(count_of(w, "", "", ""), ARRAY_LEN(TEXTS));
    for (unsigned i = 0; i < ARRAY_LEN(TEXTS); i++) {
        assert_int_equal(count_of(w, TEXTS[i], "", ""), 1);
        assert_int_equal(count_of(w, "", TEXTS[i], ""), 1);
        assert_int_equal(count_of(w, TEXTS[i], TEXTS[i], ""), 1);
    }
}

/* A state that hardly any message has: bounded work for each answer, and the
 * pages come to the end. */
static void
a_rare_match_costs_no_more_than_the_bound(void **state)
{
    struct world *w = *state;
    enum { N = QUEUE_LIST_EXAMINED_MAX + 200 };
    w->a.cfg.jobs_in_memory_max = 1;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    static struct mail mails[N];
    for (unsigned i = 0; i < N; i++) {
        mail_init(&mails[i], i % QUEUE_PARTITIONS, "body");
        mail_add(&mails[i], "example.org", "user@example.org");
        mails[i].m.id = id_of(i, i % QUEUE_PARTITIONS);
        mail_start(&mails[i], &w->a);
    }
    for (unsigned i = 0; i < N; i++) {
        WORLD_UNTIL(w, mails[i].done);
        mail_fini(&mails[i]);
    }
    struct listing l;
    listing_init(&l, 5);
    l.op.has_wanted = true;
    l.op.wanted = QUEUE_BOUNCED;
    listing_run(w, &l);
    assert_int_equal(l.op.count, 0);
    assert_true(l.op.has_more);
    assert_true(id_eq(l.op.next, mails[N - QUEUE_LIST_EXAMINED_MAX].m.id));
    l.op.has_after = true;
    l.op.after = l.op.next;
    listing_run(w, &l);
    assert_int_equal(l.op.count, 0);
    assert_false(l.op.has_more);
    listing_fini(&l);
}

static void
an_answer_too_large_goes_on_with_the_next_page(void **state)
{
    struct world *w = *state;
    struct arena small;
    for (unsigned i = 0; i < 20; i++)
        put(w, i, i, "tenant", "user@example.org");
    struct listing l;
    listing_init(&l, 100);
    arena_init(&small, 4096);
    l.op.arena = &small;
    listing_run(w, &l);
    assert_in_range(l.op.count, 1, 19);
    assert_true(l.op.has_more);
    unsigned first = l.op.count;
    arena_fini(&small);
    l.op.arena = &l.arena;
    l.op.has_after = true;
    l.op.after = l.op.next;
    listing_run(w, &l);
    assert_int_equal(first + l.op.count, 20);
    listing_fini(&l);
}

static void
what_history_forgets_leaves_the_index(void **state)
{
    struct world *w = *state;
    struct key idx = key_of_part(30, KEY_IDX), stat = key_of_part(30, KEY_STAT);
    w->a.cfg.lease_ms = 40;
    w->a.cfg.history_age_ms = 3600000;
    w->a.cfg.commit_timeout_ms = 2000;
    w->a.cfg.unknown_timeout_ms = 1000;
    worker_open(w, &w->a);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
    struct msg_id id = put(w, 1, 30, "tenant", "user@example.org");
    assert_int_equal(redis_int(&w->redis, "ZCARD %b", idx.text, idx.n), 5);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    assert_in_range(redis_int(&w->redis, "HGET %b hbytes", stat.text, stat.n), 5 * 128, 4096);
    assert_int_equal(count_of(w, "tenant", "", ""), 1);
    clock_sched_set_offset_ms(2 * 3600000);
    WORLD_UNTIL(w, !message_exists(w, id));
    assert_int_equal(redis_int(&w->redis, "ZCARD %b", idx.text, idx.n), 0);
    assert_int_equal(redis_int(&w->redis, "HGET %b hbytes", stat.text, stat.n), 0);
    assert_int_equal(count_of(w, "tenant", "", ""), 0);
}

static void
a_message_with_many_recipients_is_indexed_by_each(void **state)
{
    struct world *w = *state;
    enum { N = 1000 };
    static struct queue_target t[N];
    static char text[N][32];
    struct mail mail;
    mail_init(&mail, 3, "body");
    mail_add(&mail, "example.org", "x");
    for (unsigned i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "user%u@example.org", i);
        t[i] = (struct queue_target){.address = slice_str(text[i])};
    }
    mail.d[0].targets = t;
    mail.d[0].target_count = N;
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    assert_int_equal(count_of(w, "", "user0@example.org", ""), 1);
    assert_int_equal(count_of(w, "tenant", "user999@example.org", ""), 1);
    assert_int_equal(count_of(w, "", "user1000@example.org", ""), 0);
    mail_fini(&mail);
}

static void
a_cancelled_list_ends_once(void **state)
{
    struct world *w = *state;
    struct listing l;
    listing_init(&l, 5);
    redis_pause(&w->redis);
    queue_list_start(&l.op, w->a.q);
    queue_list_cancel(&l.op);
    assert_false(l.done);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_CANCELLED);
    l.done = false;
    redis_resume(&w->redis);
    world_run_ms(w, 100);
    assert_false(l.done);
    listing_fini(&l);
}

static void
without_redis_a_list_is_away(void **state)
{
    struct world *w = *state;
    struct listing l;
    listing_init(&l, 5);
    worker_start(w, &w->a); /* no link yet */
    queue_list_start(&l.op, w->a.q);
    WORLD_UNTIL(w, l.done);
    assert_int_equal(l.op.err.code, ERR_AWAY);
    listing_fini(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(messages_come_newest_first_whatever_their_partition),
        ONE(each_filter_finds_its_own),
        ONE(states_and_times_are_filtered),
        ONE(hostile_texts_are_found_and_do_nothing_else),
        BARE(a_rare_match_costs_no_more_than_the_bound),
        ONE(an_answer_too_large_goes_on_with_the_next_page),
        BARE(what_history_forgets_leaves_the_index),
        ONE(a_message_with_many_recipients_is_indexed_by_each),
        ONE(a_cancelled_list_ends_once),
        BARE(without_redis_a_list_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
