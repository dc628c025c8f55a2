/*
 * A queue for tests of its consumer: jobs are made by the test, and what the
 * consumer does with them is recorded. It defines the functions of
 * queue/queue.h that delivery calls; a test that uses it must not use the queue.
 */
#ifndef STAGEPOST_TESTS_FAKE_QUEUE_H
#define STAGEPOST_TESTS_FAKE_QUEUE_H

#include "queue/queue.h"

enum { FAKE_TARGETS = 250, FAKE_ENDS = 64 };

/* What became of one job. */
struct fake_end {
    bool released;
    uint64_t delay_ms;
    bool intended; /* an intent was durable before */
    unsigned count;
    struct queue_target targets[FAKE_TARGETS]; /* address and reply: copies in the arena */
    uint32_t attempts;
    int64_t retry_at_unix_ms;
    struct slice event; /* in the arena */
};

/* A notice that was answered. */
struct fake_report {
    bool dropped;
    struct queue_message message; /* without its deliveries; copies in the arena */
    struct queue_delivery delivery;
    unsigned targets;
    struct slice to; /* the first target */
    struct slice head, text;
};

struct queue {
    struct loop *loop;
    struct arena arena;
    /* What the test decides. */
    enum queue_intent intent;
    bool intent_waits; /* until fake_queue_answer() */
    bool may_send_dot;
    bool forgets_ends; /* more of them than are of interest */
    enum err_code load_error;
    /* What happened. */
    unsigned loads, intents, jobs_out, notices_out;
    struct fake_end ends[FAKE_ENDS];
    unsigned end_count;
    struct fake_report reports[FAKE_ENDS];
    unsigned report_count;
    struct list waiting; /* intents */
};

void fake_queue_init(struct queue *q, struct loop *l);
void fake_queue_fini(struct queue *q);
/* Lets the waiting intents end. */
void fake_queue_answer(struct queue *q);

struct fake_job_spec {
    const char *next_hop;
    unsigned targets; /* "r0@next_hop", "r1@..." */
    struct slice envelope;
    struct slice options;    /* of every target */
    const char *text;        /* NULL: a short message */
    bool not_in_memory;      /* must be loaded first */
    uint64_t size_bytes;     /* as the record says; 0: not told */
    int64_t expires_unix_ms; /* 0: in a day */
    uint32_t attempts;       /* made before */
    enum queue_class klass;
};
struct queue_job *fake_job_new(struct queue *q, const struct fake_job_spec *spec);

/* A notice about every target of the message; all is borrowed. */
struct queue_notice *fake_notice_new(struct queue *q, const struct queue_message *m,
                                     const struct content *content,
                                     const struct queue_notice_target *targets, unsigned count);

#endif
