#include "relay/sys/config/follow.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/log.h"

static void
drop(struct config_follower *f)
{
    if (f->generation != 0)
        f->forget(f);
    f->generation = 0;
}

static void
answer(const struct config_follower *f, uint64_t generation, const struct err *err)
{
    char line[CONTROL_LINE_MAX];
    bool ok = err->code == ERR_NONE;
    int n =
        snprintf(line, sizeof line - 1, "%s%" PRIu64 "%s%s", ok ? FOLLOW_PREPARED : FOLLOW_REFUSED,
                 generation, ok ? "" : " ", ok ? "" : err->text);
    size_t used = n < (int)sizeof line - 1 ? (size_t)n : sizeof line - 2;
    for (size_t i = 0; i < used; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[used++] = '\n';
    if (!control_send(f->control_fd, slice_from(line, used), -1))
        LOG0(LOG_WARN, "reload.control-lost");
}

static void
prepare(struct config_follower *f, uint64_t generation, int fd)
{
    struct err err = {0};
    drop(f);
    FAILPOINT("reload.prepare");
    const struct config *next = fd >= 0 ? config_read_snapshot(fd, &err) : NULL;
    if (next == NULL) {
        if (fd < 0)
            err_set(&err, ERR_IO, "no snapshot came with it");
    } else if (f->prepare(f, next, &err) == 0) {
        f->generation = generation;
        err = (struct err){0};
    } else {
        config_free(next);
    }
    if (fd >= 0)
        close(fd);
    answer(f, generation, &err);
}

static bool
take_number(struct slice line, const char *word, uint64_t *generation)
{
    size_t n = strlen(word);
    return slice_starts(line, slice_str(word)) && slice_to_u64(slice_skip(line, n), generation);
}

bool
config_follow(struct config_follower *f, struct control *control, struct slice line)
{
    uint64_t generation;
    bool known = true;
    if (take_number(line, FOLLOW_PREPARE, &generation)) {
        prepare(f, generation, control_take_fd(control));
    } else if (take_number(line, FOLLOW_COMMIT, &generation)) {
        FAILPOINT("reload.commit");
        if (f->generation == generation)
            f->commit(f);
        f->generation = 0;
    } else if (take_number(line, FOLLOW_FORGET, &generation)) {
        drop(f);
    } else {
        known = false;
    }
    return known;
}
