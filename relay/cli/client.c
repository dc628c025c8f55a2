/*
 * Happy path: connect, send the request, read the head and then as many bytes as
 * it announces. The socket never blocks; poll() waits, until the deadline.
 *
 * Ways it ends: as the header says. A gateway that answers before it has read
 * the whole request (413) is listened to: a failed send only ends the sending.
 */
#include "relay/cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/cli/answer.h"
#include "relay/cli/check_config.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"
#include "relay/sys/proc/sockets.h"

enum { READ_BYTES = 64 << 10, PAUSE_MS = 500, MS_PER_S = 1000 };

/* ---- finding it ------------------------------------------------------------ */

bool
client_dev_state(char out[256])
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg != NULL && xdg[0] == '/')
        n = snprintf(out, 256, "%s/stagepost-dev", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, 256, "%s/.local/state/stagepost-dev", home);
    return n > 0 && n < 256;
}

static int
use_state(struct client_place *p, const char *dir, struct err *err)
{
    char marker[300];
    if (!slice_to_cstr(slice_str(dir), p->state_dir, sizeof p->state_dir) ||
        !sockets_operators_path(slice_str(dir), &p->socket))
        return err_set(err, ERR_CONFIG, "%.80s...: the path is too long", dir);
    snprintf(marker, sizeof marker, "%s/development", p->state_dir);
    p->development = access(marker, F_OK) == 0;
    if (p->development && p->credential[0] == '\0')
        snprintf(p->credential, sizeof p->credential, "dev");
    return 0;
}

/* Errors in the file are not this command's: only what it needs is looked at. */
static int
use_config(struct client_place *p, const char *path, struct err *err)
{
    struct config_file *f = config_file_read(path);
    const struct config_draft *draft = config_file_draft(f);
    const struct config *c = &draft->config;
    int rc = -1;
    if (draft->sendmail_credential != NULL)
        slice_to_cstr(slice_str(draft->sendmail_credential), p->credential, sizeof p->credential);
    if (c->state_dir == NULL || c->state_dir[0] == '\0' || access(path, R_OK) != 0)
        err_set(err, ERR_CONFIG, "%s cannot be read", path);
    else
        rc = use_state(p, c->state_dir, err);
    if (rc == 0 && c->hostname != NULL)
        slice_to_cstr(slice_str(c->hostname), p->hostname, sizeof p->hostname);
    if (rc == 0 && draft->user != NULL)
        slice_to_cstr(slice_str(draft->user), p->user, sizeof p->user);
    config_file_free(f);
    return rc;
}

static bool
is_there(const struct client_place *p)
{
    return access(p->socket.path, F_OK) == 0;
}

static int
use_defaults(struct client_place *p, struct err *err)
{
    char dev[256];
    struct client_place production = {.development = false};
    struct err ignored;
    bool readable = use_config(&production, CONFIG_DEFAULT_PATH, &ignored) == 0 ||
                    use_state(&production, CONFIG_DEFAULT_STATE, &ignored) == 0;
    if (readable && is_there(&production)) {
        *p = production;
        return 0;
    }
    if (client_dev_state(dev) && use_state(p, dev, err) == 0 && is_there(p))
        return 0;
    *p = production;
    return 0;
}

int
client_find(struct client_place *p, const char *state_dir, const char *config, struct err *err)
{
    *p = (struct client_place){.development = false};
    const char *said = getenv("STAGEPOST_STATE");
    if (config != NULL && use_config(p, config, err) != 0)
        return -1;
    if (state_dir != NULL)
        return use_state(p, state_dir, err);
    if (config != NULL)
        return 0;
    return said != NULL && said[0] != '\0' ? use_state(p, said, err) : use_defaults(p, err);
}

/* ---- one request ------------------------------------------------------------ */

struct exchange {
    int fd;
    uint64_t deadline_ms;
    struct buf in;
};

static int
connect_to(const struct net_address *at, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, at->path, sizeof to.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (errno == EACCES || errno == EPERM)
        err_set(err, ERR_REFUSED, "%s: you may not open it", at->path);
    else
        err_set_errno(err, ERR_AWAY, "no gateway is running at %s", at->path);
    close(fd);
    return -1;
}

/* False: the time is up. */
static bool
wait_for(struct exchange *x, short events)
{
    uint64_t now = clock_mono_ms();
    struct pollfd p = {.fd = x->fd, .events = events};
    while (now < x->deadline_ms) {
        if (poll(&p, 1, (int)(x->deadline_ms - now)) > 0)
            return true;
        now = clock_mono_ms();
    }
    return false;
}

