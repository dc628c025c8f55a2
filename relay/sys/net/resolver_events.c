/*
 * One struct watch per ub_event. Its timer is one of the loop's; its descriptor
 * is watched by a uv_poll_t that lives from add to del: libunbound closes the
 * descriptor right after del, and a new one may get the same number at once, so
 * the poll handle must let go of it inside del (uv_close() does; only the
 * memory waits for the next turn).
 *
 * Timeouts fire once also for persistent events, as in libunbound's built-in
 * event loop.
 */
#include "relay/sys/net/resolver_events.h"

#include <stdlib.h>
#include <sys/time.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/loop_internal.h"

struct base {
    struct ub_event_base super;
    struct loop *loop;
};

struct watch;

struct poller {
    uv_poll_t handle;
    struct watch *watch;
};

struct watch {
    struct ub_event super;
    struct loop *loop;
    int fd;
    short bits;
    void (*call)(int fd, short bits, void *arg);
    void *arg;
    struct poller *poller; /* NULL: the descriptor is not watched */
    struct timer timer;
};

static struct watch *
watch_of(struct ub_event *ev)
{
    return container_of(ev, struct watch, super);
}

static void
on_poller_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
watch_stop(struct watch *w)
{
    timer_cancel(&w->timer);
    if (w->poller == NULL)
        return;
    uv_close((uv_handle_t *)&w->poller->handle, on_poller_closed);
    w->poller = NULL;
}

/* The callback may free the event: nothing touches it afterwards. */
static void
watch_fire(struct watch *w, short bits)
{
    if ((w->bits & UB_EV_PERSIST) == 0)
        watch_stop(w);
    w->call(w->fd, bits, w->arg);
}

static void
on_poll(uv_poll_t *handle, int status, int events)
{
    struct watch *w = ((struct poller *)handle->data)->watch;
    int bits = status < 0 ? UB_EV_READ | UB_EV_WRITE : 0;
    bits |= (events & UV_READABLE) != 0 ? UB_EV_READ : 0;
    bits |= (events & UV_WRITABLE) != 0 ? UB_EV_WRITE : 0;
    bits &= w->bits;
    if (bits != 0)
        watch_fire(w, (short)bits);
}

static void
on_timer(struct timer *t)
{
    watch_fire(container_of(t, struct watch, timer), UB_EV_TIMEOUT);
}

static uint64_t
ms_of(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000 + (uint64_t)(tv->tv_usec + 999) / 1000;
}

static int
poller_start(struct watch *w)
{
    if (w->poller == NULL) {
        struct poller *p = calloc(1, sizeof(*p));
        BUG_ON(p == NULL);
        if (uv_poll_init(loop_uv(w->loop), &p->handle, w->fd) != 0) {
            free(p);
            return -1;
        }
        p->handle.data = p;
        p->watch = w;
        w->poller = p;
    }
    int events = (w->bits & UB_EV_READ) != 0 ? UV_READABLE : 0;
    events |= (w->bits & UB_EV_WRITE) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&w->poller->handle, events, on_poll) == 0 ? 0 : -1;
}

static void
ev_add_bits(struct ub_event *ev, short bits)
{
    watch_of(ev)->bits |= bits;
}

static void
ev_del_bits(struct ub_event *ev, short bits)
{
    struct watch *w = watch_of(ev);
    w->bits = (short)(w->bits & ~bits);
}

static void
ev_set_fd(struct ub_event *ev, int fd)
{
    struct watch *w = watch_of(ev);
    watch_stop(w);
    w->fd = fd;
}

static void
ev_free(struct ub_event *ev)
{
    watch_stop(watch_of(ev));
    free(watch_of(ev));
}

static int
ev_add(struct ub_event *ev, struct timeval *tv)
{
    struct watch *w = watch_of(ev);
    if (tv != NULL && (w->bits & UB_EV_TIMEOUT) != 0)
        timer_start(&w->timer, ms_of(tv));
    if (w->fd < 0 || (w->bits & (UB_EV_READ | UB_EV_WRITE)) == 0)
        return 0;
    return poller_start(w);
}

static int
ev_del(struct ub_event *ev)
{
    watch_stop(watch_of(ev));
    return 0;
}

static int
ev_add_timer(struct ub_event *ev, struct ub_event_base *base, void (*cb)(int, short, void *),
             void *arg, struct timeval *tv)
{
    (void)base;
    struct watch *w = watch_of(ev);
    w->call = cb;
    w->arg = arg;
    timer_start(&w->timer, ms_of(tv));
    return 0;
}

/* libunbound's contract: signal events are never asked for in a library. */
static int
ev_add_signal(struct ub_event *ev, struct timeval *tv)
{
    (void)ev;
    (void)tv;
    return -1;
}

static void
ev_no_wouldblock(struct ub_event *ev, int bit)
{
    (void)ev;
    (void)bit;
}

static struct ub_event_vmt event_vmt = {
    .add_bits = ev_add_bits,
    .del_bits = ev_del_bits,
    .set_fd = ev_set_fd,
    .free = ev_free,
    .add = ev_add,
    .del = ev_del,
    .add_timer = ev_add_timer,
    .del_timer = ev_del,
    .add_signal = ev_add_signal,
    .del_signal = ev_del,
    .winsock_unregister_wsaevent = ev_free,
    .winsock_tcp_wouldblock = ev_no_wouldblock,
};

static struct ub_event *
base_new_event(struct ub_event_base *ub, int fd, short bits, void (*cb)(int, short, void *),
               void *arg)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->super.magic = UB_EVENT_MAGIC;
    w->super.vmt = &event_vmt;
    w->loop = container_of(ub, struct base, super)->loop;
    w->fd = fd;
    w->bits = bits;
    w->call = cb;
    w->arg = arg;
    timer_init(&w->timer, w->loop, on_timer);
    return &w->super;
}

static struct ub_event *
base_new_signal(struct ub_event_base *ub, int fd, void (*cb)(int, short, void *), void *arg)
{
    (void)ub;
    (void)fd;
    (void)cb;
    (void)arg;
    return NULL;
}

static struct ub_event *
base_no_wsaevent(struct ub_event_base *ub, void *ws, void (*cb)(int, short, void *), void *arg)
{
    (void)ws;
    return base_new_signal(ub, -1, cb, arg);
}

static int
base_dispatch(struct ub_event_base *ub)
{
    (void)ub;
    return 0;
}

static int
base_loopexit(struct ub_event_base *ub, struct timeval *tv)
{
    (void)ub;
    (void)tv;
    return 0;
}

/* The tables cannot be const: libunbound's types are not. Nobody writes them. */
static struct ub_event_base_vmt base_vmt = {
    .free = resolver_events_free,
    .dispatch = base_dispatch,
    .loopexit = base_loopexit,
    .new_event = base_new_event,
    .new_signal = base_new_signal,
    .winsock_register_wsaevent = base_no_wsaevent,
};

struct ub_event_base *
resolver_events_new(struct loop *l)
{
    struct base *b = calloc(1, sizeof(*b));
    BUG_ON(b == NULL);
    b->super.magic = UB_EVENT_MAGIC;
    b->super.vmt = &base_vmt;
    b->loop = l;
    return &b->super;
}

void
resolver_events_free(struct ub_event_base *base)
{
    free(container_of(base, struct base, super));
}
