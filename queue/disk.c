#include "queue/disk.h"

#include <stddef.h>
#include <sys/statvfs.h>

#include "queue/core.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

uint64_t
disk_reserve_bytes(uint64_t total_bytes)
{
    uint64_t part = total_bytes / QUEUE_DISK_RESERVE_PART;
    return part < QUEUE_DISK_RESERVE_MAX ? part : QUEUE_DISK_RESERVE_MAX;
}

bool
disk_is_low(const char *dir)
{
    struct statvfs fs;
    if (dir == NULL || statvfs(dir, &fs) != 0)
        return false;
    return fs.f_bavail * fs.f_frsize < disk_reserve_bytes(fs.f_blocks * fs.f_frsize);
}

void
disk_tick(struct queue *q)
{
    bool is_low = disk_is_low(q->cfg.disk_dir);
    if (is_low == q->disk_is_low)
        return;
    q->disk_is_low = is_low;
    if (is_low)
        LOG(LOG_ERROR, "queue.disk.low", LF_STR("dir", q->cfg.disk_dir));
    else
        LOG(LOG_NOTICE, "queue.disk.enough", LF_STR("dir", q->cfg.disk_dir));
}
