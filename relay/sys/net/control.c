#include "relay/sys/net/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/net/fd_watch.h"

enum { FDS_WAITING_MAX = 4, LINES_MAX = 8 * CONTROL_LINE_MAX };

/* Room for the ancillary data of one descriptor. */
union ancillary {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

struct control {
    struct control_user *user;
    struct fd_watch *watch;
    struct buf in;
    int fds[FDS_WAITING_MAX];
    unsigned fd_count;
    bool *closed; /* set when the user closes it inside a callback */
};

bool
control_send(int socket_fd, struct slice line, int with_fd)
{
    union ancillary a = {.bytes = {0}};
    struct iovec piece = {.iov_base = (char *)(uintptr_t)line.p, .iov_len = line.n};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    BUG_ON(line.n == 0 || line.n > CONTROL_LINE_MAX || line.p[line.n - 1] != '\n');
    if (with_fd >= 0) {
        m.msg_control = a.bytes;
        m.msg_controllen = sizeof a.bytes;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &with_fd, sizeof with_fd);
    }
    return sendmsg(socket_fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)line.n;
}

static void
keep_fd(struct control *c, struct msghdr *m)
{
    struct cmsghdr *h = CMSG_FIRSTHDR(m);
    int fd;
    if (h == NULL || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
        return;
    memcpy(&fd, CMSG_DATA(h), sizeof fd);
    if (c->fd_count == FDS_WAITING_MAX)
        close(fd); /* nobody takes them: its line will find none */
    else
        c->fds[c->fd_count++] = fd;
}

int
control_take_fd(struct control *c)
{
    if (c->fd_count == 0)
        return -1;
    int fd = c->fds[0];
    c->fd_count--;
    memmove(c->fds, c->fds + 1, c->fd_count * sizeof c->fds[0]);
    return fd;
}

/* As recv(); what comes with a descriptor ends where that descriptor's bytes
 * end, so at most one comes at a time (unix(7)). */
static ssize_t
receive(struct control *c, int fd, char *to)
{
    union ancillary a;
    struct iovec piece = {.iov_base = to, .iov_len = CONTROL_LINE_MAX};
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = a.bytes,
                       .msg_controllen = sizeof a.bytes};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == ENOTSOCK)
        return read(fd, to, CONTROL_LINE_MAX);
    if (n > 0)
        keep_fd(c, &m);
    return n;
}

static void
give_lines(struct control *c)
{
    bool closed = false;
    c->closed = &closed;
    for (;;) {
        char line[CONTROL_LINE_MAX];
        struct slice in = buf_slice(&c->in);
        size_t at = slice_find(in, '\n');
        if (at == in.n)
            break;
        at = at < sizeof line ? at : sizeof line;
        memcpy(line, in.p, at);
        buf_consume(&c->in, slice_find(in, '\n') + 1);
        c->user->on_line(c->user, slice_from(line, at));
        if (closed)
            return;
    }
    c->closed = NULL;
}

static void
on_readable(void *owner, int fd)
{
    struct control *c = owner;
    char *to = buf_reserve(&c->in, CONTROL_LINE_MAX);
    ssize_t n = to != NULL ? receive(c, fd, to) : 0;
    if (n > 0) {
        buf_commit(&c->in, (size_t)n);
        give_lines(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        fd_watch_close(c->watch);
        c->watch = NULL;
        c->user->on_end(c->user);
    }
}

struct control *
control_open(struct loop *l, int fd, struct control_user *user, struct err *err)
{
    struct control *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->user = user;
    buf_init(&c->in, LINES_MAX);
    c->watch = fd_watch_open(l, fd, on_readable, c, err);
    if (c->watch == NULL) {
        control_close(c);
        return NULL;
    }
    return c;
}

void
control_close(struct control *c)
{
    if (c == NULL)
        return;
    if (c->closed != NULL)
        *c->closed = true;
    for (unsigned i = 0; i < c->fd_count; i++)
        close(c->fds[i]);
    fd_watch_close(c->watch);
    buf_fini(&c->in);
    free(c);
}
