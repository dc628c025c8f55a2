/*
 * Happy path: accept, READY; CHECK begins a check and runs it; ASK, and with
 * each ANSWER it runs again; VERDICT.
 * Ways it ends: a connection ends or breaks the protocol: its check is dropped;
 * the control descriptor ends: checker_run() returns.
 */
#include "dkim/checker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#include "dkim/check_protocol.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/fd_watch.h"
#include "relay/sys/net/listener.h"

enum { INPUT_BYTES = 2 * CHECK_FRAME_MAX, OUTPUT_FRAME_MAX = 1024 };

struct checker {
    struct loop *loop;
    struct listener *listener;
    struct fd_watch *control;
    struct list connections;
    unsigned connection_count;
};

struct connection {
    struct checker *checker;
    struct stream *stream;
    struct stream_user user;
    struct deferred turn; /* there may be another frame in the input */
    struct spf_check *check;
    uint64_t request;
    struct list_node node;
};

static void
send_frame(struct connection *c, struct buf *b, bool fits)
{
    BUG_ON(!fits);
    stream_send(c->stream, buf_slice(b));
    buf_fini(b);
}

/* libspf2 has been made to run for half a minute by a record of 2 KB. */
static enum spf_step
run_with_limit(struct spf_check *check)
{
    const struct itimerval limit = {.it_value.tv_sec = CHECK_CPU_S}, none = {.it_value.tv_sec = 0};
    setitimer(ITIMER_PROF, &limit, NULL);
    FAILPOINT("check.in-checker");
    enum spf_step step = spf_check_run(check);
    setitimer(ITIMER_PROF, &none, NULL);
    return step;
}

static void
run(struct connection *c)
{
    struct buf b;
    bool fits;
    enum dns_type type;
    buf_init(&b, OUTPUT_FRAME_MAX);
    if (run_with_limit(c->check) == SPF_ASK) {
        const char *name = spf_check_question(c->check, &type);
        fits = check_add_ask(&b, c->request, type, name);
    } else {
        fits = check_add_verdict(&b, c->request, spf_check_verdict(c->check));
        spf_check_free(c->check);
        c->check = NULL;
    }
    send_frame(c, &b, fits);
}

/* false: a breach of the protocol. */
static bool
on_message(struct connection *c, const struct check_message *m)
{
    if (m->type == CHECK_FRAME_CHECK && c->check == NULL) {
        c->check = spf_check_new(&m->mail);
        c->request = m->request;
    } else if (m->type == CHECK_FRAME_ANSWER && c->check != NULL && m->request == c->request) {
        spf_check_answer(c->check, m->status, m->records);
    } else {
        return false;
    }
    run(c);
    return true;
}

static void
drop_connection(struct connection *c)
{
    spf_check_free(c->check);
    deferred_cancel(&c->turn);
    list_remove(&c->node);
    c->checker->connection_count--;
    stream_abort(c->stream);
    free(c);
}

static void
serve(struct deferred *d)
{
    struct connection *c = container_of(d, struct connection, turn);
    struct slice input = stream_input(c->stream), rest = input;
    struct check_message m;
    enum parse p = check_message_cut(&rest, &m);
    if (p == PARSE_MORE)
        return;
    if (p == PARSE_BAD || !on_message(c, &m)) {
        LOG(LOG_ERROR, "checker.protocol", LF_B("malformed", p == PARSE_BAD));
        drop_connection(c);
        return;
    }
    stream_consume(c->stream, input.n - rest.n);
    if (rest.n > 0)
        deferred_schedule(&c->turn);
}

static void
on_input(struct stream_user *u)
{
    deferred_schedule(&container_of(u, struct connection, user)->turn);
}

static void
on_end(struct stream_user *u, const struct err *why)
{
    (void)why; /* askers come and go */
    drop_connection(container_of(u, struct connection, user));
}

static void
on_accept(void *owner, struct stream *stream)
{
    struct checker *k = owner;
    struct buf b;
    if (k->connection_count == CHECKER_CONNECTIONS_MAX) {
        LOG0(LOG_ERROR, "checker.too-many-connections");
        stream_abort(stream);
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->checker = k;
    c->stream = stream;
    c->user = (struct stream_user){.on_input = on_input, .on_end = on_end};
    list_node_init(&c->node);
    list_push(&k->connections, &c->node);
    k->connection_count++;
    deferred_init(&c->turn, k->loop, serve);
    stream_set_user(stream, &c->user);
    buf_init(&b, OUTPUT_FRAME_MAX);
    send_frame(c, &b, frame_add_header(&b, CHECK_FRAME_READY, 0, 0));
}

/* Nothing is said on it but that the starter lives. */
static void
on_control(void *owner, int fd)
{
    struct checker *k = owner;
    char ignored[64];
    ssize_t n = read(fd, ignored, sizeof ignored);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        loop_stop(k->loop);
}

/* The address space of a sanitizer is larger than any limit. The size of files is not
 * limited: the log may be one, and a line in it would end the process. */
static void
limit_process(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__
    const struct rlimit memory = {CHECKER_MEMORY_BYTES, CHECKER_MEMORY_BYTES};
    setrlimit(RLIMIT_AS, &memory);
#endif
}

int
checker_run(const struct checker_config *cfg)
{
    struct checker k = {.loop = loop_new()};
    struct err err = {0};
    limit_process();
    list_init(&k.connections);
    k.listener = listener_open(k.loop, cfg->listen_fd, INPUT_BYTES, on_accept, &k, &err);
    if (k.listener != NULL)
        k.control = fd_watch_open(k.loop, cfg->control_fd, on_control, &k, &err);
    if (k.control != NULL)
        loop_run(k.loop);
    else
        LOG(LOG_ERROR, "checker.start", LF_ERR(&err));
    LIST_EACH(&k.connections, it)
    drop_connection(container_of(it, struct connection, node));
    bool ran = k.control != NULL;
    fd_watch_close(k.control);
    listener_close(k.listener);
    loop_free(k.loop);
    close(cfg->control_fd);
    return ran ? EX_OK : EX_SOFTWARE;
}
