/* Shared by file.c (reading), file_value.c (one value) and file_check.c (what
 * keys say together). */
#ifndef STAGEPOST_CONFIG_FILE_INTERNAL_H
#define STAGEPOST_CONFIG_FILE_INTERNAL_H

#include <libconfig.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"

enum { CONFIG_WHERE_MAX = 128 };

struct config_problem {
    unsigned line, order; /* line 0: not of one line */
    enum config_severity severity;
    char text[CONFIG_WHERE_MAX + CONFIG_WHY_MAX];
};

struct config_file {
    char name[256];
    enum config_look look;
    config_t tree; /* the strings of the draft are its own, or the arena's */
    struct arena arena;
    struct config_draft draft;
    struct config_problem problems[CONFIG_PROBLEMS_MAX];
    unsigned problem_count, error_count, warning_count;
};

/* Memory of the file's arena, zeroed; it has no budget to go over: the text's
 * size limits it. */
void *config_file_alloc(struct config_file *f, size_t n);
const char *config_file_keep(struct config_file *f, struct slice text);

/* One value out of its text, as the type of the key wants it, to `at`. false:
 * `why` says what is wrong. */
bool config_value_store(struct config_file *f, const struct config_key *k, struct slice text,
                        void *at, char why[CONFIG_WHY_MAX]);
/* A crypt(5) hash of a method that is still fit for use. */
bool config_hash_ok(const char *hash);

/* What keys say together; then completes draft.config. */
void config_file_check(struct config_file *f);

#endif
