/* Notices: owed with the outcome, handed out by the owner, paid exactly once. */
#include "tests/unit/support/queue_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTITION = 13, VICTIM_LIMIT_S = 40 };

/* A message of two next hops; the first bounces. */
static struct msg_id
bounce_one(struct world *w, struct worker *k)
{
    struct mail mail;
    mail_init(&mail, PARTITION, "Subject: original\r\n\r\nbody\r\n");
    mail_add(&mail, "a.example", "one@a.example");
    mail_add(&mail, "a.example", "two@a.example");
    mail_add(&mail, "b.example", "three@b.example");
    mail_commit(w, k, &mail);
    assert_int_equal(mail.op.result, QUEUE_COMMITTED);
    struct queue_job *job = worker_job(w, k);
    job_intend(w, k, job);
    assert_false(job_end(w, k, job, QUEUE_BOUNCED));
    mail_fini(&mail);
    return mail.m.id;
}

static void
ndr_init(struct mail *ndr)
{
    mail_init(ndr, PARTITION, "Subject: Undelivered\r\n\r\nsorry\r\n");
    mail_add(ndr, "sender.example", "sender@sender.example");
}

static void
a_notice_carries_the_whole_original(void **state)
{
    struct world *w = *state;
    struct msg_id id = bounce_one(w, &w->a);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    struct queue_notice *n = w->a.notices[0];
    const struct queue_message *m = queue_notice_message(n);
    const struct queue_notice_target *target;
    assert_true(id_eq(m->id, id));
    assert_int_equal(m->delivery_count, 2);
    assert_int_equal(queue_notice_targets(n, &target), 2);
    assert_int_equal(target[0].delivery, 0);
    assert_int_equal(target[1].target, 1);
    assert_true(slice_eq(m->deliveries[0].targets[1].reply, SLICE("bounced")));
    struct slice piece[2];
    content_pieces(queue_notice_content(n), piece);
    assert_true(slice_eq(piece[0], SLICE("Subject: original\r\n\r\nbody\r\n")));
}

static void
a_paid_notice_is_a_message_of_its_own(void **state)
{
    struct world *w = *state;
    uint64_t sent = metrics_total(METRIC_NDR_SENT);
    struct msg_id id = bounce_one(w, &w->a);
    struct mail ndr;
    WORLD_UNTIL(w, w->a.notice_count == 1);
    ndr_init(&ndr);
    assert_false(notice_pay(w, &w->a, w->a.notices[0], &ndr));
    assert_int_equal(metrics_total(METRIC_NDR_SENT) - sent, 1);
    struct queue_target t = target_of(w, &w->a, id, 0);
    assert_true(t.has_notice_id);
    assert_true(id_eq(t.notice_id, ndr.m.id));
    assert_false(target_of(w, &w->a, id, 1).has_notice_id);
    /* It is scheduled and delivered like any other. */
    bool seen = false;
    for (int i = 0; i < 2; i++) {
        struct queue_job *job = worker_job(w, &w->a);
        seen |= id_eq(queue_job_message(job)->id, ndr.m.id);
        assert_int_equal(job_intend(w, &w->a, job), QUEUE_INTENT_OK);
        assert_false(job_end(w, &w->a, job, QUEUE_DELIVERED));
    }
    assert_true(seen);
    assert_int_equal(world_depth(w, &w->a).live_messages, 0);
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 0);
    mail_fini(&ndr);
}

static void
the_original_stays_until_its_notice_is_paid(void **state)
{
    struct world *w = *state;
    struct msg_id id = commit_one(w, &w->a, PARTITION);
    struct queue_job *job = worker_job(w, &w->a);
    job_intend(w, &w->a, job);
    assert_false(job_end(w, &w->a, job, QUEUE_BOUNCED));
    struct key chunk = key_of_chunk(id, 0);
    assert_int_equal(redis_int(&w->redis, "EXISTS %b", chunk.text, chunk.n), 1);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    assert_int_equal(world_depth(w, &w->a).notices, 1);
    assert_false(notice_pay(w, &w->a, w->a.notices[0], NULL)); /* null reverse-path: dropped */
    assert_int_equal(redis_int(&w->redis, "EXISTS %b", chunk.text, chunk.n), 0);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.live_messages + d.notices, 0);
}

static void
a_large_notice_goes_in_chunks(void **state)
{
    struct world *w = *state;
    bounce_one(w, &w->a);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    struct mail ndr;
    struct slice noise = random_body(700000);
    ndr_init(&ndr);
    mail_body(&ndr, noise);
    assert_false(notice_pay(w, &w->a, w->a.notices[0], &ndr));
    assert_true(message_exists(w, ndr.m.id));
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:b:*"), 1 + 3);
    struct key chunk = key_of_chunk(ndr.m.id, 2);
    assert_int_equal(redis_int(&w->redis, "TTL %b", chunk.text, chunk.n), -1);
    mail_fini(&ndr);
    free((char *)(uintptr_t)noise.p);
}

