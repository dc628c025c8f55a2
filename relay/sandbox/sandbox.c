/*
 * Happy path: everything opened, the loop runs, the control descriptor ends,
 * everything is closed, the loop runs until the store's last batch is done.
 * Ways it ends: so; or something could not be opened.
 */
#include "relay/sandbox/sandbox.h"

#include <errno.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/sandbox/dns.h"
#include "relay/sandbox/mx.h"
#include "relay/sandbox/store.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/fd_watch.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/net/tls.h"

struct sandbox {
    struct loop *loop;
    struct fd_watch *control;
    struct store *store;
    struct tls_context *tls;
    struct sandbox_mx *mx;
    struct sandbox_dns *dns;
};

/* Nothing is left that waits: the loop ends when the store is idle. */
static void
sandbox_close(struct sandbox *s)
{
    sandbox_mx_close(s->mx);
    sandbox_dns_close(s->dns);
    fd_watch_close(s->control);
    s->mx = NULL;
    s->dns = NULL;
    s->control = NULL;
}

static void
on_control(void *owner, int fd)
{
    char ignored[256];
    ssize_t n = read(fd, ignored, sizeof(ignored));
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    LOG0(LOG_INFO, "sandbox.end");
    sandbox_close(owner);
}

static int
sandbox_open(struct sandbox *s, const struct sandbox_config *cfg, struct err *err)
{
    unsigned captures_max = cfg->captures_max != 0 ? cfg->captures_max : SANDBOX_CAPTURES_MAX;
    s->control = fd_watch_open(s->loop, cfg->control_fd, on_control, s, err);
    if (s->control == NULL)
        return -1;
    s->store = store_open(s->loop, cfg->capture_dir, captures_max, err);
    if (s->store == NULL)
        return -1;
    if (cfg->tls_cert_path != NULL) {
        s->tls = tls_server_new(cfg->tls_cert_path, cfg->tls_key_path, err);
        if (s->tls == NULL)
            return -1;
    }
    s->dns = sandbox_dns_open(s->loop, cfg->dns_udp_fd, cfg->dns_tcp_fd, cfg->dkim, cfg->dkim_count,
                              err);
    if (s->dns == NULL)
        return -1;
    s->mx = sandbox_mx_open(s->loop, cfg->mx_fd, s->store, s->tls, err);
    return s->mx != NULL ? 0 : -1;
}

int
sandbox_run(const struct sandbox_config *cfg)
{
    struct sandbox s = {.loop = loop_new()};
    struct err err = {0};
    int code = EX_OK;
    net_only_loopback();
    if (sandbox_open(&s, cfg, &err) == 0) {
        LOG0(LOG_INFO, "sandbox.ready");
    } else {
        LOG(LOG_ERROR, "sandbox.open-failed", LF_ERR(&err));
        sandbox_close(&s);
        code = EX_TEMPFAIL;
    }
    loop_run(s.loop);
    store_close(s.store);
    tls_context_free(s.tls);
    loop_free(s.loop);
    close(cfg->control_fd);
    return code;
}
