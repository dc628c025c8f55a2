#include "relay/sys/proc/rights.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

enum {
    RUN_MODE = S_ISVTX | S_IRWXU | S_IRWXG,
    SOCKET_MODE = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP,
    DATASET_DEPTH_MAX = 4, /* redis/appendonlydir/FILE */
};

/* ---- the users ------------------------------------------------------------ */

static int
find_user(struct rights_user *u, const char *key, const char *name, struct err *err)
{
    errno = 0;
    const struct passwd *p = getpwnam(name);
    if (p == NULL)
        return err_set(err, ERR_CONFIG,
                       "%s: there is no user \"%s\": useradd --system --no-create-home --shell "
                       "/usr/sbin/nologin --user-group %s",
                       key, name, name);
    if (p->pw_uid == 0 || p->pw_gid == 0)
        return err_set(err, ERR_CONFIG, "%s: \"%s\" is root, or of its group", key, name);
    snprintf(u->name, sizeof u->name, "%s", name);
    u->uid = p->pw_uid;
    u->gid = p->pw_gid;
    return 0;
}

int
rights_find(struct rights *r, const char *user, const char *signer_user, struct err *err)
{
    *r = (struct rights){.separate = geteuid() == 0};
    if (!r->separate)
        return 0;
    if (find_user(&r->gateway, "user", user, err) != 0 ||
        find_user(&r->signer, "signer_user", signer_user, err) != 0)
        return -1;
    if (r->gateway.uid == r->signer.uid)
        return err_set(err, ERR_CONFIG, "signer_user: \"%s\" is the user of the workers too",
                       signer_user);
    return 0;
}

/* ---- becoming ------------------------------------------------------------- */

void
rights_format(const struct rights *r, bool is_signer, char as[RIGHTS_AS_MAX])
{
    if (r != NULL && r->separate) {
        const struct rights_user *u = is_signer ? &r->signer : &r->gateway;
        snprintf(as, RIGHTS_AS_MAX, "%u:%u", (unsigned)u->uid, (unsigned)u->gid);
    } else {
        snprintf(as, RIGHTS_AS_MAX, "-");
    }
}

/* The groups first, while we may still change them; then no id of any kind is
 * left to go back to. */
static int
drop_to(uid_t uid, gid_t gid, struct err *err)
{
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_set_errno(err, ERR_IO, "become user %u, group %u", (unsigned)uid, (unsigned)gid);
    return 0;
}

static int
prove(uid_t uid, gid_t gid, struct err *err)
{
    uid_t u[3];
    gid_t g[3];
    if (getresuid(&u[0], &u[1], &u[2]) != 0 || getresgid(&g[0], &g[1], &g[2]) != 0)
        return err_set_errno(err, ERR_IO, "getresuid");
    for (int i = 0; i < 3; i++)
        if (u[i] != uid || g[i] != gid)
            return err_set(err, ERR_IO, "still user %u, group %u", (unsigned)u[i], (unsigned)g[i]);
    if (getgroups(0, NULL) != 0)
        return err_set(err, ERR_IO, "still of other groups");
    if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
        return err_set(err, ERR_IO, "could become root again");
    return 0;
}

int
rights_become(const char *as, struct err *err)
{
    struct slice gid_text = slice_str(as), uid_text = slice_cut_at(&gid_text, ':');
    uint64_t uid, gid;
    if (strcmp(as, "-") == 0)
        return 0;
    if (!slice_to_u64(uid_text, &uid) || !slice_to_u64(gid_text, &gid) || uid == 0 || gid == 0 ||
        uid >= UINT32_MAX || gid >= UINT32_MAX)
        return err_set(err, ERR_BAD, "\"%.40s\" is no user and group", as);
    if (drop_to((uid_t)uid, (gid_t)gid, err) != 0)
        return -1;
#ifdef __SANITIZE_ADDRESS__
    prctl(PR_SET_DUMPABLE, 1); /* the leak checker looks at us as a debugger does */
#endif
    return prove((uid_t)uid, (gid_t)gid, err);
}

struct to_kill {
    pid_t pid;
    int signo;
};

static bool
can_kill(const void *what)
{
    const struct to_kill *k = what;
    return kill(k->pid, k->signo) == 0;
}

/* The answer of a short-lived process that runs as `u`: whatever decides about
 * rights (modes, groups, ACLs, mounts), the kernel is asked. False also when it
 * could not be asked. */
