/*
 * The writer. Puts of one turn collect; at its end they become a batch, which
 * the work pool writes: all files, then all fsyncs, all renames and one fsync
 * of the directory. While SANDBOX_BATCHES_MAX batches are out, further puts
 * wait and make larger ones.
 *
 * Happy path: start -> waiting -> in a batch -> done.
 * Ways it ends: on disk; a failure of its own file; a failure of the
 * directory, which is everybody's.
 *
 * The oldest captures beyond the maximum are removed by the batch that starts
 * next, or by one without puts.
 */
#include "relay/sandbox/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sandbox/capture.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/work.h"

struct store {
    struct loop *loop;
    int dir_fd;
    uint64_t next_sequence;
    unsigned captures_max;
    struct list waiting;
    unsigned batches;
    struct deferred flush;
    /* What the directory holds, oldest first: a ring. */
    struct capture_name *kept;
    size_t kept_first, kept_count, kept_cap;
};

struct batch {
    struct work_op work;
    struct store *store;
    int dir_fd;
    struct store_put *puts[SANDBOX_BATCH_CAPTURES_MAX];
    int fds[SANDBOX_BATCH_CAPTURES_MAX]; /* -1: failed */
    unsigned put_count;
    struct capture_name *removed;
    size_t removed_count;
};

/* ---- on the pool ---- */

static void
put_name(const struct store_put *op, bool temporary, char out[CAPTURE_NAME_BYTES + 1])
{
    capture_name_format(
        &(struct capture_name){.sequence = op->sequence, .id = op->id, .temporary = temporary},
        out);
}

static int
write_all(int fd, struct slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes = slice_skip(bytes, (size_t)n);
    }
    return 0;
}

static void
batch_fail_put(struct batch *b, unsigned i, const char *doing)
{
    char name[CAPTURE_NAME_BYTES + 1];
    err_set_errno(&b->puts[i]->err, ERR_IO, "capture: %s", doing);
    put_name(b->puts[i], true, name);
    if (b->fds[i] >= 0)
        close(b->fds[i]);
    b->fds[i] = -1;
    unlinkat(b->dir_fd, name, 0);
}

/* sync_file_range() lets the disk begin with this file while the next one is
 * written; the fsync afterwards is what counts. */
