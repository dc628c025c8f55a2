/* A directory of a test's own; removed with the plain files in it. */
#ifndef STAGEPOST_TEST_TEMP_DIR_H
#define STAGEPOST_TEST_TEMP_DIR_H

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

struct temp_dir {
    char path[128];
};

static inline void
temp_dir_make(struct temp_dir *t)
{
    *t = (struct temp_dir){"/tmp/stagepost-test-XXXXXX"};
    BUG_ON(mkdtemp(t->path) == NULL);
}

static inline void
temp_dir_remove(struct temp_dir *t)
{
    DIR *d = opendir(t->path);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(t->path);
}

/* Files in it whose name ends so; "" counts all. */
static inline unsigned
temp_dir_count(const struct temp_dir *t, const char *ending)
{
    unsigned n = 0;
    DIR *d = opendir(t->path);
    BUG_ON(d == NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t name = strlen(e->d_name), end = strlen(ending);
        n += e->d_name[0] != '.' && name >= end && strcmp(e->d_name + name - end, ending) == 0;
    }
    closedir(d);
    return n;
}

#endif