static bool
may(const struct rights_user *u, bool (*can)(const void *what), const void *what)
{
    int status = -1;
    struct err err;
    pid_t pid = fork();
    if (pid == 0)
        _exit(drop_to(u->uid, u->gid, &err) == 0 && can(what) ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool
rights_kill(const struct rights *r, bool is_signer, pid_t pid, int signo)
{
    if (kill(pid, signo) == 0)
        return true;
    if (errno != EPERM || r == NULL || !r->separate)
        return false;
    struct to_kill what = {pid, signo};
    return may(is_signer ? &r->signer : &r->gateway, can_kill, &what);
}

static bool
can_write_into(const void *path)
{
    return access(path, W_OK | X_OK) == 0;
}

static bool
can_read(const void *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool
can_read_any_key(const void *config)
{
    const struct config *c = config;
    for (unsigned i = 0; i < c->dkim_key_count; i++)
        if (can_read(c->dkim_keys[i].path))
            return true;
    return false;
}

int
rights_check_keys(const struct rights *r, const struct config *c, struct err *err)
{
    if (!r->separate || !may(&r->gateway, can_read_any_key, c))
        return 0;
    for (unsigned i = 0; i < c->dkim_key_count; i++)
        if (may(&r->gateway, can_read, c->dkim_keys[i].path))
            return err_set(err, ERR_CONFIG, "%s: user %s could read it: chown root:root it",
                           c->dkim_keys[i].path, r->gateway.name);
    return 0;
}

/* ---- the state directory -------------------------------------------------- */

static int
own(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err *err)
{
    if (lchown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    return 0;
}

/* The directory itself may be one that others use too, such as /srv: nothing
 * changes when the children can pass, and it is not theirs. */
static int
let_pass(const struct rights_user *u, const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    bool theirs = st.st_uid == u->uid;
    bool pass = (st.st_mode & S_IXOTH) != 0 || (st.st_gid == u->gid && (st.st_mode & S_IXGRP) != 0);
    if (pass && !theirs)
        return 0;
    mode_t mode = (st.st_mode & ~(mode_t)(S_IFMT | S_IWGRP | S_IWOTH)) | S_IXGRP;
    return own(path, theirs ? 0 : st.st_uid, u->gid, mode, err);
}

static int give_tree(int parent_fd, const char *name, const struct rights_user *u, int depth);

static int
give_entries(int fd, const struct rights_user *u, int depth)
{
    DIR *d = fdopendir(fd);
    int rc = d != NULL ? 0 : -1;
    const struct dirent *e;
    while (rc == 0 && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = give_tree(fd, e->d_name, u, depth);
    if (d != NULL)
        closedir(d);
    else
        close(fd);
    return rc;
}

/* The top comes last: a tree whose top is theirs was given whole. */
static int
give_tree(int parent_fd, const char *name, const struct rights_user *u, int depth)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (depth == DATASET_DEPTH_MAX || give_entries(fd, u, depth + 1) != 0)) {
        if (depth == DATASET_DEPTH_MAX)
            close(fd);
        return -1;
    }
    return fchownat(parent_fd, name, u->uid, u->gid, AT_SYMLINK_NOFOLLOW);
}

/* Once: what is in it afterwards is theirs, and nothing that they put there may
 * become theirs by our hand. */
static int
give_dataset(const struct rights_user *u, const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return err_set_errno(err, ERR_IO, "%s", path);
    if (st.st_uid == u->uid && st.st_gid == u->gid)
        return 0;
    if (give_tree(AT_FDCWD, path, u, 0) != 0)
        return err_set_errno(err, ERR_IO, "%s: give it to user %s", path, u->name);
    return 0;
}

int
rights_give_state(const struct rights *r, const struct statedir *dir, struct err *err)
{
    if (!r->separate)
        return 0;
    if (let_pass(&r->gateway, dir->path, err) != 0 ||
        own(dir->run, 0, r->gateway.gid, RUN_MODE, err) != 0 ||
        give_dataset(&r->gateway, dir->redis, err) != 0)
        return -1;
    if (!may(&r->gateway, can_write_into, dir->redis))
        return err_set(err, ERR_CONFIG,
                       "%s: user %s cannot get there: a directory above it lets others not pass",
                       dir->redis, r->gateway.name);
    return 0;
}

int
rights_share_sockets(const struct rights *r, const struct statedir *dir, struct err *err)
{
    struct stat st;
    const struct dirent *e;
    if (!r->separate)
        return 0;
    DIR *d = opendir(dir->run);
    int rc = d != NULL ? 0 : -1;
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(st.st_mode) ||
            st.st_uid != 0)
            continue;
        if (fchownat(dirfd(d), e->d_name, 0, r->gateway.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
            fchmodat(dirfd(d), e->d_name, SOCKET_MODE, 0) != 0)
            rc = -1;
    }
    if (rc != 0)
        err_set_errno(err, ERR_IO, "%s: share its sockets", dir->run);
    if (d != NULL)
        closedir(d);
    return rc;
}
