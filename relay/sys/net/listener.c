/*
 * Listening sockets.
 *
 * Accepting is our own loop over accept4() instead of uv_listen(): when
 * descriptors run out, libuv accepts and closes everything that waits without a
 * word, and it empties the whole backlog in one turn. Here connections stay in
 * the backlog until there is room again (LISTEN_FULL_RETRY_MS), and the last
 * descriptors are left to Redis, DNS and deliveries; operators may have half of them.
 *
 * Happy path: listener_open(); on_accept for each connection, for that of a proxy
 * when its header was read.
 * Ways it ends: listener_close(), also inside on_accept.
 */
#include "relay/sys/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/address_internal.h"
#include "relay/sys/net/loop_internal.h"
#include "relay/sys/net/proxy_wait.h"
#include "relay/sys/net/stream_internal.h"

struct listener {
    uv_poll_t poll;
    struct loop *loop;
    int fd;
    size_t input_max;
    void (*on_accept)(void *owner, struct stream *s);
    void *owner;
    bool paused, closed;
    bool is_local; /* a unix socket: operators, who are needed most when all is full */
    bool full;     /* since the last connection that was accepted; said once */
    struct timer retry;
    struct net_prefix *proxies;
    unsigned proxy_count;
    struct proxy_waits waits;
};

/* Binding */

static int
open_socket(const struct net_address *at, struct err *err)
{
    static const int FAMILY[] = {[NET_IPV4] = AF_INET, [NET_IPV6] = AF_INET6, [NET_UNIX] = AF_UNIX};
    int fd = socket(FAMILY[at->kind], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "socket");
    int on = 1;
    if ((at->kind != NET_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) ||
        (at->kind == NET_IPV6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0)) {
        err_set_errno(err, ERR_IO, "setsockopt");
        close(fd);
        return -1;
    }
    return fd;
}

static int
bind_socket(int fd, const struct net_address *at, struct err *err)
{
    union net_sockaddr sa;
    char text[160];
    socklen_t n = net_address_to_sockaddr(at, &sa);
    if (bind(fd, &sa.any, n) == 0)
        return 0;
    net_address_format(at, text);
    return err_set_errno(err, ERR_IO, "bind %s", text);
}

/* Whether the path is a socket on which nobody listens: what a killed process
 * leaves behind. */
