/*
 * File descriptors. The usual soft limit is 1024, from the days of select();
 * what one worker may have open (sessions, requests, connections to MX hosts,
 * questions to DNS, see limits.h) is more. Running out of them costs others:
 * a stranger's idle connections would keep mail from being delivered.
 */
#ifndef STAGEPOST_PROC_DESCRIPTORS_H
#define STAGEPOST_PROC_DESCRIPTORS_H

/* Raises the soft limit of this process, and of all that it starts, as far as
 * is allowed and of use; the limit that holds now. */
unsigned descriptors_raise(void);

/* How many connections to MX hosts one worker may have under `limit`: `wanted`,
 * or fewer so that the rest has room. At least 1. */
unsigned descriptors_for_delivery(unsigned limit, unsigned wanted);

#endif
