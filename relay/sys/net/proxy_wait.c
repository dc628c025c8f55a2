/*
 * Happy path: proxy_wait_start(); the socket becomes readable; what is there is
 * looked at without taking it; the header is taken and on_client() called.
 *
 * Ways it ends: no header, a late one, a connection that is closed or broken,
 * too many that wait, proxy_waits_close(): the descriptor is closed.
 */
#include "relay/sys/net/proxy_wait.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/fd_watch.h"
#include "relay/sys/net/proxy.h"

struct proxy_wait {
    struct proxy_waits *all;
    struct list_node node;
    int fd;
    struct net_address proxy;
    struct fd_watch *watch;
    struct timer timer;
    struct buf taken; /* the beginning of the header */
};

static void
forget(struct proxy_wait *p)
{
    list_remove(&p->node);
    p->all->count--;
    fd_watch_close(p->watch);
    timer_cancel(&p->timer);
    buf_fini(&p->taken);
    free(p);
}

static void
refuse(struct proxy_wait *p, const char *why)
{
    char ip[64];
    int fd = p->fd;
    net_address_format_ip(&p->proxy, ip);
    LOG(LOG_NOTICE, "listener.proxy-refused", LF_STR("proxy", ip), LF_STR("why", why));
    forget(p);
    close(fd);
}

/* How a proxy finds out that we are alive: nothing to write home about. */
static void
end(struct proxy_wait *p)
{
    int fd = p->fd;
    forget(p);
    close(fd);
}

static void
on_timer(struct timer *t)
{
    refuse(container_of(t, struct proxy_wait, timer), "no header came in time");
}

static void
hand_over(struct proxy_wait *p, const struct proxy_header *h)
{
    struct proxy_waits *all = p->all;
    struct net_address peer = h->proxied ? h->client : p->proxy;
    int fd = p->fd;
    forget(p);
    all->on_client(all, fd, &peer);
}

/* Takes exactly n octets that are known to be there. */
static bool
take(struct proxy_wait *p, size_t n)
{
    char *to = buf_reserve(&p->taken, n);
    BUG_ON(to == NULL);
    if (recv(p->fd, to, n, 0) != (ssize_t)n)
        return false;
    buf_commit(&p->taken, n);
    return true;
}

/* As long as the header is not whole, all that came belongs to it and is taken:
 * so the socket does not stay readable. */
static void
on_readable(void *owner, int fd)
{
    struct proxy_wait *p = owner;
    struct proxy_header h;
    char seen[PROXY_HEADER_MAX];
    size_t before = p->taken.len;
    ssize_t n = recv(fd, seen, sizeof seen - before, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        before == 0 ? end(p) : refuse(p, "closed within the header");
        return;
    }
    BUG_ON(!buf_add(&p->taken, slice_from(seen, (size_t)n)));
    enum parse r = proxy_header_parse(buf_slice(&p->taken), &h);
    buf_truncate(&p->taken, before);
    size_t part = r == PARSE_OK ? h.bytes - before : (size_t)n;
    if (r == PARSE_BAD)
        refuse(p, "not a header");
    else if (!take(p, part))
        refuse(p, "the connection broke");
    else if (r == PARSE_OK)
        hand_over(p, &h);
}

void
proxy_waits_init(struct proxy_waits *w, struct loop *l,
                 void (*on_client)(struct proxy_waits *w, int fd, const struct net_address *peer))
{
    *w = (struct proxy_waits){.loop = l, .on_client = on_client};
    list_init(&w->waiting);
}

void
proxy_wait_start(struct proxy_waits *w, int fd, const struct net_address *proxy)
{
    struct err err;
    struct proxy_wait *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    *p = (struct proxy_wait){.all = w, .fd = fd, .proxy = *proxy};
    buf_init(&p->taken, PROXY_HEADER_MAX);
    timer_init(&p->timer, w->loop, on_timer);
    list_node_init(&p->node);
    list_push(&w->waiting, &p->node);
    w->count++;
    p->watch =
        w->count <= PROXY_WAITS_MAX ? fd_watch_open(w->loop, fd, on_readable, p, &err) : NULL;
    if (p->watch == NULL)
        refuse(p, "too many connections wait for a header");
    else
        timer_start(&p->timer, clock_scaled_ms(PROXY_HEADER_TIMEOUT_MS));
}

void
proxy_waits_close(struct proxy_waits *w)
{
    LIST_EACH(&w->waiting, n)
    end(container_of(n, struct proxy_wait, node));
}