static void
batch_write(struct batch *b, unsigned i)
{
    char name[CAPTURE_NAME_BYTES + 1];
    put_name(b->puts[i], true, name);
    b->fds[i] = openat(b->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (b->fds[i] < 0)
        batch_fail_put(b, i, "create");
    else if (write_all(b->fds[i], buf_slice(&b->puts[i]->file)) != 0)
        batch_fail_put(b, i, "write");
    else
        sync_file_range(b->fds[i], 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void
batch_publish(struct batch *b, unsigned i)
{
    char from[CAPTURE_NAME_BYTES + 1], to[CAPTURE_NAME_BYTES + 1];
    if (b->fds[i] < 0)
        return;
    put_name(b->puts[i], true, from);
    put_name(b->puts[i], false, to);
    if (fsync(b->fds[i]) != 0)
        batch_fail_put(b, i, "fsync");
    else if (renameat(b->dir_fd, from, b->dir_fd, to) != 0)
        batch_fail_put(b, i, "rename");
    else
        close(b->fds[i]);
}

static void
batch_sync_directory(struct batch *b)
{
    if (b->put_count == 0 || fsync(b->dir_fd) == 0)
        return;
    int saved = errno;
    for (unsigned i = 0; i < b->put_count; i++) {
        errno = saved;
        if (b->puts[i]->err.code == ERR_NONE)
            err_set_errno(&b->puts[i]->err, ERR_IO, "capture: fsync of the directory");
    }
}

static void
batch_run(struct work_op *work)
{
    struct batch *b = container_of(work, struct batch, work);
    for (unsigned i = 0; i < b->put_count; i++)
        batch_write(b, i);
    for (unsigned i = 0; i < b->put_count; i++)
        batch_publish(b, i);
    batch_sync_directory(b);
    for (size_t i = 0; i < b->removed_count; i++) {
        char name[CAPTURE_NAME_BYTES + 1];
        capture_name_format(&b->removed[i], name);
        unlinkat(b->dir_fd, name, 0);
    }
}

/* ---- on the loop ---- */

static struct capture_name *
kept_at(struct store *s, size_t i)
{
    return &s->kept[(s->kept_first + i) % s->kept_cap];
}

static void
kept_grow(struct store *s)
{
    size_t cap = s->kept_cap * 2 + SANDBOX_BATCH_CAPTURES_MAX;
    struct capture_name *grown = calloc(cap, sizeof(*grown));
    BUG_ON(grown == NULL);
    for (size_t i = 0; i < s->kept_count; i++)
        grown[i] = *kept_at(s, i);
    free(s->kept);
    s->kept = grown;
    s->kept_cap = cap;
    s->kept_first = 0;
}

static void
kept_append(struct store *s, struct capture_name n)
{
    if (s->kept_count == s->kept_cap)
        kept_grow(s);
    *kept_at(s, s->kept_count++) = n;
}

/* Batches may end out of order: the new one moves forward to its place. */
static void
kept_insert(struct store *s, struct capture_name n)
{
    kept_append(s, n);
    size_t i = s->kept_count - 1;
    for (; i > 0 && kept_at(s, i - 1)->sequence > n.sequence; i--)
        *kept_at(s, i) = *kept_at(s, i - 1);
    *kept_at(s, i) = n;
}

static struct capture_name
kept_pop(struct store *s)
{
    struct capture_name n = *kept_at(s, 0);
    s->kept_first = (s->kept_first + 1) % s->kept_cap;
    s->kept_count--;
    return n;
}

static size_t
excess(const struct store *s)
{
    return s->kept_count > s->captures_max ? s->kept_count - s->captures_max : 0;
}

static void
batch_done(struct work_op *work)
{
    struct batch *b = container_of(work, struct batch, work);
    struct store *s = b->store;
    s->batches--;
    for (unsigned i = 0; i < b->put_count; i++)
        if (b->puts[i]->err.code == ERR_NONE)
            kept_insert(
                s, (struct capture_name){.sequence = b->puts[i]->sequence, .id = b->puts[i]->id});
    if (!list_empty(&s->waiting) || excess(s) > 0)
        deferred_schedule_end_of_turn(&s->flush);
    for (unsigned i = 0; i < b->put_count; i++) {
        struct store_put *op = b->puts[i];
        buf_fini(&op->file);
        op->done(op);
    }
    free(b->removed);
    free(b);
}

static void
batch_start(struct store *s)
{
    struct batch *b = calloc(1, sizeof(*b));
    BUG_ON(b == NULL);
    b->store = s;
    b->dir_fd = s->dir_fd;
    while (b->put_count < SANDBOX_BATCH_CAPTURES_MAX && !list_empty(&s->waiting))
        b->puts[b->put_count++] = container_of(list_pop(&s->waiting), struct store_put, node);
    size_t n = excess(s);
    b->removed = calloc(n + 1, sizeof(*b->removed));
    BUG_ON(b->removed == NULL);
    while (b->removed_count < n)
        b->removed[b->removed_count++] = kept_pop(s);
    s->batches++;
    work_start(&b->work, s->loop, batch_run, batch_done);
}

static void
on_flush(struct deferred *d)
{
    struct store *s = container_of(d, struct store, flush);
    while (s->batches < SANDBOX_BATCHES_MAX && (!list_empty(&s->waiting) || excess(s) > 0))
        batch_start(s);
}

void
store_put_start(struct store_put *op, struct store *s, const struct capture *what,
                void (*done)(struct store_put *op))
{
    struct capture c = *what;
    *op = (struct store_put){.done = done, .id = id_new(0), .sequence = s->next_sequence++};
    c.id = op->id;
    c.received_at_unix_ms = clock_sched_unix_ms();
    buf_init(&op->file, SANDBOX_META_LINE_MAX + c.message.n);
    BUG_ON(!capture_add_line(&c, &op->file) || !buf_add(&op->file, c.message));
    list_node_init(&op->node);
    list_push(&s->waiting, &op->node);
    deferred_schedule_end_of_turn(&s->flush);
}

/* ---- opening ---- */

static int
compare_sequence(const void *a, const void *b)
{
    const struct capture_name *x = a, *y = b;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

/* What a crash left half written goes; the rest is counted. */
static int
directory_read(struct store *s, struct err *err)
{
    DIR *d = fdopendir(dup(s->dir_fd));
    if (d == NULL)
        return err_set_errno(err, ERR_IO, "read directory");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct capture_name n;
        if (!capture_name_parse(slice_str(e->d_name), &n))
            continue;
        if (n.temporary)
            unlinkat(s->dir_fd, e->d_name, 0);
        else
            kept_append(s, n);
        if (n.sequence >= s->next_sequence)
            s->next_sequence = n.sequence + 1;
    }
    closedir(d);
    if (s->kept_count > 0)
        qsort(s->kept, s->kept_count, sizeof(*s->kept), compare_sequence);
    return 0;
}

struct store *
store_open(struct loop *l, const char *dir, unsigned captures_max, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));
    BUG_ON(s == NULL || captures_max == 0);
    s->loop = l;
    s->captures_max = captures_max;
    list_init(&s->waiting);
    deferred_init(&s->flush, l, on_flush);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        err_set_errno(err, ERR_IO, "make directory");
        goto fail_new;
    }
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        err_set_errno(err, ERR_IO, "open directory");
        goto fail_new;
    }
    if (directory_read(s, err) != 0)
        goto fail_opened;
    if (excess(s) > 0)
        deferred_schedule_end_of_turn(&s->flush);
    g_mime_init(); /* decodes subjects; once per process, and cannot be undone and redone */
    return s;
fail_opened:
    close(s->dir_fd);
fail_new:
    err_context(err, "captures in %s", dir);
    free(s->kept);
    free(s);
    return NULL;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    BUG_ON(s->batches > 0 || !list_empty(&s->waiting));
    deferred_cancel(&s->flush);
    close(s->dir_fd);
    free(s->kept);
    free(s);
}
