#include "relay/sys/proc/snapshots.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int
open_one(const struct config *c, enum config_reader reader, struct err *err)
{
    int fd = memfd_create("stagepost-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "memfd_create");
    if (config_write_snapshot(c, reader, fd, err) == 0) {
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
            return fd;
        err_set_errno(err, ERR_IO, "seal the configuration");
    }
    close(fd);
    return -1;
}

void
snapshots_init(struct snapshots *s)
{
    for (int i = 0; i < CONFIG_READER_COUNT; i++)
        s->fds[i] = -1;
}

int
snapshots_open(struct snapshots *s, const struct config *c, struct err *err)
{
    snapshots_init(s);
    for (int i = 0; i < CONFIG_READER_COUNT; i++) {
        s->fds[i] = open_one(c, (enum config_reader)i, err);
        if (s->fds[i] < 0) {
            snapshots_close(s);
            return -1;
        }
    }
    return 0;
}

void
snapshots_close(struct snapshots *s)
{
    for (int i = 0; i < CONFIG_READER_COUNT; i++)
        if (s->fds[i] >= 0)
            close(s->fds[i]);
    snapshots_init(s);
}

void
snapshots_move(struct snapshots *to, struct snapshots *from)
{
    snapshots_close(to);
    *to = *from;
    snapshots_init(from);
}
