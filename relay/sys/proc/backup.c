#include "relay/sys/proc/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/proc/statedir.h"

#define LOG_DIR "redis/appendonlydir"
#define MANIFEST "appendonly.aof.manifest"
#define LIST "BACKUP"

enum {
    PATH_BYTES = 512,
    COPY_BYTES = 1 << 16,
    OPEN_TRIES = 1000, /* each one lost to a new manifest, which are minutes apart */
};

struct owner {
    uid_t uid;
    gid_t gid;
};

/* ---- files ------------------------------------------------------------------ */

static int
join(char out[PATH_BYTES], const char *folder, const char *name, struct err *err)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < PATH_BYTES ? 0 : err_set(err, ERR_FULL, "%.100s: path is too long", folder);
}

static int
open_in(const char *folder, const char *name, int flags, struct err *err)
{
    char path[PATH_BYTES];
    if (join(path, folder, name, err) != 0)
        return -1;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        err_set_errno(err,
                      errno == ENOENT                      ? ERR_NOT_FOUND
                      : errno == EACCES || errno == EEXIST ? ERR_REFUSED
                                                           : ERR_IO,
                      "%s", path);
    return fd;
}

static int
sync_folder(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : err_set_errno(err, ERR_IO, "%s", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int
write_all(int fd, struct slice data, const char *name, struct err *err)
{
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, "write %s", name);
        data = slice_skip(data, (size_t)n);
    }
    return 0;
}

/* The next piece of at most `left` bytes; -1, also at the end of the file. */
static ssize_t
read_piece(int fd, char *piece, uint64_t left, const char *name, struct err *err)
{
    ssize_t n;
    do
        n = read(fd, piece, left < COPY_BYTES ? (size_t)left : COPY_BYTES);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    return n < 0 ? err_set_errno(err, ERR_IO, "read %s", name)
                 : err_set(err, ERR_BAD, "%s is shorter than it should be", name);
}

static void
format_sum(const unsigned char *digest, unsigned n, char sum[BACKUP_SUM_BYTES + 1])
{
    for (size_t i = 0; i < n && 2 * i < BACKUP_SUM_BYTES; i++)
        snprintf(sum + 2 * i, 3, "%02x", digest[i]);
}

/* Copies f->bytes from `in` to `out` (-1: only reads) and fills `sum`. */
static int
copy_bytes(int in, int out, const struct backup_file *f, char sum[BACKUP_SUM_BYTES + 1],
           struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char *piece = malloc(COPY_BYTES);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    BUG_ON(piece == NULL || md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1);
    int rc = 0;
    for (uint64_t left = f->bytes; rc == 0 && left > 0;) {
        ssize_t got = read_piece(in, piece, left, f->name, err);
        if (got < 0) {
            rc = -1;
            break;
        }
        left -= (uint64_t)got;
        EVP_DigestUpdate(md, piece, (size_t)got);
        if (out >= 0)
            rc = write_all(out, slice_from(piece, (size_t)got), f->name, err);
    }
    EVP_DigestFinal_ex(md, digest, &n);
    format_sum(digest, n, sum);
    EVP_MD_CTX_free(md);
    free(piece);
    return rc;
}

/* Durable; `owner`'s, unless that is NULL. */
static int
copy_file(int in, const char *folder, const struct backup_file *f, const struct owner *owner,
          char sum[BACKUP_SUM_BYTES + 1], struct err *err)
{
    int out = open_in(folder, f->name, O_WRONLY | O_CREAT | O_EXCL, err);
    if (out < 0)
        return -1;
    int rc = copy_bytes(in, out, f, sum, err);
    if (rc == 0 && owner != NULL && fchown(out, owner->uid, owner->gid) != 0)
        rc = err_set_errno(err, ERR_IO, "%s: give it away", f->name);
    if (rc == 0 && fsync(out) != 0)
        rc = err_set_errno(err, ERR_IO, "fsync %s", f->name);
    close(out);
    return rc;
}

/* The whole of a small file. */
static int
read_small(const char *folder, const char *name, struct buf *out, struct err *err)
{
    int fd = open_in(folder, name, O_RDONLY, err);
    if (fd < 0)
        return -1;
    ssize_t n = 1;
    while (n > 0) {
        char *room = buf_reserve(out, 4096);
        n = room != NULL ? read(fd, room, 4096) : 0;
        if (n > 0)
            buf_commit(out, (size_t)n);
        else if (room == NULL)
            n = err_set(err, ERR_FULL, "%s is too long", name);
        else if (n < 0)
            err_set_errno(err, ERR_IO, "read %s", name);
    }
    close(fd);
    return n < 0 ? -1 : 0;
}

