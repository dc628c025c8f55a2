/*
 * Who the processes run as. Started by root, the supervisor stays root and each
 * child becomes one of two users before it reads a byte of anybody's:
 *
 *   user         workers, checker, sandbox, the keeper and Redis
 *   signer_user  the signers, so that a worker that was taken over can neither
 *                look into nor signal a process that holds DKIM keys
 *
 * What the children own of the state directory:
 *   run/    root's, of the gateway's group, sticky: children make sockets in it
 *           and cannot replace the supervisor's
 *   redis/  the gateway's
 * The rest, and the files that the configuration names, need to be readable by
 * root only: the supervisor hands their contents on (config/material.h).
 *
 * Not started by root, all run as who started it; see confine.h for what still
 * stands between them.
 */
#ifndef STAGEPOST_PROC_RIGHTS_H
#define STAGEPOST_PROC_RIGHTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "relay/sys/config/config.h"
#include "relay/sys/proc/statedir.h"

enum { RIGHTS_AS_MAX = 32 };

struct rights_user {
    char name[64];
    uid_t uid;
    gid_t gid;
};

struct rights {
    bool separate; /* false: nobody becomes anybody */
    struct rights_user gateway, signer;
};

/* When we are root: looks both up. ERR_CONFIG: one does not exist, is root, or
 * both are one; the text says what to do. Else `separate` is false. */
int rights_find(struct rights *r, const char *user, const char *signer_user, struct err *err);

/* The three below do nothing when rights are not separate. */

/* Gives the children what is theirs of the state directory, and makes sure that
 * they can get there. */
int rights_give_state(const struct rights *r, const struct statedir *dir, struct err *err);
/* Lets the gateway's group connect to the sockets that we made in run/. */
int rights_share_sockets(const struct rights *r, const struct statedir *dir, struct err *err);
/* ERR_CONFIG: the gateway's user could read a DKIM key itself. At a reload too. */
int rights_check_keys(const struct rights *r, const struct config *c, struct err *err);

/* Signals a child, also without CAP_KILL: a process of the child's own user does
 * it then. r: NULL is as not separate. */
bool rights_kill(const struct rights *r, bool is_signer, pid_t pid, int signo);

/* r: NULL is as not separate. "UID:GID" for a child's command line, "-" when it stays who it is. */
void rights_format(const struct rights *r, bool is_signer, char as[RIGHTS_AS_MAX]);
/* In the child: becomes that user for good, without any other group, and proves
 * that there is no way back. -1: it is not, and must not go on. */
int rights_become(const char *as, struct err *err);

#endif
