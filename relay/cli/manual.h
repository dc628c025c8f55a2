/*
 * The manual page stagepost.conf(5), written from the table of keys (keys.h), so
 * that it cannot say anything else than the program does.
 */
#ifndef STAGEPOST_CLI_MANUAL_H
#define STAGEPOST_CLI_MANUAL_H

#include "relay/sys/base/buf.h"

/* Appends the page, in the man(7) macros. */
void manual_write(struct buf *out);

#endif
