/*
 * A child's side of a reload. The supervisor says "prepare N" with the sealed
 * snapshot of generation N; the child makes ready all that could fail and
 * answers "prepared N" or "refused N WHY". When all children are prepared comes
 * "commit N": the child switches, which cannot fail. "forget N": somebody has
 * refused; all stay with what they have.
 */
#ifndef STAGEPOST_CONFIG_FOLLOW_H
#define STAGEPOST_CONFIG_FOLLOW_H

#include "relay/sys/config/config.h"
#include "relay/sys/net/control.h"

#define FOLLOW_PREPARE "prepare "
#define FOLLOW_COMMIT "commit "
#define FOLLOW_FORGET "forget "
#define FOLLOW_PREPARED "prepared "
#define FOLLOW_REFUSED "refused "

struct config_follower {
    int control_fd;      /* for the answers */
    uint64_t generation; /* prepared; 0: none */
    /* The child's. prepare() makes what the snapshot wants and changes nothing
     * yet; forget() drops it. Each commit() or forget() follows one prepare()
     * that returned 0. */
    int (*prepare)(struct config_follower *f, const struct config *next, struct err *err);
    void (*commit)(struct config_follower *f);
    void (*forget)(struct config_follower *f);
};

/* Whether the line is one of a reload; then it is obeyed, with the descriptor
 * that came on the control. `next` is prepare()'s when it returns 0: it goes
 * with config_free(). */
bool config_follow(struct config_follower *f, struct control *control, struct slice line);

#endif
