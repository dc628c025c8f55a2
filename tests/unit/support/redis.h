/*
 * A Redis of the test's own, on a unix socket in a temporary directory, with the
 * settings that Stagepost asks for. Ended by its pid.
 */
#ifndef STAGEPOST_TEST_REDIS_H
#define STAGEPOST_TEST_REDIS_H

#include <stdbool.h>
#include <sys/types.h>

struct redisContext;
struct redisReply;

struct redis_server {
    char dir[64], socket[80];
    pid_t pid;
    const char *extra[9];        /* further arguments, NULL at the end */
    struct redisContext *direct; /* a connection of the test's */
};

/* extra: "--maxmemory", "3mb", ...; NULL: none. Aborts when it does not come up. */
void redis_start(struct redis_server *s, const char *const *extra);
/* kill -9 and start again with the same data. */
void redis_crash_and_restart(struct redis_server *s);
void redis_stop(struct redis_server *s); /* ends it and removes its directory */
void redis_pause(struct redis_server *s);
void redis_resume(struct redis_server *s);

/* Runs a command on the test's own connection; printf-like as in hiredis. */
struct redisReply *redis_ask(struct redis_server *s, const char *fmt, ...);
long long redis_int(struct redis_server *s, const char *fmt, ...); /* integer reply; -1 for nil */
/* Keys that match, except those that every partition keeps. */
long long redis_count_keys(struct redis_server *s, const char *pattern);

#endif
