#include "relay/sys/proc/backup_list.h"

#include <inttypes.h>
#include <string.h>

#define FIRST_LINE "stagepost-backup 1"

static bool
name_is_good(struct slice name)
{
    if (name.n == 0 || name.n >= BACKUP_NAME_MAX || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_is_alnum(name.p[i]) && name.p[i] != '.' && name.p[i] != '-' && name.p[i] != '_')
            return false;
    return true;
}

const struct backup_file *
backup_list_find(const struct backup_list *l, const char *name)
{
    for (unsigned i = 0; i < l->count; i++)
        if (strcmp(l->files[i].name, name) == 0)
            return &l->files[i];
    return NULL;
}

int
backup_list_add(struct backup_list *l, struct slice name, struct err *err)
{
    struct backup_file *f = &l->files[l->count];
    if (l->count == BACKUP_FILES_MAX)
        return err_set(err, ERR_FULL, "more than %d files", BACKUP_FILES_MAX);
    if (!name_is_good(name))
        return err_set(err, ERR_BAD, "\"%.*s\" is no file of a backup",
                       (int)(name.n < BACKUP_NAME_MAX ? name.n : BACKUP_NAME_MAX),
                       name.p != NULL ? name.p : "");
    *f = (struct backup_file){.bytes = 0};
    slice_to_cstr(name, f->name, sizeof f->name);
    if (backup_list_find(l, f->name) != NULL)
        return err_set(err, ERR_BAD, "%s is named twice", f->name);
    l->count++;
    return 0;
}

/* file NAME seq N type T: '\0' when the line is not so. */
static char
cut_log_line(struct slice line, struct slice *name)
{
    uint64_t seq;
    bool good = slice_eq(slice_cut_at(&line, ' '), SLICE("file"));
    *name = slice_cut_at(&line, ' ');
    good = good && slice_eq(slice_cut_at(&line, ' '), SLICE("seq")) &&
           slice_to_u64(slice_cut_at(&line, ' '), &seq) &&
           slice_eq(slice_cut_at(&line, ' '), SLICE("type")) && line.n == 1;
    return good && slice_find(SLICE("bih"), line.p[0]) < 3 ? line.p[0] : '\0';
}

int
backup_list_add_log(struct backup_list *l, struct slice manifest, struct buf *kept, struct err *err)
{
    unsigned before = l->count;
    while (manifest.n > 0) {
        struct slice name, line = slice_cut_at(&manifest, '\n');
        if (line.n == 0 || line.p[0] == '#')
            continue;
        char type = cut_log_line(line, &name);
        if (type == '\0')
            return err_set(err, ERR_BAD, "not a list of Redis' append-only log");
        if (type == 'h')
            continue;
        if (backup_list_add(l, name, err) != 0)
            return -1;
        buf_addf(kept, "%.*s\n", SLICE_FMT(line));
    }
    return l->count > before ? 0 : err_set(err, ERR_BAD, "Redis' append-only log has no files");
}

void
backup_list_write(const struct backup_list *l, struct buf *out)
{
    buf_add_str(out, FIRST_LINE "\n");
    for (unsigned i = 0; i < l->count; i++)
        buf_addf(out, "%s %" PRIu64 " %s\n", l->files[i].sum, l->files[i].bytes, l->files[i].name);
}

static bool
is_sum(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (slice_find(SLICE("0123456789abcdef"), text.p[i]) == 16)
            return false;
    return text.n == BACKUP_SUM_BYTES;
}

int
backup_list_read(struct backup_list *l, struct slice text, struct err *err)
{
    l->count = 0;
    if (!slice_eq(slice_cut_at(&text, '\n'), SLICE(FIRST_LINE)))
        return err_set(err, ERR_BAD, "not the list of a backup of this version");
    while (text.n > 0) {
        uint64_t bytes;
        struct slice name = slice_cut_at(&text, '\n');
        struct slice sum = slice_cut_at(&name, ' ');
        if (!is_sum(sum) || !slice_to_u64(slice_cut_at(&name, ' '), &bytes))
            return err_set(err, ERR_BAD, "a line that is not \"SHA256 BYTES NAME\"");
        if (backup_list_add(l, name, err) != 0)
            return -1;
        l->files[l->count - 1].bytes = bytes;
        slice_to_cstr(sum, l->files[l->count - 1].sum, BACKUP_SUM_BYTES + 1);
    }
    return l->count > 0 ? 0 : err_set(err, ERR_BAD, "the list of the backup is empty");
}