/* Everything in the folder, and the folder. */
static void
remove_folder(const char *path)
{
    char name[PATH_BYTES];
    struct err err;
    DIR *d = opendir(path);
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        if (join(name, path, e->d_name, &err) == 0)
            unlink(name);
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

/* ---- taking ----------------------------------------------------------------- */

struct taking {
    char log[PATH_BYTES];                   /* Redis' folder */
    char part[PATH_BYTES + sizeof ".part"]; /* ours, until it is whole */
    struct buf seen, again;                 /* the manifest, before and after all was opened */
    struct buf kept;                        /* as it goes into the copy */
    struct backup_list *list;
    int fds[BACKUP_FILES_MAX];
};

static void
close_all(struct taking *t)
{
    for (unsigned i = 0; i < t->list->count; i++)
        if (t->fds[i] >= 0)
            close(t->fds[i]);
    t->list->count = 0;
}

static int
open_files(struct taking *t, struct err *err)
{
    struct stat st;
    for (unsigned i = 0; i < t->list->count; i++)
        t->fds[i] = -1;
    for (unsigned i = 0; i < t->list->count; i++) {
        struct backup_file *f = &t->list->files[i];
        t->fds[i] = open_in(t->log, f->name, O_RDONLY, err);
        if (t->fds[i] < 0)
            return -1;
        if (fstat(t->fds[i], &st) != 0)
            return err_set_errno(err, ERR_IO, "%s", f->name);
        f->bytes = (uint64_t)st.st_size;
    }
    return 0;
}

/* One try; 1: the manifest changed meanwhile. */
static int
open_once(struct taking *t, struct err *err)
{
    buf_clear(&t->seen);
    buf_clear(&t->again);
    buf_clear(&t->kept);
    t->list->count = 0;
    if (read_small(t->log, MANIFEST, &t->seen, err) != 0)
        return -1;
    int rc = backup_list_add_log(t->list, buf_slice(&t->seen), &t->kept, err);
    if (rc != 0) {
        t->list->count = 0;
        return -1;
    }
    rc = open_files(t, err);
    if (rc == 0 || err->code == ERR_NOT_FOUND) {
        struct err other;
        if (read_small(t->log, MANIFEST, &t->again, &other) != 0 ||
            !slice_eq(buf_slice(&t->seen), buf_slice(&t->again)))
            rc = 1;
    }
    if (rc != 0)
        close_all(t);
    return rc;
}

static int
open_log(struct taking *t, struct err *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        int rc = open_once(t, err);
        if (rc <= 0)
            return rc;
        poll(NULL, 0, 1);
    }
    return err_set(err, ERR_TIMEOUT, "%s changes all the time", t->log);
}

/* A small file with this text, listed. */
static int
put_small(struct taking *t, const char *name, struct slice text, struct err *err)
{
    if (backup_list_add(t->list, slice_str(name), err) != 0)
        return -1;
    struct backup_file *f = &t->list->files[t->list->count - 1];
    t->fds[t->list->count - 1] = -1;
    f->bytes = text.n;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    BUG_ON(EVP_Digest(text.p != NULL ? text.p : "", text.n, digest, &n, EVP_sha256(), NULL) != 1);
    format_sum(digest, n, f->sum);
    int out = open_in(t->part, name, O_WRONLY | O_CREAT | O_EXCL, err);
    if (out < 0)
        return -1;
    int rc = write_all(out, text, name, err);
    if (rc == 0 && fsync(out) != 0)
        rc = err_set_errno(err, ERR_IO, "fsync %s", name);
    close(out);
    return rc;
}

/* What there is of the small files of the state directory itself. */
static int
put_marks(struct taking *t, const char *state, struct err *err)
{
    static const char *const NAMES[] = {"dataset", "production", "development"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(NAMES); i++) {
        struct buf text;
        buf_init(&text, BACKUP_LIST_MAX);
        rc = read_small(state, NAMES[i], &text, err);
        if (rc == 0)
            rc = put_small(t, NAMES[i], buf_slice(&text), err);
        else if (err->code == ERR_NOT_FOUND)
            rc = 0;
        buf_fini(&text);
    }
    return rc;
}

