/*
 * Checked state machines: a table with one row per state, and one function
 * that changes the state. The row is the documentation of the state.
 */
#ifndef STAGEPOST_BASE_SM_H
#define STAGEPOST_BASE_SM_H

#include <stdbool.h>
#include <stdint.h>

#define SM_TO(state) (1ull << (state))

struct sm_row {
    const char *name;
    const char *doing;     /* completes "lost connection while ..." */
    uint64_t next;         /* SM_TO(a) | SM_TO(b): the states that may follow */
    uint64_t timeout_ms;   /* 0: none; the RFC section stands beside the row */
    bool may_be_delivered; /* the peer may already have the message */
};

struct sm {
    const struct sm_row *rows;
    unsigned count, state;
    /* Called after each move, with the machine in its new state; NULL: none. */
    void (*on_move)(struct sm *sm, unsigned from);
};

void sm_init(struct sm *sm, const struct sm_row *rows, unsigned count, unsigned first,
             void (*on_move)(struct sm *sm, unsigned from));
/* Aborts when `to` may not follow the present state. */
void sm_move(struct sm *sm, unsigned to);
const struct sm_row *sm_row(const struct sm *sm);

#endif
