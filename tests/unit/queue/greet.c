/* What Redis must be before anything is accepted: SC-03, SC-07, RDS-02, RDS-09,
 * RDS-17, RDS-18, ACC-13. */
#include "tests/unit/support/queue_test.h"

#include <stdio.h>

#include "queue/core.h"
#include "relay/sys/net/listener.h"

/* The status settles at `away` and nothing can be committed. */
static void
expect_refused(struct world *w)
{
    struct mail mail;
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_AWAY_NOW);
    world_run_ms(w, 500); /* links come back meanwhile */
    assert_int_equal(queue_status(w->a.q), QUEUE_AWAY_NOW);
    mail_init(&mail, 5, "body");
    mail_add(&mail, "example.org", "user@example.org");
    mail_commit(w, &w->a, &mail);
    assert_int_equal(mail.op.result, QUEUE_AWAY);
    mail_fini(&mail);
}

/* The log names what is wrong. */
static void
expect_trouble(struct world *w, struct slice text)
{
    WORLD_UNTIL(w, w->a.q->trouble != NULL);
    if (slice_find_slice(slice_str(w->a.q->trouble), text) == strlen(w->a.q->trouble))
        fail_msg("%.*s is not in: %s", SLICE_FMT(text), w->a.q->trouble);
}

static void
weak_settings_are_refused_until_they_are_mended(void **state)
{
    struct world *w = *state;
    static const char *const WRONG[][2] = {
        {"CONFIG SET appendfsync everysec", "CONFIG SET appendfsync always"},
        {"CONFIG SET no-appendfsync-on-rewrite yes", "CONFIG SET no-appendfsync-on-rewrite no"},
        {"CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction"},
        {"CONFIG SET proto-max-bulk-len 33554432", "CONFIG SET proto-max-bulk-len 536870912"},
        {"CONFIG SET appendonly no", "CONFIG SET appendonly yes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        freeReplyObject(redis_ask(&w->redis, WRONG[i][0], NULL));
        worker_start(w, &w->a);
        expect_refused(w);
        const char *name = WRONG[i][0] + sizeof "CONFIG SET " - 1;
        expect_trouble(w, slice_from(name, strcspn(name, " ")));
        freeReplyObject(redis_ask(&w->redis, WRONG[i][1], NULL));
        WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
        worker_close(w, &w->a);
    }
}

static void
a_setting_weakened_at_run_time_is_noticed(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET appendonly no"));
    expect_refused(w);
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET appendonly yes"));
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    commit_one(w, &w->a, 5);
}

static void
a_database_of_somebody_else_is_refused(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "SET theirs 1"));
    worker_start(w, &w->a);
    expect_refused(w);
    assert_int_equal(redis_count_keys(&w->redis, "*"), 1); /* nothing was written */
}

static void
another_schema_is_refused(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "HSET sp:dataset uuid %s schema 2 partitions 256",
                              "0123456789abcdef0123456789abcdef"));
    worker_start(w, &w->a);
    expect_refused(w);
}

static void
a_flushed_dataset_is_refused(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "FLUSHALL"));
    kill_clients(w);
    expect_refused(w);
    assert_int_equal(redis_count_keys(&w->redis, "sp:dataset"), 0); /* not made anew */
}

/* The links live on: the regular check finds it. */
static void
a_dataset_flushed_behind_our_back_is_noticed(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "FLUSHALL"));
    expect_refused(w);
    assert_int_equal(redis_count_keys(&w->redis, "sp:dataset"), 0);
}

static void
a_redis_that_comes_late_is_found(void **state)
{
    struct world *w = *state;
    redis_pause(&w->redis);
    w->a.cfg.commit_timeout_ms = 200;
    worker_start(w, &w->a);
    world_run_ms(w, 500);
    assert_int_equal(queue_status(w->a.q), QUEUE_STARTING);
    redis_resume(&w->redis);
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
}

static void
a_replica_is_refused_until_it_is_a_primary(void **state)
{
    struct world *w = *state;
    freeReplyObject(redis_ask(&w->redis, "REPLICAOF 127.0.0.1 1"));
    worker_start(w, &w->a);
    expect_trouble(w, SLICE("Redis is a replica"));
    expect_refused(w);
    freeReplyObject(redis_ask(&w->redis, "REPLICAOF NO ONE"));
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
}

/* ---- who we are to Redis: RDS-09 --------------------------------------------- */

static void
log_in(struct world *w, const char *user, const char *password, const char *trouble)
{
    w->a.cfg.redis_user = user;
    w->a.cfg.redis_password = password;
    worker_start(w, &w->a);
    if (trouble != NULL)
        expect_trouble(w, slice_str(trouble));
    else
        WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP && link_is_up(w->a.q->links, 4));
    if (trouble == NULL)
        commit_one(w, &w->a, 5);
    worker_close(w, &w->a);
}