static int
put_all(struct taking *t, const char *state, struct err *err)
{
    for (unsigned i = 0; i < t->list->count; i++) {
        struct backup_file *f = &t->list->files[i];
        if (copy_file(t->fds[i], t->part, f, NULL, f->sum, err) != 0)
            return -1;
    }
    if (put_small(t, MANIFEST, buf_slice(&t->kept), err) != 0 || put_marks(t, state, err) != 0)
        return -1;
    struct buf list;
    buf_init(&list, BACKUP_LIST_MAX);
    backup_list_write(t->list, &list);
    int rc = put_small(t, LIST, buf_slice(&list), err);
    t->list->count--; /* it does not name itself */
    buf_fini(&list);
    return rc;
}

/* "DIR/" is DIR, whose neighbour DIR.part is. */
static int
copy_name(char out[PATH_BYTES], const char *to, struct err *err)
{
    size_t n = strlen(to);
    while (n > 1 && to[n - 1] == '/')
        n--;
    if (n + sizeof ".part" > PATH_BYTES)
        return err_set(err, ERR_FULL, "the path is too long");
    snprintf(out, PATH_BYTES, "%.*s", (int)n, to);
    return 0;
}

static int
take(struct taking *t, const char *state, const char *to, struct err *err)
{
    struct stat st;
    snprintf(t->part, sizeof t->part, "%s.part", to);
    if (lstat(to, &st) == 0)
        return err_set(err, ERR_REFUSED, "%s is there already", to);
    if (open_log(t, err) != 0)
        return err_context(
            err, "no queue to copy below %s (another Redis, queue.redis, has its own files)",
            state);
    if (mkdir(t->part, 0700) != 0)
        return err_set_errno(err, errno == EEXIST || errno == EACCES ? ERR_REFUSED : ERR_IO, "%s",
                             t->part);
    if (put_all(t, state, err) == 0 && sync_folder(t->part, err) == 0) {
        char above[PATH_BYTES + 3];
        snprintf(above, sizeof above, "%s/..", to);
        if (rename(t->part, to) == 0)
            return sync_folder(above, err);
        err_set_errno(err, ERR_IO, "%s", to);
    }
    remove_folder(t->part);
    return -1;
}

int
backup_take(const char *state, const char *to, struct backup_list *l, struct err *err)
{
    struct taking *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    t->list = l;
    l->count = 0;
    buf_init(&t->seen, BACKUP_LIST_MAX);
    buf_init(&t->again, BACKUP_LIST_MAX);
    buf_init(&t->kept, BACKUP_LIST_MAX);
    char name[PATH_BYTES];
    int rc = -1;
    if (copy_name(name, to, err) == 0 && join(t->log, state, LOG_DIR, err) == 0)
        rc = take(t, state, name, err);
    unsigned count = l->count;
    close_all(t);
    l->count = count;
    buf_fini(&t->seen);
    buf_fini(&t->again);
    buf_fini(&t->kept);
    free(t);
    return rc;
}

/* ---- restoring -------------------------------------------------------------- */

/* Its list, and every file as the list says. */
static int
check_whole(const char *from, struct backup_list *l, struct err *err)
{
    struct buf text;
    buf_init(&text, BACKUP_LIST_MAX);
    int rc = read_small(from, LIST, &text, err);
    if (rc == 0)
        rc = backup_list_read(l, buf_slice(&text), err);
    buf_fini(&text);
    for (unsigned i = 0; rc == 0 && i < l->count; i++) {
        char sum[BACKUP_SUM_BYTES + 1] = "";
        int fd = open_in(from, l->files[i].name, O_RDONLY, err);
        rc = fd >= 0 ? copy_bytes(fd, -1, &l->files[i], sum, err) : -1;
        if (fd >= 0)
            close(fd);
        if (rc == 0 && strcmp(sum, l->files[i].sum) != 0)
            rc = err_set(err, ERR_BAD, "%s is not what was backed up", l->files[i].name);
    }
    if (rc == 0 && backup_list_find(l, MANIFEST) == NULL)
        rc = err_set(err, ERR_BAD, "it has no queue");
    return rc == 0 ? 0 : err_context(err, "%s", from);
}

/* No dataset is remembered, and Redis has no log. */
static int
check_empty(const struct statedir *s, struct err *err)
{
    char uuid[QUEUE_DATASET_BYTES + 1], path[PATH_BYTES];
    struct stat st;
    int rc = statedir_dataset(s, uuid, err);
    if (rc == 0 && uuid[0] == '\0' && join(path, s->path, LOG_DIR, err) == 0 &&
        (rmdir(path) == 0 || lstat(path, &st) != 0))
        return 0;
    return err_set(err, ERR_REFUSED, "%s has a queue already: move the directory away", s->path);
}