static bool
is_stale_socket(const struct net_address *at)
{
    struct err ignored;
    struct stat st;
    union net_sockaddr sa;
    socklen_t n = net_address_to_sockaddr(at, &sa);
    if (lstat(at->path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = open_socket(at, &ignored);
    if (fd < 0)
        return false;
    bool stale = connect(fd, &sa.any, n) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int
probe_port(const struct net_address *at, struct err *err)
{
    int fd = open_socket(at, err);
    if (fd < 0)
        return -1;
    int r = bind_socket(fd, at, err);
    close(fd);
    return r;
}

int
net_listen(const struct net_address *at, bool reuseport, bool probe, struct err *err)
{
    int on = 1;
    bool tcp = at->kind != NET_UNIX;
    if (tcp && probe && reuseport && at->port != 0 && probe_port(at, err) != 0)
        return -1;
    int fd = open_socket(at, err);
    if (fd < 0)
        return -1;
    if (tcp && reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        err_set_errno(err, ERR_IO, "SO_REUSEPORT");
        goto fail_opened;
    }
    if (!tcp && is_stale_socket(at))
        unlink(at->path);
    if (bind_socket(fd, at, err) != 0)
        goto fail_opened;
    if (listen(fd, LISTEN_BACKLOG) != 0) {
        err_set_errno(err, ERR_IO, "listen");
        goto fail_opened;
    }
    return fd;
fail_opened:
    close(fd);
    return -1;
}

int
net_bound_address(int fd, struct net_address *out, struct err *err)
{
    union net_sockaddr sa = {.any = {0}};
    socklen_t n = sizeof sa;
    if (getsockname(fd, &sa.any, &n) != 0)
        return err_set_errno(err, ERR_IO, "getsockname");
    if (!net_address_from_sockaddr(&sa, n, out))
        return err_set(err, ERR_BAD, "not an internet or unix socket");
    return 0;
}

/* Accepting */

static void on_ready(uv_poll_t *h, int status, int events);

static void
update_polling(struct listener *ln)
{
    if (ln->closed)
        return;
    if (ln->paused || timer_active(&ln->retry))
        uv_poll_stop(&ln->poll);
    else
        BUG_ON(uv_poll_start(&ln->poll, UV_READABLE, on_ready) != 0);
}

static void
on_retry(struct timer *t)
{
    update_polling(container_of(t, struct listener, retry));
}

static void
hand_over(struct listener *ln, int fd, const struct net_address *peer)
{
    struct stream *s = stream_new(ln->loop, peer, ln->input_max);
    if (stream_adopt(s, fd) != 0) {
        close(fd);
        stream_abort(s);
        return;
    }
    ln->on_accept(ln->owner, s);
}

static void
on_proxied(struct proxy_waits *w, int fd, const struct net_address *peer)
{
    hand_over(container_of(w, struct listener, waits), fd, peer);
}

/* Whether another connection leaves enough descriptors for everything else: the
 * lowest free number says how many are in use, nearly. errno is set. */
static bool
leaves_reserve(const struct listener *ln)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return true;
    rlim_t reserve = limit.rlim_cur / 4;
    if (reserve > LISTEN_RESERVED_DESCRIPTORS)
        reserve = LISTEN_RESERVED_DESCRIPTORS;
    if (ln->is_local)
        reserve /= 2;
    int lowest = fcntl(ln->fd, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0)
        return false;
    close(lowest);
    errno = EMFILE;
    return (rlim_t)lowest + reserve < limit.rlim_cur;
}

static void
wait_for_room(struct listener *ln)
{
    if (!ln->full)
        LOG(LOG_WARN, "listener.full", LF_STR("error", strerror(errno)));
    ln->full = true;
    timer_start(&ln->retry, LISTEN_FULL_RETRY_MS);
    update_polling(ln);
}

/* false: nothing (more) to accept in this turn. */
static bool
accept_one(struct listener *ln)
{
    union net_sockaddr sa = {.any = {0}};
    socklen_t n = sizeof sa;
    struct net_address peer;
    if (!leaves_reserve(ln)) {
        wait_for_room(ln);
        return false;
    }
    int fd = accept4(ln->fd, &sa.any, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
        return true; /* this one went away while it waited */
    if (fd < 0) {    /* out of descriptors or memory: the others wait in the backlog */
        wait_for_room(ln);
        return false;
    }
    ln->full = false;
    if (!net_address_from_sockaddr(&sa, n, &peer))
        close(fd);
    else if (net_prefixes_contain(ln->proxies, ln->proxy_count, &peer))
        proxy_wait_start(&ln->waits, fd, &peer);
    else
        hand_over(ln, fd, &peer);
    return true;
}

static void
on_poll_closed(uv_handle_t *h)
{
    struct listener *ln = h->data;
    free(ln->proxies);
    free(ln);
}

static void
on_ready(uv_poll_t *h, int status, int events)
{
    struct listener *ln = h->data;
    (void)status, (void)events; /* accept4() tells what is wrong */
    for (int i = 0; i < LISTEN_ACCEPTS_PER_TURN && !ln->closed && !ln->paused; i++)
        if (!accept_one(ln))
            return;
}

static bool
is_unix(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t n = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX;
}

struct listener *
listener_open(struct loop *l, int fd, size_t input_max,
              void (*on_accept)(void *owner, struct stream *s), void *owner, struct err *err)
{
    struct listener *ln = calloc(1, sizeof *ln);
    BUG_ON(ln == NULL);
    *ln = (struct listener){
        .loop = l, .fd = fd, .input_max = input_max, .on_accept = on_accept, .owner = owner};
    int r = uv_poll_init(loop_uv(l), &ln->poll, fd);
    if (r != 0) {
        net_err_uv(err, "listen", r);
        free(ln);
        return NULL;
    }
    ln->poll.data = ln;
    ln->is_local = is_unix(fd);
    timer_init(&ln->retry, l, on_retry);
    proxy_waits_init(&ln->waits, l, on_proxied);
    update_polling(ln);
    return ln;
}

void
listener_trust_proxies(struct listener *ln, const struct net_proxies *proxies)
{
    if (proxies == NULL || proxies->count == 0)
        return;
    BUG_ON(ln->proxies != NULL);
    ln->proxies = calloc(proxies->count, sizeof *ln->proxies);
    BUG_ON(ln->proxies == NULL);
    memcpy(ln->proxies, proxies->from, proxies->count * sizeof *ln->proxies);
    ln->proxy_count = proxies->count;
}

void
listener_pause(struct listener *ln)
{
    ln->paused = true;
    update_polling(ln);
}

void
listener_resume(struct listener *ln)
{
    ln->paused = false;
    update_polling(ln);
}

void
listener_close(struct listener *ln)
{
    if (ln == NULL)
        return;
    ln->closed = true;
    timer_cancel(&ln->retry);
    proxy_waits_close(&ln->waits);
    uv_close((uv_handle_t *)&ln->poll, on_poll_closed);
    close(ln->fd);
}
