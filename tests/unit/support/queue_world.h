/*
 * For tests of queue/: a loop, one or two workers on one Redis, and a consumer
 * that notes what it is given. Time limits only fail a test.
 */
#ifndef STAGEPOST_TEST_QUEUE_WORLD_H
#define STAGEPOST_TEST_QUEUE_WORLD_H

#include "queue/queue.h"
#include "tests/unit/support/redis.h"

enum { WORLD_JOBS_MAX = 4096, WORLD_EVENTS_MAX = 4096, WORLD_LIMIT_MS = 120000 };

struct world_event {
    char id[64], text[256];
};

struct worker {
    struct queue *q;
    struct queue_config cfg;
    struct queue_consumer consumer;
    struct queue_job *jobs[WORLD_JOBS_MAX]; /* held by the test, in order of arrival */
    unsigned job_count, jobs_seen;
    struct queue_notice *notices[64];
    unsigned notice_count;
    struct world_event events[WORLD_EVENTS_MAX];
    unsigned event_count;
    bool (*on_job)(struct worker *w, struct queue_job *job); /* true: taken care of */
};

struct world {
    struct loop *loop;
    struct redis_server redis;
    struct worker a, b;
};

void world_open(struct world *w, const char *const *redis_args);
/* Gives all jobs back, closes the workers, checks that nothing is left open. */
void world_close(struct world *w);
/* Opens a worker (w->a, w->b) and waits until a link is up. */
void worker_open(struct world *w, struct worker *k);
/* lease_ms and others may be set in k->cfg between the two. */
void worker_configure(struct world *w, struct worker *k);
void worker_start(struct world *w, struct worker *k);
void worker_close(struct world *w, struct worker *k);

/* Turns the loop until the condition holds; fails the test after a while. */
#define WORLD_UNTIL(w, condition)                                                                  \
    for (uint64_t limit_ = world_limit(); !(condition); world_turn((w), limit_, #condition))
uint64_t world_limit(void);
void world_turn(struct world *w, uint64_t limit_ms, const char *what);
/* Turns the loop for so long. */
void world_run_ms(struct world *w, uint64_t ms);

/* A message with one delivery of one target for each next hop. */
struct mail {
    struct queue_message m;
    struct queue_delivery d[8];
    struct queue_target t[8][4];
    struct queue_commit_op op;
    char body[64];
    bool done;
};
void mail_init(struct mail *mail, unsigned partition, const char *text);
struct queue_target *mail_add(struct mail *mail, const char *next_hop, const char *address);
void mail_body(struct mail *mail, struct slice bytes); /* instead of the text */
void mail_start(struct mail *mail, struct worker *k);
void mail_commit(struct world *w, struct worker *k, struct mail *mail);
void mail_fini(struct mail *mail);

/* The operations, each waited for. Jobs leave w->jobs when they are consumed. */
struct queue_job *worker_job(struct world *w, struct worker *k); /* waits for one, takes it */
enum queue_intent job_intend(struct world *w, struct worker *k, struct queue_job *job);
struct ending {
    struct queue_finish_op op;
    bool done;
};
void job_end_start(struct worker *k, struct queue_job *job, struct ending *e,
                   enum queue_state state);
bool job_end(struct world *w, struct worker *k, struct queue_job *job, enum queue_state state);
/* Pays with this mail, or drops the debt (NULL); returns whether it was gone. The
 * notice leaves k->notices. */
bool notice_pay(struct world *w, struct worker *k, struct queue_notice *n, struct mail *with);
/* NULL when not found; the arena is the caller's. */
struct queue_message *world_lookup(struct world *w, struct worker *k, struct msg_id id,
                                   struct arena *a);
struct queue_depth world_depth(struct world *w, struct worker *k);

#endif