/* -1: out of time. What cannot be sent is no failure: the answer tells. */
static int
send_all(struct exchange *x, struct slice s, struct err *err)
{
    while (s.n > 0) {
        ssize_t n = send(x->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            s = slice_skip(s, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return 0;
        else if (!wait_for(x, POLLOUT))
            return err_set(err, ERR_TIMEOUT, "the gateway did not read the request in time");
    }
    return 0;
}

static int
send_request(struct exchange *x, const struct client_request *q, struct err *err)
{
    struct buf head;
    if (q->path == NULL)
        return err_set(err, ERR_FULL, "the request is too long");
    buf_init(&head, HTTP_HEADER_BYTES_MAX);
    buf_addf(&head, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", q->method,
             q->path);
    if (q->credential != NULL)
        buf_addf(&head, "X-Stagepost-Credential: %s\r\n", q->credential);
    if (q->idempotency_key != NULL)
        buf_addf(&head, "Idempotency-Key: %s\r\n", q->idempotency_key);
    if (q->content_type != NULL)
        buf_addf(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n", q->content_type, q->body.n);
    buf_add_str(&head, "\r\n");
    int rc = head.overflowed ? err_set(err, ERR_FULL, "the request is too long")
                             : send_all(x, buf_slice(&head), err);
    buf_fini(&head);
    return rc == 0 ? send_all(x, q->body, err) : -1;
}

/* Reads once more; -1 at the end of what comes. */
static int
read_more(struct exchange *x, struct err *err)
{
    char *to = buf_reserve(&x->in, READ_BYTES);
    if (to == NULL)
        return err_set(err, ERR_FULL, "the answer is longer than a command can show");
    for (;;) {
        ssize_t n = recv(x->fd, to, READ_BYTES, MSG_DONTWAIT);
        if (n > 0) {
            buf_commit(&x->in, (size_t)n);
            return 0;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return err_set(err, ERR_UNKNOWN, "the gateway hung up without an answer");
        if (!wait_for(x, POLLIN))
            return err_set(err, ERR_TIMEOUT, "the gateway did not answer in time");
    }
}

static int
read_answer(struct exchange *x, struct client_answer *a, struct err *err)
{
    struct answer_head head;
    enum parse cut;
    struct slice in;
    for (;;) {
        in = buf_slice(&x->in);
        cut = answer_cut_head(&in, &head);
        if (cut != PARSE_MORE)
            break;
        if (in.n > HTTP_HEADER_BYTES_MAX)
            return err_set(err, ERR_BAD, "the answer has no end of its head");
        if (read_more(x, err) != 0)
            return -1;
    }
    if (cut == PARSE_BAD)
        return err_set(err, ERR_BAD, "the answer is not one of a gateway");
    if (head.body_bytes > CLI_ANSWER_MAX)
        return err_set(err, ERR_FULL, "the answer is longer than a command can show");
    buf_consume(&x->in, buf_slice(&x->in).n - in.n);
    while (x->in.len < head.body_bytes)
        if (read_more(x, err) != 0)
            return -1;
    a->status = head.status;
    a->retry_after_s = head.retry_after_s;
    buf_add(&a->body, slice_from(buf_slice(&x->in).p, (size_t)head.body_bytes));
    return 0;
}

int
client_ask(const struct net_address *at, const struct client_request *q, struct client_answer *a,
           struct err *err)
{
    uint64_t limit_ms = q->timeout_ms > 0 ? q->timeout_ms : CLI_TIMEOUT_MS;
    struct exchange x = {.deadline_ms = clock_mono_ms() + limit_ms};
    *a = (struct client_answer){.status = 0};
    buf_init(&a->body, CLI_ANSWER_MAX);
    x.fd = connect_to(at, err);
    if (x.fd < 0)
        return -1;
    buf_init(&x.in, CLI_ANSWER_MAX + HTTP_HEADER_BYTES_MAX + READ_BYTES);
    int rc = send_request(&x, q, err);
    if (rc == 0)
        rc = read_answer(&x, a, err);
    buf_fini(&x.in);
    close(x.fd);
    return rc;
}

/* ---- patience --------------------------------------------------------------- */

/* 409: our own earlier try is still being worked on. */
static bool
may_pass(int rc, const struct client_answer *a, const struct err *err)
{
    if (rc != 0)
        return err->code == ERR_UNKNOWN;
    return a->status == 409 || a->status == 503 || a->status == 504;
}

int
client_ask_patiently(const struct net_address *at, const struct client_request *q,
                     struct client_answer *a, struct err *err)
{
    uint64_t until = clock_mono_ms() + CLI_PATIENCE_MS;
    for (;;) {
        int rc = client_ask(at, q, a, err);
        uint64_t pause_ms = rc == 0 ? a->retry_after_s * MS_PER_S : 0;
        if (pause_ms < PAUSE_MS)
            pause_ms = PAUSE_MS;
        if (!may_pass(rc, a, err) || clock_mono_ms() + pause_ms > until)
            return rc;
        buf_fini(&a->body);
        poll(NULL, 0, (int)pause_ms);
    }
}

/* ---- exit codes ------------------------------------------------------------- */

int
client_exit_of_err(const struct err *err)
{
    switch (err->code) {
    case ERR_AWAY:
        return EX_UNAVAILABLE;
    case ERR_REFUSED:
        return EX_NOPERM;
    case ERR_CONFIG:
        return EX_CONFIG;
    case ERR_TIMEOUT:
    case ERR_UNKNOWN:
        return EX_TEMPFAIL;
    case ERR_FULL:
        return EX_DATAERR;
    default:
        return EX_SOFTWARE;
    }
}

int
client_exit_of_status(unsigned status)
{
    static const struct {
        unsigned status;
        int code;
    } CODES[] = {{401, EX_NOPERM},   {403, EX_NOPERM},   {404, EX_NOINPUT},
                 {408, EX_TEMPFAIL}, {429, EX_TEMPFAIL}, {500, EX_SOFTWARE}};
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (CODES[i].status == status)
            return CODES[i].code;
    if (status >= 200 && status < 300)
        return EX_OK;
    return status >= 500 ? EX_TEMPFAIL : EX_DATAERR;
}