static void
passwords_are_sent_and_asked_for_by_name(void **state)
{
    struct world *w = *state;
    w->a.cfg.links = 4; /* and the subscriber, 4 */
    log_in(w, "", "needless", "Redis has no password");
    log_in(w, "", "", NULL);
    freeReplyObject(redis_ask(&w->redis, "CONFIG SET requirepass secret"));
    log_in(w, "", "", "Redis wants a password");
    log_in(w, "", "wrong", "Redis refuses queue.redis_user");
    log_in(w, "", "secret", NULL);
    freeReplyObject(
        redis_ask(&w->redis, "ACL SETUSER mail on >word ~sp:* &sp:hint +@all -@dangerous"));
    log_in(w, "mail", "secret", "Redis refuses queue.redis_user");
    log_in(w, "nobody", "word", "Redis refuses queue.redis_user");
    log_in(w, "mail", "word", NULL);
    freeReplyObject(redis_ask(&w->redis, "ACL SETUSER mail -@scripting"));
    log_in(w, "mail", "word", "the ACL of queue.redis_user");
}

static void
rights_taken_at_run_time_are_noticed(void **state)
{
    struct world *w = *state;
    freeReplyObject(
        redis_ask(&w->redis, "ACL SETUSER mail on >word ~sp:* &sp:hint +@all -@dangerous"));
    w->a.cfg.redis_user = "mail";
    w->a.cfg.redis_password = "word";
    worker_start(w, &w->a);
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
    freeReplyObject(redis_ask(&w->redis, "ACL SETUSER mail resetkeys"));
    expect_trouble(w, SLICE("the ACL of queue.redis_user"));
    expect_refused(w);
    freeReplyObject(redis_ask(&w->redis, "ACL SETUSER mail ~sp:*"));
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
}

/* ---- strangers at Redis' address --------------------------------------------- */

struct stranger {
    struct stream *s;
    struct stream_user user;
    struct slice says;
    unsigned visits;
    struct stream *gone[64];
};

static void
on_stranger_input(struct stream_user *u)
{
    struct stranger *x = container_of(u, struct stranger, user);
    stream_consume(x->s, stream_input(x->s).n);
}

static void
on_stranger_end(struct stream_user *u, const struct err *why)
{
    struct stranger *x = container_of(u, struct stranger, user);
    (void)why;
    stream_abort(x->s);
    x->s = NULL;
}

static void
on_visit(void *owner, struct stream *s)
{
    struct stranger *x = owner;
    x->visits++;
    if (x->s != NULL) { /* one at a time is enough */
        stream_abort(s);
        return;
    }
    x->s = s;
    x->user = (struct stream_user){.on_input = on_stranger_input, .on_end = on_stranger_end};
    stream_set_user(s, &x->user);
    stream_send(s, x->says);
}

static void
meet(struct world *w, struct slice says)
{
    struct net_address at;
    struct err err;
    struct stranger x = {.says = says};
    assert_true(net_address_parse(SLICE("127.0.0.1:0"), &at));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &w->a.cfg.redis, &err), 0);
    struct listener *l = listener_open(w->loop, fd, 65536, on_visit, &x, &err);
    assert_non_null(l);
    w->a.cfg.commit_timeout_ms = 200;
    worker_start(w, &w->a);
    WORLD_UNTIL(w, x.visits >= 8) /* it comes back, and is not fooled */
    ;
    assert_true(queue_status(w->a.q) == QUEUE_STARTING || queue_status(w->a.q) == QUEUE_AWAY_NOW);
    worker_close(w, &w->a);
    if (x.s != NULL)
        stream_abort(x.s);
    listener_close(l);
    world_run_ms(w, 20);
}

static void
strangers_are_not_believed(void **state)
{
    struct world *w = *state;
    static const char *const SAYS[] = {
        "",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*2147483647\r\n",
        "$9000000000\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n",
        "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-NOAUTH Authentication required.\r\n",
        "-ERR max number of clients reached\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(SAYS); i++)
        meet(w, slice_str(SAYS[i]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(weak_settings_are_refused_until_they_are_mended),
        ONE(a_setting_weakened_at_run_time_is_noticed),
        BARE(a_database_of_somebody_else_is_refused),
        BARE(another_schema_is_refused),
        ONE(a_flushed_dataset_is_refused),
        ONE(a_dataset_flushed_behind_our_back_is_noticed),
        BARE(a_redis_that_comes_late_is_found),
        BARE(strangers_are_not_believed),
        BARE(a_replica_is_refused_until_it_is_a_primary),
        BARE(passwords_are_sent_and_asked_for_by_name),
        BARE(rights_taken_at_run_time_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