/* A part of the log, not one of the small files of the state directory. */
static bool
is_of_log(const struct backup_file *f)
{
    return slice_starts(slice_str(f->name), SLICE("appendonly.aof"));
}

static int
put_log(const char *from, const char *part, const struct owner *owner, const struct backup_list *l,
        struct err *err)
{
    char sum[BACKUP_SUM_BYTES + 1];
    if (mkdir(part, 0700) != 0 || lchown(part, owner->uid, owner->gid) != 0)
        return err_set_errno(err, ERR_IO, "%s", part);
    for (unsigned i = 0; i < l->count; i++) {
        if (!is_of_log(&l->files[i]))
            continue;
        int in = open_in(from, l->files[i].name, O_RDONLY, err);
        int rc = in >= 0 ? copy_file(in, part, &l->files[i], owner, sum, err) : -1;
        if (in >= 0)
            close(in);
        if (rc != 0)
            return -1;
    }
    return sync_folder(part, err);
}

static int
remember(const char *from, const struct statedir *s, const struct backup_list *l, struct err *err)
{
    struct statedir there = {.path = ""};
    char uuid[QUEUE_DATASET_BYTES + 1];
    if (backup_list_find(l, "dataset") == NULL)
        return 0;
    int n = snprintf(there.path, sizeof there.path, "%s", from);
    if (n < 0 || (size_t)n >= sizeof there.path)
        return err_set(err, ERR_FULL, "%.100s: path is too long", from);
    return statedir_dataset(&there, uuid, err) == 0 && statedir_remember_dataset(s, uuid, err) == 0
               ? 0
               : -1;
}

static int
put_back(const char *from, const struct statedir *s, const struct owner *owner,
         const struct backup_list *l, struct err *err)
{
    char part[PATH_BYTES], log[PATH_BYTES];
    if (join(log, s->path, LOG_DIR, err) != 0 ||
        join(part, s->path, "redis/restored.part", err) != 0)
        return -1;
    remove_folder(part); /* of an earlier try */
    if (put_log(from, part, owner, l, err) == 0) {
        if (lchown(s->redis, owner->uid, owner->gid) == 0 && rename(part, log) == 0)
            return sync_folder(s->redis, err) == 0 ? remember(from, s, l, err) : -1;
        err_set_errno(err, ERR_IO, "%s", log);
    }
    remove_folder(part);
    return -1;
}

/* Under the locks that the supervisor, its children and Redis hold while they run. */
static int
restore_locked(const char *from, const struct statedir *s, const struct owner *owner,
               const struct backup_list *l, struct err *err)
{
    char path[PATH_BYTES];
    bool development = backup_list_find(l, "development") != NULL;
    if (join(path, s->redis, "redis.lock", err) != 0)
        return -1;
    int lock = statedir_try_lock(path, err);
    if (lock < 0)
        return err_context(err, "a Redis is running there");
    int rc = check_empty(s, err) == 0 && statedir_claim(s, development, err) == 0
                 ? put_back(from, s, owner, l, err)
                 : -1;
    unlink(path); /* made anew by Redis' own user */
    close(lock);
    return rc;
}

/* Whose the queue is to be. */
static int
find_owner(struct owner *o, const char *user, bool development, struct err *err)
{
    *o = (struct owner){geteuid(), getegid()};
    if (geteuid() != 0 || development)
        return 0;
    const struct passwd *p = getpwnam(user);
    if (p == NULL)
        return err_set(err, ERR_CONFIG, "there is no user \"%s\", whose the queue would be", user);
    *o = (struct owner){p->pw_uid, p->pw_gid};
    return 0;
}

int
backup_restore(const char *from, const char *state, const char *user, struct backup_list *l,
               struct err *err)
{
    struct statedir s = {.supervisor_lock_fd = -1, .children_lock_fd = -1};
    struct owner owner;
    if (check_whole(from, l, err) != 0 ||
        find_owner(&owner, user, backup_list_find(l, "development") != NULL, err) != 0)
        return -1;
    int rc = statedir_open(&s, state, err) == 0 ? restore_locked(from, &s, &owner, l, err) : -1;
    statedir_close(&s);
    return rc;
}
