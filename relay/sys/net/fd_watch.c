#include "relay/sys/net/fd_watch.h"

#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/loop_internal.h"

struct fd_watch {
    uv_poll_t handle;
    int fd;
    void (*on_readable)(void *owner, int fd);
    void *owner;
};

static void
on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* An error of the descriptor is found by whoever reads it. */
static void
on_poll(uv_poll_t *handle, int status, int events)
{
    struct fd_watch *w = handle->data;
    (void)status;
    (void)events;
    w->on_readable(w->owner, w->fd);
}

struct fd_watch *
fd_watch_open(struct loop *l, int fd, void (*on_readable)(void *owner, int fd), void *owner,
              struct err *err)
{
    struct fd_watch *w = calloc(1, sizeof(*w));
    BUG_ON(w == NULL);
    w->fd = fd;
    w->on_readable = on_readable;
    w->owner = owner;
    w->handle.data = w;
    int rc = uv_poll_init(loop_uv(l), &w->handle, fd);
    if (rc != 0) {
        free(w);
        err_set(err, ERR_IO, "watch descriptor %d: %s", fd, uv_err_name(rc));
        return NULL;
    }
    w->handle.data = w;
    rc = uv_poll_start(&w->handle, UV_READABLE | UV_DISCONNECT, on_poll);
    if (rc != 0) {
        uv_close((uv_handle_t *)&w->handle, on_closed);
        err_set(err, ERR_IO, "watch descriptor %d: %s", fd, uv_err_name(rc));
        return NULL;
    }
    return w;
}

void
fd_watch_close(struct fd_watch *w)
{
    if (w != NULL)
        uv_close((uv_handle_t *)&w->handle, on_closed);
}