/* A full Redis must be able to drain: a small notice is paid all the same. */
static void
a_full_redis_takes_a_notice(void **state)
{
    struct world *w = *state;
    bounce_one(w, &w->a);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    struct mail ndr;
    ndr_init(&ndr);
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET maxmemory 1"));
    assert_false(notice_pay(w, &w->a, w->a.notices[0], &ndr));
    assert_true(message_exists(w, ndr.m.id));
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET maxmemory 0"));
    mail_fini(&ndr);
}

static void
a_debt_paid_by_somebody_else_is_gone(void **state)
{
    struct world *w = *state;
    bounce_one(w, &w->a);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    struct key ndr_key = key_of_part(PARTITION, KEY_NDR);
    redisReply *keys = redis_ask(&w->redis, "HKEYS %b", ndr_key.text, ndr_key.n);
    for (size_t i = 0; i < keys->elements; i++)
        if (keys->element[i]->len > 0)
            redis_int(&w->redis, "HDEL %b %b", ndr_key.text, ndr_key.n, keys->element[i]->str,
                      keys->element[i]->len);
    freeReplyObject(keys);
    struct mail ndr;
    ndr_init(&ndr);
    assert_true(notice_pay(w, &w->a, w->a.notices[0], &ndr));
    assert_false(message_exists(w, ndr.m.id));
    mail_fini(&ndr);
}

static void
more_debts_than_fit_in_memory_all_come(void **state)
{
    struct world *w = *state;
    enum { N = 40 };
    unsigned paid = 0;
    for (unsigned i = 0; i < N; i++) {
        commit_one(w, &w->a, i % 4);
        struct queue_job *job = worker_job(w, &w->a);
        job_intend(w, &w->a, job);
        assert_false(job_end(w, &w->a, job, QUEUE_BOUNCED));
    }
    while (paid < N) {
        WORLD_UNTIL(w, w->a.notice_count > 0);
        assert_false(notice_pay(w, &w->a, w->a.notices[0], NULL));
        paid++;
    }
    world_run_ms(w, 300);
    assert_int_equal(w->a.notice_count, 0);
    struct queue_depth d = world_depth(w, &w->a);
    assert_int_equal(d.notices + d.live_messages, 0);
}

/* ---- CRS-14: killed while making one ----------------------------------------- */

static void
victim(struct world *w, const char *failpoint)
{
    struct mail ndr;
    setenv("FAILPOINT", failpoint, 1);
    alarm(VICTIM_LIMIT_S);
    w->loop = loop_new();
    worker_open(w, &w->b);
    WORLD_UNTIL(w, queue_partitions_held(w->b.q) == QUEUE_PARTITIONS);
    commit_one(w, &w->b, PARTITION);
    struct queue_job *job = worker_job(w, &w->b);
    job_intend(w, &w->b, job);
    job_end(w, &w->b, job, QUEUE_BOUNCED);
    WORLD_UNTIL(w, w->b.notice_count == 1);
    ndr_init(&ndr);
    notice_pay(w, &w->b, w->b.notices[0], &ndr);
    _exit(0);
}

static void
kill_at(struct world *w, const char *failpoint)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        victim(w, failpoint);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    worker_open(w, &w->a);
    queue_owner_died(w->a.q, w->b.cfg.owner);
    WORLD_UNTIL(w, queue_partitions_held(w->a.q) == QUEUE_PARTITIONS);
}

static void
killed_before_paying(void **state)
{
    struct world *w = *state;
    struct mail ndr;
    kill_at(w, "notice.before-commit:kill");
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:m:*"), 1);
    WORLD_UNTIL(w, w->a.notice_count == 1);
    ndr_init(&ndr);
    assert_false(notice_pay(w, &w->a, w->a.notices[0], &ndr));
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:m:*"), 2);
    mail_fini(&ndr);
}

static void
killed_after_paying(void **state)
{
    struct world *w = *state;
    kill_at(w, "notice.done:kill");
    assert_int_equal(redis_count_keys(&w->redis, "sp:*:m:*"), 2);
    queue_job_release(w->a.q, worker_job(w, &w->a), 0); /* the notice's own delivery */
    world_run_ms(w, 300);
    assert_int_equal(w->a.notice_count, 0);
    assert_int_equal(world_depth(w, &w->a).live_messages, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_notice_carries_the_whole_original),
        ONE(a_paid_notice_is_a_message_of_its_own),
        ONE(the_original_stays_until_its_notice_is_paid),
        ONE(a_large_notice_goes_in_chunks),
        ONE(a_full_redis_takes_a_notice),
        ONE(a_debt_paid_by_somebody_else_is_gone),
        ONE(more_debts_than_fit_in_memory_all_come),
        BARE(killed_before_paying),
        BARE(killed_after_paying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
