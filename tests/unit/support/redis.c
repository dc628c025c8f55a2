#include "tests/unit/support/redis.h"

#include <hiredis/hiredis.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

enum { UP_TRIES = 1000, UP_PAUSE_MS = 10, ARGS_MAX = 40 };

static const char *const BINARIES[] = {"/usr/bin/redis-server", "/usr/bin/redis-check-rdb"};

static const char *const SETTINGS[] = {"redis-server",
                                       "--port",
                                       "0",
                                       "--save",
                                       "",
                                       "--appendonly",
                                       "yes",
                                       "--appendfsync",
                                       "always",
                                       "--maxmemory-policy",
                                       "noeviction",
                                       "--loglevel",
                                       "warning"};

static void
pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

static void
exec_redis(const struct redis_server *s)
{
    const char *argv[ARGS_MAX];
    size_t n = 0;
    for (; n < ARRAY_LEN(SETTINGS); n++)
        argv[n] = SETTINGS[n];
    argv[n++] = "--dir";
    argv[n++] = s->dir;
    argv[n++] = "--unixsocket";
    argv[n++] = s->socket;
    for (size_t i = 0; s->extra[i] != NULL; i++)
        argv[n++] = s->extra[i];
    argv[n] = NULL;
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no Redis outlives its test */
    for (size_t i = 0; i < ARRAY_LEN(BINARIES); i++)
        execv(BINARIES[i], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static bool
connect_direct(struct redis_server *s)
{
    struct redisContext *c = redisConnectUnix(s->socket);
    redisReply *r = c != NULL && c->err == 0 ? redisCommand(c, "PING") : NULL;
    bool up = r != NULL && r->type == REDIS_REPLY_STATUS;
    if (r != NULL)
        freeReplyObject(r);
    if (up)
        s->direct = c;
    else if (c != NULL)
        redisFree(c);
    return up;
}

static void
launch(struct redis_server *s)
{
    s->pid = fork();
    BUG_ON(s->pid < 0);
    if (s->pid == 0)
        exec_redis(s);
    for (int i = 0; i < UP_TRIES; i++) {
        if (connect_direct(s))
            return;
        pause_ms(UP_PAUSE_MS);
    }
    BUG_ON(s->direct == NULL);
}

void
redis_start(struct redis_server *s, const char *const *extra)
{
    *s = (struct redis_server){.dir = "/tmp/stagepost-redis-XXXXXX"};
    BUG_ON(mkdtemp(s->dir) == NULL);
    snprintf(s->socket, sizeof s->socket, "%s/sock", s->dir);
    for (size_t i = 0; extra != NULL && extra[i] != NULL; i++) {
        BUG_ON(i + 1 >= ARRAY_LEN(s->extra));
        s->extra[i] = extra[i];
    }
    launch(s);
}

static void
end(struct redis_server *s)
{
    if (s->direct != NULL)
        redisFree(s->direct);
    s->direct = NULL;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

void
redis_crash_and_restart(struct redis_server *s)
{
    end(s);
    unlink(s->socket);
    launch(s);
}

void
redis_stop(struct redis_server *s)
{
    char command[128];
    end(s);
    snprintf(command, sizeof command, "rm -rf %s", s->dir);
    BUG_ON(strncmp(s->dir, "/tmp/stagepost-redis-", 21) != 0 || system(command) != 0);
}

void
redis_pause(struct redis_server *s)
{
    int status;
    kill(s->pid, SIGSTOP);
    waitpid(s->pid, &status, WUNTRACED);
}

void
redis_resume(struct redis_server *s)
{
    kill(s->pid, SIGCONT);
}

struct redisReply *
redis_ask(struct redis_server *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    struct redisReply *r = redisvCommand(s->direct, fmt, args);
    va_end(args);
    BUG_ON(r == NULL);
    return r;
}

long long
redis_int(struct redis_server *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    struct redisReply *r = redisvCommand(s->direct, fmt, args);
    va_end(args);
    BUG_ON(r == NULL);
    if (r->type == REDIS_REPLY_ERROR)
        fprintf(stderr, "redis: %s\n", r->str);
    long long v = r->type == REDIS_REPLY_INTEGER  ? r->integer
                  : r->type == REDIS_REPLY_STRING ? atoll(r->str)
                                                  : -1;
    freeReplyObject(r);
    return v;
}

long long
redis_count_keys(struct redis_server *s, const char *pattern)
{
    redisReply *r = redis_ask(s, "KEYS %s", pattern);
    long long n = (long long)r->elements;
    freeReplyObject(r);
    return n;
}
