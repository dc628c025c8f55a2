/*
 * The two lists of files that a backup goes by, as text; no I/O.
 *
 * Redis' manifest of its append-only log says which files are the log, one a
 * line: "file NAME seq N type b|i|h" (base, increments, history that is about to
 * be deleted).
 *
 * Ours, the file "BACKUP", is written last and says what a whole backup has:
 *   stagepost-backup 1
 *   SHA256 BYTES NAME        for each file
 * Whoever reads it decides nothing else by what lies in the folder. Names have
 * no slash in them.
 */
#ifndef STAGEPOST_PROC_BACKUP_LIST_H
#define STAGEPOST_PROC_BACKUP_LIST_H

#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"

enum { BACKUP_NAME_MAX = 64, BACKUP_SUM_BYTES = 64 };

struct backup_file {
    char name[BACKUP_NAME_MAX];
    uint64_t bytes;
    char sum[BACKUP_SUM_BYTES + 1]; /* SHA-256 in hex; "" before it is known */
};
struct backup_list {
    struct backup_file files[BACKUP_FILES_MAX];
    unsigned count;
};

/* Appends one; ERR_BAD: a name that no file of a backup has, or has already;
 * ERR_FULL. */
int backup_list_add(struct backup_list *l, struct slice name, struct err *err);
/* NULL: not in it. */
const struct backup_file *backup_list_find(const struct backup_list *l, const char *name);
/* Appends the files of Redis' manifest but for the history; *kept gets their
 * lines. ERR_BAD: not such a manifest, or without a file. */
int backup_list_add_log(struct backup_list *l, struct slice manifest, struct buf *kept,
                        struct err *err);

void backup_list_write(const struct backup_list *l, struct buf *out);
/* ERR_BAD: not such a list, or one of another version. */
int backup_list_read(struct backup_list *l, struct slice text, struct err *err);

#endif
