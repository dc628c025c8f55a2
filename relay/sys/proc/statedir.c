#include "relay/sys/proc/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <poll.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/proc/child.h"

/* Twice what orphaned children may take to end. */
enum { CHILDREN_WAIT_MS = 2 * ORPHAN_DRAIN_MS, LOCK_POLL_MS = 20 };

/* A unix socket path has 107 characters; ours is PATH/run/signer-63.sock. */
enum { STATE_PATH_MAX = 80 };

/* mkdir -p */
static int
make_directories(const char *path, struct err *err)
{
    char part[512];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return err_set_errno(err, ERR_IO, "%s", part);
        *p = kept;
        if (kept == '\0')
            return 0;
    }
}

int
statedir_try_lock(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    err_set_errno(err, errno == EWOULDBLOCK ? ERR_REFUSED : ERR_IO, "%s", path);
    close(fd);
    return -1;
}

static int
wait_for_children(const char *path, struct err *err)
{
    uint64_t until = clock_mono_ms() + CHILDREN_WAIT_MS;
    bool said = false;
    for (;;) {
        int fd = statedir_try_lock(path, err);
        if (fd >= 0 || err->code != ERR_REFUSED)
            return fd;
        if (clock_mono_ms() > until)
            return err_set(err, ERR_TIMEOUT, "%s: processes of an earlier start still run", path);
        if (!said)
            LOG0(LOG_NOTICE, "supervisor.waiting-for-orphans");
        said = true;
        poll(NULL, 0, LOCK_POLL_MS);
    }
}

static int
make_tree(struct statedir *s, struct err *err)
{
    const struct {
        char *out;
        const char *name;
    } parts[] = {{s->run, "run"},
                 {s->keys, "keys"},
                 {s->tls, "tls"},
                 {s->redis, "redis"},
                 {s->sandbox, "sandbox"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(parts[i].out, sizeof s->run, "%s/%s", s->path, parts[i].name);
        if (make_directories(parts[i].out, err) != 0)
            return -1;
    }
    return 0;
}

int
statedir_open(struct statedir *s, const char *path, struct err *err)
{
    char lock[256], *absolute;
    *s = (struct statedir){.supervisor_lock_fd = -1, .children_lock_fd = -1};
    if (make_directories(path, err) != 0)
        return -1;
    absolute = realpath(path, NULL);
    if (absolute == NULL || strlen(absolute) > STATE_PATH_MAX) {
        free(absolute);
        return err_set(err, ERR_CONFIG, "%s: path is longer than %d characters", path,
                       STATE_PATH_MAX);
    }
    snprintf(s->path, sizeof s->path, "%s", absolute);
    free(absolute);
    if (make_tree(s, err) != 0)
        return -1;
    snprintf(lock, sizeof lock, "%s/supervisor.lock", s->path);
    s->supervisor_lock_fd = statedir_try_lock(lock, err);
    if (s->supervisor_lock_fd < 0)
        return err_context(err, "another stagepost is running on this state directory");
    snprintf(lock, sizeof lock, "%s/children.lock", s->path);
    s->children_lock_fd = wait_for_children(lock, err);
    return s->children_lock_fd < 0 ? -1 : 0;
}

int
statedir_claim(const struct statedir *s, bool development, struct err *err)
{
    const char *ours = development ? "development" : "production";
    const char *theirs = development ? "production" : "development";
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->path, theirs);
    if (access(path, F_OK) == 0)
        return err_set(err, ERR_CONFIG, "%s is the state directory of a %s gateway", s->path,
                       theirs);
    snprintf(path, sizeof path, "%s/%s", s->path, ours);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    close(fd);
    return 0;
}

static bool
is_uuid(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (strchr("0123456789abcdef", text.p[i]) == NULL || text.p[i] == '\0')
            return false;
    return text.n == QUEUE_DATASET_BYTES;
}

int
statedir_dataset(const struct statedir *s, char uuid[QUEUE_DATASET_BYTES + 1], struct err *err)
{
    char path[256], line[QUEUE_DATASET_BYTES + 8] = "";
    uuid[0] = '\0';
    snprintf(path, sizeof path, "%s/dataset", s->path);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return errno == ENOENT ? 0 : err_set_errno(err, ERR_IO, "%s", path);
    size_t n = fread(line, 1, sizeof line - 1, in);
    fclose(in);
    struct slice text = slice_trim(slice_from(line, n));
    if (!is_uuid(text))
        return err_set(err, ERR_CONFIG, "%s: not the name of a dataset", path);
    slice_to_cstr(text, uuid, QUEUE_DATASET_BYTES + 1);
    return 0;
}

static int
sync_path(const char *path, int flags, struct err *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    if (failed)
        err_set_errno(err, ERR_IO, "%s", path);
    if (fd >= 0)
        close(fd);
    return failed ? -1 : 0;
}

int
statedir_remember_dataset(const struct statedir *s, const char *uuid, struct err *err)
{
    char path[256], part[256];
    snprintf(path, sizeof path, "%s/dataset", s->path);
    snprintf(part, sizeof part, "%s/dataset.new", s->path);
    FILE *out = fopen(part, "we");
    if (out == NULL)
        return err_set_errno(err, ERR_IO, "%s", part);
    bool written = fprintf(out, "%s\n", uuid) > 0;
    if (fclose(out) != 0 || !written)
        return err_set_errno(err, ERR_IO, "%s", part);
    if (sync_path(part, O_RDWR, err) != 0)
        return -1;
    if (rename(part, path) != 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    return sync_path(s->path, O_RDONLY | O_DIRECTORY, err);
}

void
statedir_close(struct statedir *s)
{
    if (s->children_lock_fd >= 0)
        close(s->children_lock_fd);
    if (s->supervisor_lock_fd >= 0)
        close(s->supervisor_lock_fd);
}
