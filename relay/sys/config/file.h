/*
 * The configuration file: read, checked against the table (keys.h) and within
 * itself, and turned into a struct config. Nothing stops at the first error:
 * all of them are kept, with their lines, for one answer. Only a file that is
 * not of libconfig's syntax at all has one error.
 *
 * @include is refused: one file, so that FILE:LINE means one place.
 */
#ifndef STAGEPOST_CONFIG_FILE_H
#define STAGEPOST_CONFIG_FILE_H

#include <stdio.h>

#include "relay/sys/base/slice.h"
#include "relay/sys/config/keys.h"

struct config_file; /* opaque; owns every string of its draft */

enum config_severity { CONFIG_ERROR, CONFIG_WARNING };

/* What is looked at besides the text. */
enum config_look {
    CONFIG_LOOK_AT_TEXT,  /* nothing: files that are named are not opened */
    CONFIG_LOOK_AT_FILES, /* they must exist; secret ones must not be open to everybody */
};

/* Never NULL: a file that cannot be read is a config_file with one error. */
struct config_file *config_file_read(const char *path);
struct config_file *config_file_parse(const char *name, struct slice text, enum config_look look);
void config_file_free(struct config_file *f); /* NULL is fine */

unsigned config_file_errors(const struct config_file *f);
unsigned config_file_warnings(const struct config_file *f);
/* One "FILE:LINE: key: why" a line, in the order of the file; a warning has
 * "warning: " before the key. */
void config_file_print(const struct config_file *f, FILE *out);

/* With config complete but for what only a running gateway has: generation,
 * run_dir, signer_sockets, and the address of an embedded Redis. Whole only when
 * there are no errors. The file must outlive it. */
const struct config_draft *config_file_draft(const struct config_file *f);

/* For a reload: an error for every key that only a restart can change
 * (KEY_RELOADABLE) and that is not as it is now. Both without errors. */
void config_file_compare(struct config_file *next, const struct config_file *now);

/* For checks that the file's owner makes: adds a problem. `where` names the
 * setting, "domains[0].dkim[1].file"; the line is that of the nearest setting
 * around it that is there. */
void config_file_complain(struct config_file *f, enum config_severity severity, const char *where,
                          const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The public record of draft.config.dkim_keys[number], derived by who may read the
 * private key; copied. */
void config_file_set_record(struct config_file *f, unsigned number, struct slice record);

#endif
