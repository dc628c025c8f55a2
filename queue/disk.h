/*
 * Room on the disk that our own Redis writes to. With `appendfsync always` Redis ends
 * when it cannot write, and then nothing is delivered either: so new messages are
 * refused while there is still room for the outcomes of those that are waiting.
 */
#ifndef STAGEPOST_QUEUE_DISK_H
#define STAGEPOST_QUEUE_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct queue;

/* What is kept for outcomes on a file system of this size. */
uint64_t disk_reserve_bytes(uint64_t total_bytes);
/* Whether less than the reserve is free for us where `dir` is. false, too, when dir is
 * NULL (another's Redis) or nobody can tell. Asks the kernel; never waits for a disk. */
bool disk_is_low(const char *dir);
/* At the start and every tick: what queue_status() goes by. */
void disk_tick(struct queue *q);

#endif
