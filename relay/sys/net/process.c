/*
 * Happy path: process_start(); the child runs in a session of its own with the
 * descriptors asked for and no other; on_exit; process_free().
 *
 * Ways it ends: the child exits or is killed (on_exit); process_free() before
 * that: the handle stays as a lingerer until the child ends, so that it does not
 * become a zombie, without keeping the loop alive.
 */
#include "relay/sys/net/process.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/loop_internal.h"
#include "relay/sys/net/loop_linger.h"
#include "relay/sys/net/stream_internal.h"

enum { FIRST_OTHER_FD = 3 };

struct process {
    uv_process_t uv;
    struct loop *loop;
    void (*on_exit)(void *owner, int code, int signal);
    void *owner;
    pid_t pid;
    bool ended, freed;
    struct lingerer lingerer;
};

static void
on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void
close_handle(struct process *p)
{
    loop_remove_lingerer(&p->lingerer);
    uv_close((uv_handle_t *)&p->uv, on_closed);
}

static void
on_uv_exit(uv_process_t *uv, int64_t code, int signal)
{
    struct process *p = uv->data;
    p->ended = true;
    if (p->freed)
        close_handle(p);
    else
        p->on_exit(p->owner, (int)code, signal);
}

/* libuv opens /dev/null for the first three only: ours stands in for all. */
static int
spawn(struct process *p, const struct process_spec *spec, int null_fd)
{
    uv_stdio_container_t *stdio = calloc((size_t)spec->fd_count, sizeof *stdio);
    BUG_ON(stdio == NULL);
    for (int i = 0; i < spec->fd_count; i++) {
        stdio[i].flags = UV_INHERIT_FD;
        stdio[i].data.fd = spec->fds[i] >= 0 ? spec->fds[i] : null_fd;
    }
    uv_process_options_t options = {
        .exit_cb = on_uv_exit,
        .file = spec->file,
        .args = (char **)(uintptr_t)spec->argv,
        .env = (char **)(uintptr_t)spec->env,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = spec->fd_count,
        .stdio = stdio,
    };
    int r = uv_spawn(loop_uv(p->loop), &p->uv, &options);
    free(stdio);
    return r;
}

struct process *
process_start(struct loop *l, const struct process_spec *spec,
              void (*on_exit)(void *owner, int code, int signal), void *owner, struct err *err)
{
    BUG_ON(spec->fd_count < FIRST_OTHER_FD);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0) {
        err_set_errno(err, ERR_IO, "open /dev/null");
        return NULL;
    }
    struct process *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->loop = l;
    p->on_exit = on_exit;
    p->owner = owner;
    p->uv.data = p;
    list_node_init(&p->lingerer.node);
    /* Everything we open is close-on-exec; libraries may have forgotten it. The
     * call is missing before Linux 5.11: then we rely on ourselves. */
    (void)close_range(FIRST_OTHER_FD, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    int r = spawn(p, spec, null_fd);
    close(null_fd);
    if (r != 0) {
        net_err_uv(err, spec->file, r);
        uv_close((uv_handle_t *)&p->uv, on_closed);
        return NULL;
    }
    p->pid = p->uv.pid;
    return p;
}

pid_t
process_pid(const struct process *p)
{
    return p->pid;
}

void
process_kill(struct process *p, int signo)
{
    if (!p->ended)
        uv_process_kill(&p->uv, signo);
}

static void
end_lingering(struct lingerer *g)
{
    close_handle(container_of(g, struct process, lingerer));
}

void
process_free(struct process *p)
{
    if (p == NULL)
        return;
    p->freed = true;
    if (p->ended) {
        close_handle(p);
        return;
    }
    uv_unref((uv_handle_t *)&p->uv);
    loop_add_lingerer(p->loop, &p->lingerer, end_lingering);
}
