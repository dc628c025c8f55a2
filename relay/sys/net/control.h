/*
 * The channel between the supervisor and a child: lines over a unix stream
 * socket, some of them with a descriptor. Lines are short and few: what does
 * not fit into the socket's buffer is lost, as if the other side were gone.
 *
 * The reader's end may also be a pipe, which then only says that its other end
 * is open.
 */
#ifndef STAGEPOST_NET_CONTROL_H
#define STAGEPOST_NET_CONTROL_H

#include <stdbool.h>

#include "relay/sys/base/err.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/loop.h"

enum { CONTROL_LINE_MAX = 512 }; /* with its line feed */

/* `line` ends with a line feed. with_fd: a descriptor that the other side gets
 * a copy of; -1: none. false: it is not there. */
bool control_send(int socket_fd, struct slice line, int with_fd);

struct control_user {
    /* Without the line feed. May close the control. */
    void (*on_line)(struct control_user *u, struct slice line);
    /* Once: the other side is gone, or speaks another language. The control is
     * to be closed; no call comes after it. */
    void (*on_end)(struct control_user *u);
};

struct control;

/* The descriptor stays the caller's. */
struct control *control_open(struct loop *l, int fd, struct control_user *user, struct err *err);
/* The oldest descriptor that came and was not taken, for the caller to close;
 * -1: none. A line that comes with one is delivered after it. */
int control_take_fd(struct control *c);
void control_close(struct control *c); /* NULL is fine */

#endif
