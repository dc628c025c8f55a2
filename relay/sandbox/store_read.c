/*
 * The readers of store.h. The writer may remove a capture at any moment: a file
 * that is gone when it is opened was never there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sandbox/capture.h"
#include "relay/sandbox/store.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { READ_BYTES = 4096 };

struct names {
    struct capture_name *v;
    size_t n, cap;
};

static void
names_add(struct names *names, struct capture_name name)
{
    if (names->n == names->cap) {
        names->cap = names->cap * 2 + 64;
        names->v = realloc(names->v, names->cap * sizeof(*names->v));
        BUG_ON(names->v == NULL);
    }
    names->v[names->n++] = name;
}

static int
names_read(DIR *d, struct names *names, struct err *err)
{
    errno = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct capture_name n;
        if (capture_name_parse(slice_str(e->d_name), &n) && !n.temporary)
            names_add(names, n);
    }
    return errno == 0 ? 0 : err_set_errno(err, ERR_IO, "read captures");
}

static int
newest_first(const void *a, const void *b)
{
    const struct capture_name *x = a, *y = b;
    return (x->sequence < y->sequence) - (x->sequence > y->sequence);
}

static int
open_capture(int dir_fd, const struct capture_name *n)
{
    char name[CAPTURE_NAME_BYTES + 1];
    capture_name_format(n, name);
    return openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* Reads until `line` holds the first LF; what follows it is dropped. */
static bool
line_read(int fd, struct buf *line)
{
    for (;;) {
        char *at = buf_reserve(line, READ_BYTES);
        ssize_t n = at != NULL ? read(fd, at, READ_BYTES) : -1;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        size_t before = line->len, found = slice_find(slice_from(at, (size_t)n), '\n');
        buf_commit(line, (size_t)n);
        if (found < (size_t)n) {
            buf_truncate(line, before + found);
            return true;
        }
    }
}

/* Appends the object of one capture; false when the capture is gone. */
static bool
list_one(int dir_fd, const struct capture_name *n, bool first, struct buf *out)
{
    struct buf line;
    int fd = open_capture(dir_fd, n);
    if (fd < 0)
        return false;
    buf_init(&line, SANDBOX_META_LINE_MAX + READ_BYTES);
    bool listed = line_read(fd, &line);
    if (listed && !first)
        buf_add_char(out, ',');
    if (listed)
        buf_add(out, buf_slice(&line));
    buf_fini(&line);
    close(fd);
    return listed;
}

static void
list_names(int dir_fd, const struct names *names, unsigned limit, struct buf *out)
{
    unsigned listed = 0;
    for (size_t i = 0; i < names->n && listed < limit; i++)
        listed += list_one(dir_fd, &names->v[i], listed == 0, out);
}

int
store_list(const char *dir, unsigned limit, struct buf *out, struct err *err)
{
    struct names names = {0};
    int rc = -1;
    DIR *d = opendir(dir);
    if (d == NULL && errno != ENOENT)
        return err_set_errno(err, ERR_IO, "open captures");
    buf_add_char(out, '[');
    if (d != NULL && names_read(d, &names, err) != 0)
        goto end_read;
    if (names.n > 0) {
        qsort(names.v, names.n, sizeof(*names.v), newest_first);
        list_names(dirfd(d), &names, limit < SANDBOX_LIST_MAX ? limit : SANDBOX_LIST_MAX, out);
    }
    if (!buf_add_char(out, ']') || out->overflowed)
        err_set(err, ERR_FULL, "the listing of captures is too large");
    else
        rc = 0;
end_read:
    free(names.v);
    if (d != NULL)
        closedir(d);
    return rc;
}

static int
find_and_open(const char *dir, struct msg_id id)
{
    int fd = -1;
    DIR *d = opendir(dir);
    if (d == NULL)
        return -1;
    for (struct dirent *e; fd < 0 && (e = readdir(d)) != NULL;) {
        struct capture_name n;
        if (capture_name_parse(slice_str(e->d_name), &n) && !n.temporary && id_eq(n.id, id))
            fd = open_capture(dirfd(d), &n);
    }
    closedir(d);
    return fd;
}

int
store_open_raw(const char *dir, struct msg_id id, uint64_t *size_bytes, struct err *err)
{
    struct stat st;
    struct buf line;
    int fd = find_and_open(dir, id);
    if (fd < 0)
        return err_set(err, ERR_NOT_FOUND, "no such capture");
    buf_init(&line, SANDBOX_META_LINE_MAX + READ_BYTES);
    bool good = line_read(fd, &line) && fstat(fd, &st) == 0 &&
                lseek(fd, (off_t)line.len + 1, SEEK_SET) == (off_t)line.len + 1;
    if (good)
        *size_bytes = (uint64_t)st.st_size - line.len - 1;
    buf_fini(&line);
    if (good)
        return fd;
    close(fd);
    return err_set(err, ERR_IO, "the capture cannot be read");
}

int
store_read_raw(const char *dir, struct msg_id id, struct buf *out, struct err *err)
{
    uint64_t left = 0;
    int rc = 0, fd = store_open_raw(dir, id, &left, err);
    if (fd < 0)
        return -1;
    char *at = left <= buf_room(out) ? buf_reserve(out, (size_t)left) : NULL;
    if (at == NULL)
        rc = err_set(err, ERR_FULL, "the capture is too large");
    while (rc == 0 && left > 0) {
        ssize_t n = read(fd, at, (size_t)left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = err_set(err, ERR_IO, "the capture cannot be read");
            break;
        }
        buf_commit(out, (size_t)n);
        at += n;
        left -= (uint64_t)n;
    }
    close(fd);
    return rc;
}
