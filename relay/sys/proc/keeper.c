#include "relay/sys/proc/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/proc/child.h"
#include "relay/sys/proc/statedir.h"

enum {
    EXIT_UNAVAILABLE = 69,
    EXIT_TEMPFAIL = 75,
    ADOPT_WAIT_MS = 10000, /* for the lock, or an answer of who holds it */
    EARLY_END_MS = 5000,
    LAST_WORDS_BYTES = 800, /* of its log; one log value has room for them */
    REDIS_STOP_MS = 20000,  /* SIGTERM writes and fsyncs what is left; then SIGKILL */
};

/* redis-tools has the same binary under another name; Redis looks at argv[0]. */
static const char *const BINARIES[] = {"/usr/bin/redis-server", "/usr/local/bin/redis-server",
                                       "/usr/bin/redis-check-rdb", "/usr/bin/valkey-server",
                                       "/usr/bin/valkey-check-rdb"};

static const char *
find_binary(void)
{
    for (size_t i = 0; i < ARRAY_LEN(BINARIES); i++)
        if (access(BINARIES[i], X_OK) == 0)
            return BINARIES[i];
    return NULL;
}

static int
pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The process that listens on the socket, 0 when nobody does: the kernel says
 * so, no file that could be stale is asked. */
static pid_t
listening_process(const char *socket_path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct ucred who = {0};
    socklen_t n = sizeof who;
    snprintf(to.sun_path, sizeof to.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
        who.pid = 0;
    close(fd);
    return who.pid;
}

static void
exec_redis(const struct keeper_config *cfg, const char *binary, int lock_fd)
{
    char maxmemory[32];
    snprintf(maxmemory, sizeof maxmemory, "%" PRIu64, cfg->maxmemory_bytes);
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          cfg->socket_path,
                          "--unixsocketperm",
                          "700",
                          "--dir",
                          cfg->dataset_dir,
                          "--save",
                          "",
                          "--appendonly",
                          "yes",
                          "--appendfsync",
                          "always",
                          "--no-appendfsync-on-rewrite",
                          "no",
                          "--auto-aof-rewrite-min-size",
                          "1gb",
                          "--maxmemory",
                          maxmemory,
                          "--maxmemory-policy",
                          "noeviction",
                          "--daemonize",
                          "no",
                          "--logfile",
                          "redis.log",
                          NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    /* The copy made here is Redis' own: it is not closed by exec. */
    if (lock_fd >= 0 && fcntl(lock_fd, F_SETFD, 0) == 0)
        execv(binary, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Starts redis-server; its pid, -1 when it cannot be. */
static pid_t
start_redis(const struct keeper_config *cfg, int lock_fd)
{
    const char *binary = find_binary();
    if (binary == NULL) {
        LOG0(LOG_ERROR, "redis.not-installed");
        return -1;
    }
    unlink(cfg->socket_path);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    /* Nothing of the supervisor's goes to Redis: a descriptor of children.lock
     * or of the life pipe in its hands would never be released. */
    for (int fd = CHILD_FD_CONTROL; fd <= CHILD_FD_ROLE; fd++)
        if (fd != lock_fd)
            close(fd);
    exec_redis(cfg, binary, lock_fd);
    return -1;
}

/* Takes the lock and starts Redis, or finds the Redis that holds it. */
static pid_t
start_or_adopt(const struct keeper_config *cfg)
{
    char path[512];
    struct err err = {0};
    uint64_t until = clock_mono_ms() + ADOPT_WAIT_MS;
    snprintf(path, sizeof path, "%s/redis.lock", cfg->dataset_dir);
    while (clock_mono_ms() < until) {
        int lock_fd = statedir_try_lock(path, &err);
        if (lock_fd >= 0) {
            pid_t pid = start_redis(cfg, lock_fd);
            close(lock_fd);
            return pid;
        }
        pid_t pid = listening_process(cfg->socket_path);
        if (pid > 0) {
            LOG(LOG_NOTICE, "redis.adopted", LF_U("pid", pid));
            return pid;
        }
        poll(NULL, 0, 20);
    }
    LOG(LOG_ERROR, "redis.dataset-in-use", LF_ERR(&err));
    return -1;
}

/* SIGTERM, then SIGKILL: Redis has fsynced every commit that it has answered,
 * so neither loses mail. */
static void
stop_redis(pid_t pid, int pidfd)
{
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    kill(pid, SIGTERM);
    if (poll(&gone, 1, REDIS_STOP_MS) == 0) {
        LOG0(LOG_WARN, "redis.killed-at-stop");
        kill(pid, SIGKILL);
        poll(&gone, 1, -1);
    }
}

/* Waits until the workers have ended (end of the life pipe) or Redis has. */
static void
wait_for_workers(const struct keeper_config *cfg, int pidfd)
{
    struct pollfd fds[] = {{.fd = cfg->life_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    poll(fds, 2, ORPHAN_DRAIN_MS);
}

/* Until Redis ends (false) or the supervisor closes the control socket (true). */
static bool
watch(const struct keeper_config *cfg, int pidfd)
{
    struct pollfd fds[] = {{.fd = cfg->control_fd, .events = POLLIN},
                           {.fd = pidfd, .events = POLLIN}};
    for (;;) {
        char ignored[64];
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return true;
        if (fds[1].revents != 0)
            return false;
        if (fds[0].revents != 0 && read(cfg->control_fd, ignored, sizeof ignored) <= 0)
            return true;
    }
}

/* Its last words, when it ends as soon as it has begun: a corrupt file, a disk
 * that is full. It is started again all the same: a disk gets room again, and
 * meanwhile clients are told to come back. */
static void
log_last_words(const struct keeper_config *cfg)
{
    char path[512], text[LAST_WORDS_BYTES];
    snprintf(path, sizeof path, "%s/redis.log", cfg->dataset_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t from = size > LAST_WORDS_BYTES ? size - LAST_WORDS_BYTES : 0;
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text, from) : -1;
    if (fd >= 0)
        close(fd);
    LOG(LOG_ERROR, "redis.cannot-start", LF_STR("log", path),
        LF_S("text", slice_trim(slice_from(text, n > 0 ? (size_t)n : 0))));
}

int
keeper_run(const struct keeper_config *cfg)
{
    signal(SIGTERM, SIG_IGN); /* the end of the control socket is the order to stop */
    signal(SIGINT, SIG_IGN);
    pid_t pid = start_or_adopt(cfg);
    if (pid < 0)
        return find_binary() == NULL ? EXIT_UNAVAILABLE : EXIT_TEMPFAIL;
    int pidfd = pidfd_of(pid);
    if (pidfd < 0) {
        LOG(LOG_ERROR, "redis.ended-early", LF_U("pid", pid));
        return EXIT_TEMPFAIL;
    }
    uint64_t started_ms = clock_mono_ms();
    LOG(LOG_INFO, "redis.started", LF_U("pid", pid));
    bool ordered = watch(cfg, pidfd);
    if (ordered) {
        wait_for_workers(cfg, pidfd);
        stop_redis(pid, pidfd);
    } else {
        LOG(LOG_ERROR, "redis.died", LF_U("pid", pid));
        if (clock_mono_ms() < started_ms + EARLY_END_MS)
            log_last_words(cfg);
    }
    waitpid(pid, NULL, WNOHANG); /* an adopted one is not ours to reap */
    close(pidfd);
    return ordered ? 0 : EXIT_TEMPFAIL;
}
