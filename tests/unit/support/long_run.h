/* Very large counts run in full under `make test-long` only. */
#ifndef STAGEPOST_TEST_LONG_RUN_H
#define STAGEPOST_TEST_LONG_RUN_H

#include <stdlib.h>
#include <string.h>

static inline unsigned
long_run_count(unsigned usual, unsigned whole)
{
    const char *set = getenv("STAGEPOST_TEST_LONG");
    return set != NULL && strcmp(set, "1") == 0 ? whole : usual;
}

#endif
