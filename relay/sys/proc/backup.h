/*
 * Copies of the embedded queue: taken while the gateway runs, or while it does
 * not, and put back into a state directory without a queue. Blocking.
 *
 * A copy is a folder (0700): the files of Redis' append-only log, the name of the
 * dataset, the kind of gateway, and BACKUP, their list (backup_list.h). It holds
 * mail, and hashes of passwords; no DKIM key and no configuration.
 *
 * Redis only ever appends to the last file of its log and never to the others,
 * and says in its manifest which files these are, before it uses them. So all of
 * them are opened, and when the manifest is still the same then, these open files
 * at their present lengths are the whole of it: everything that was acknowledged
 * before, perhaps with a last command that is cut, which Redis leaves out.
 */
#ifndef STAGEPOST_PROC_BACKUP_H
#define STAGEPOST_PROC_BACKUP_H

#include "relay/sys/proc/backup_list.h"

/* Takes a copy of the queue below `state` into the folder `to`, which must not be
 * there; it appears there whole, durable, or not at all. `l`: what it has.
 * ERR_REFUSED: `to` is there already, or something may not be read;
 * ERR_NOT_FOUND: no queue below `state` (another Redis has it). */
int backup_take(const char *state, const char *to, struct backup_list *l, struct err *err);

/* Puts it into `state`, which is made when it is missing. When we are root and it
 * is not of development mode, the queue becomes `user`'s. ERR_CONFIG: there is no
 * such user, or `state` is another kind of gateway's; ERR_REFUSED: a gateway
 * or its Redis runs there, or there is a queue already; ERR_BAD: the copy is not
 * whole; nothing is changed then. */
int backup_restore(const char *from, const char *state, const char *user, struct backup_list *l,
                   struct err *err);

#endif
