/*
 * The operations of queue/operate.h and queue/suppression.h for tests of the API: they note what
 * they were asked and answer what the test says, on a later turn.
 */
#ifndef STAGEPOST_TESTS_FAKE_OPERATE_H
#define STAGEPOST_TESTS_FAKE_OPERATE_H

#include <stdatomic.h>

#include "queue/operate.h"
#include "queue/suppression.h"

struct fake_operate {
    struct loop *loop;
    /* What to answer. */
    enum err_code error;
    struct queue_message *(*message)(struct arena *arena); /* of a list of two */
    bool has_more, existed;
    unsigned affected, in_flight;
    bool hold; /* only when cancelled */
    /* What came: one line. */
    char asked[512];
    unsigned cancelled;
    atomic_uint raws; /* questions for bytes */
};

/* Used by one test program: this makes it take the place of the queue's. */
struct fake_operate *fake_operate(void);

#endif
