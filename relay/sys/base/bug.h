/*
 * Bugs are not errors: a broken invariant aborts the process. The supervisor
 * restarts it, and the lease brings its work back.
 */
#ifndef STAGEPOST_BASE_BUG_H
#define STAGEPOST_BASE_BUG_H

#include <stddef.h>

#define BUG_ON(cond)                                                                               \
    do {                                                                                           \
        if (cond)                                                                                  \
            bug_abort(__FILE__, __LINE__, #cond);                                                  \
    } while (0)

/* Logs the broken condition and aborts. Never returns. */
_Noreturn void bug_abort(const char *file, int line, const char *cond);

/* The struct of which `ptr` is the member `member`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
