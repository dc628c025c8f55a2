#include "relay/sys/base/sm.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"

void
sm_init(struct sm *sm, const struct sm_row *rows, unsigned count, unsigned first,
        void (*on_move)(struct sm *sm, unsigned from))
{
    BUG_ON(count > 64 || first >= count);
    *sm = (struct sm){.rows = rows, .count = count, .state = first, .on_move = on_move};
}

const struct sm_row *
sm_row(const struct sm *sm)
{
    return &sm->rows[sm->state];
}

void
sm_move(struct sm *sm, unsigned to)
{
    unsigned from = sm->state;
    BUG_ON(to >= sm->count);
    bool in_table = (sm->rows[from].next & SM_TO(to)) != 0;
    if (!in_table)
        LOG(LOG_ERROR, "sm.bad-move", LF_STR("from", sm->rows[from].name),
            LF_STR("to", sm->rows[to].name));
    BUG_ON(!in_table);
    sm->state = to;
    if (sm->on_move != NULL)
        sm->on_move(sm, from);
}
