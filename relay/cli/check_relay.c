/*
 * Happy path: one question after the other, each with a loop turned until it is
 * answered; a line for each.
 * Ways it ends: as above; what does not answer ends by the time limits of the
 * modules that ask.
 */
#include "relay/cli/check_relay.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/deliver/dial.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/tls.h"
#include "relay/wire/address.h"

static const char USAGE[] =
    "usage: stagepost check relay [-c FILE] [--to DOMAIN]\n"
    "Does the gateway answer, at its control socket and at each listener of FILE? How long is\n"
    "the certificate valid? With --to: can mail servers of DOMAIN be reached from here? Exit\n"
    "code: 0 good, 1 something to mend.\n"
    "  --state DIR    the control socket only, of this state directory\n";

enum {
    EXIT_MEND = 1,
    CERT_DAYS_LEAST = 14, /* a renewal has failed for a while: ACME clients begin at 30 */
    CONNECT_MS = 10000,
    TLS_MS = 10000,
    INPUT_BYTES = 64 << 10,
};

struct relay_check {
    struct cli cli;
    const char *to;
    struct config_file *file; /* NULL: only the control socket is known */
    const struct config *config;
    struct loop *loop;
    struct tls_context *tls;
    bool mend;
};

static void say(struct relay_check *k, bool good, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void
say(struct relay_check *k, bool good, const char *what, const char *fmt, ...)
{
    struct buf line;
    va_list args;
    buf_init(&line, VERDICT_TEXT_MAX + 1024);
    buf_addf(&line, "%-5s %s: ", good ? "ok" : "MEND", what);
    va_start(args, fmt);
    buf_vaddf(&line, fmt, args);
    va_end(args);
    cli_print(buf_slice(&line));
    buf_fini(&line);
    k->mend = k->mend || !good;
}

/* ---- the control socket ---------------------------------------------------------- */

static void
check_control(struct relay_check *k)
{
    struct client_request q = {.method = "GET", .path = "/readyz"};
    struct client_answer a;
    struct err err = {0};
    int rc = client_ask(&k->cli.place.socket, &q, &a, &err);
    struct slice body = buf_slice(&a.body);
    json_t *j = json_loadb(body.n > 0 ? body.p : "", body.n, 0, NULL);
    if (rc != 0)
        say(k, false, "gateway", "%s", err.text);
    else if (a.status == 200)
        say(k, true, "gateway", "it accepts mail (%s)", k->cli.place.socket.path);
    else
        say(k, false, "gateway", "it accepts no mail: %.*s", SLICE_FMT(cli_text(j, "reason")));
    json_decref(j);
    buf_fini(&a.body);
}

/* ---- the certificate -------------------------------------------------------------- */

static void
check_certificate(struct relay_check *k)
{
    int days = 0, seconds = 0;
    const char *path = k->config->tls_cert_path;
    BIO *in = BIO_new_file(path, "r");
    X509 *cert = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    if (cert == NULL)
        say(k, false, "certificate", "%s cannot be read", path);
    else if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1)
        say(k, false, "certificate", "%s has no date that can be read", path);
    else if (days < 0 || seconds < 0)
        say(k, false, "certificate", "%s ended %d days ago", path, -days);
    else
        say(k, days >= CERT_DAYS_LEAST, "certificate", "%s is valid for %d more days", path, days);
    X509_free(cert);
    BIO_free(in);
}

/* ---- listeners ------------------------------------------------------------------- */

/* One visit; SMTP by the client that deliveries use, the others up to the TLS
 * handshake. */
struct visit {
    struct relay_check *check;
    const char *what; /* "smtp 127.0.0.1:587" */
    bool over_tls;
    struct client_env env;
    struct client *client;
    struct client_user user;
    struct connect_op connect;
    struct stream *stream;
    struct stream_user stream_user;
    struct tls_op tls;
};

static void
client_ready(struct client_user *u)
{
    struct visit *v = container_of(u, struct visit, user);
    bool tls = client_is_tls(v->client);
    say(v->check, tls, v->what, tls ? "it answers, with STARTTLS" : "it offers no STARTTLS");
    client_quit(v->client);
    loop_stop(v->check->loop);
}

static void
client_closed(struct client_user *u)
{
    struct visit *v = container_of(u, struct visit, user);
    say(v->check, false, v->what, "%s", client_failure(v->client)->text);
    client_free(v->client);
    loop_stop(v->check->loop);
}

static void
visit_smtp(struct visit *v, const struct net_address *at)
{
    client_env_init(&v->env, v->check->loop, v->check->config->hostname, v->check->tls);
    v->user = (struct client_user){.on_ready = client_ready, .on_closed = client_closed};
    v->client = client_open(&v->env, v->check->config->hostname, at, true, &v->user);
    loop_run(v->check->loop);
    while (client_env_busy(&v->env))
        loop_run(v->check->loop);
    client_env_fini(&v->env);
}

static void
ignore_input(struct stream_user *u)
{
    (void)u;
}

static void
ignore_end(struct stream_user *u, const struct err *why)
{
    (void)u;
    (void)why;
}

static void
visit_ends(struct visit *v, const struct err *why)
{
    if (why->code == ERR_NONE)
        say(v->check, true, v->what, "it answers%s", v->over_tls ? ", with TLS" : "");
    else
        say(v->check, false, v->what, "%s", why->text);
    if (v->stream != NULL)
        stream_close(v->stream);
    loop_stop(v->check->loop);
}

static void
on_tls(struct tls_op *op)
{
    visit_ends(container_of(op, struct visit, tls), &op->err);
}

static void
on_connected(struct connect_op *op)
{
    struct visit *v = container_of(op, struct visit, connect);
    v->stream = op->stream;
    if (op->stream == NULL || !v->over_tls) {
        visit_ends(v, &op->err);
        return;
    }
    v->stream_user = (struct stream_user){.on_input = ignore_input, .on_end = ignore_end};
    stream_set_user(v->stream, &v->stream_user);
    stream_start_tls(v->stream, &v->tls, v->check->tls, slice_str(v->check->config->hostname),
                     TLS_MS, on_tls);
}

static void
visit_other(struct visit *v, const struct net_address *at)
{
    v->connect.done = on_connected;
    connect_start(&v->connect, v->check->loop, at, CONNECT_MS, INPUT_BYTES);
    loop_run(v->check->loop);
}

/* Where one gets to a listener that is bound to every address. */
static const char *
reachable(const char *address)
{
    if (strcmp(address, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(address, "::") == 0 ? "::1" : address;
}

static void
check_listener(struct relay_check *k, const struct config_listener *l)
{
    static const char *const KINDS[] = {[CONFIG_SMTP] = "smtp",
                                        [CONFIG_SMTPS] = "smtps",
                                        [CONFIG_HTTP] = "http",
                                        [CONFIG_HTTPS] = "https"};
    char text[160], what[192];
    struct net_address at;
    struct visit v = {.check = k, .what = what};
    BUG_ON(!net_address_from_ip(slice_str(reachable(l->address)), l->port, &at));
    net_address_format(&at, text);
    snprintf(what, sizeof what, "%s %s", KINDS[l->kind], text);
    v.over_tls = l->kind == CONFIG_SMTPS || l->kind == CONFIG_HTTPS;
    if (l->kind == CONFIG_SMTP)
        visit_smtp(&v, &at);
    else
        visit_other(&v, &at);
}

/* ---- the way out ------------------------------------------------------------------ */

struct way_out {
    struct relay_check *check;
    struct client_env env;
    struct route_op route;
    struct dial_op dial;
};

static void
on_route(struct route_op *op)
{
    loop_stop(container_of(op, struct way_out, route)->check->loop);
}

static void
on_dialed(struct dial_op *op)
{
    struct way_out *w = container_of(op, struct way_out, dial);
    struct relay_check *k = w->check;
    if (op->client != NULL) {
        say(k, true, "way out", "%s takes our mail%s", client_mx(op->client),
            client_is_tls(op->client) ? ", with STARTTLS" : ", without TLS");
        client_quit(op->client);
    } else {
        say(k, false, "way out", "%s: %s%s", op->mx, op->failure.text,
            op->failure.code == 0 ? " (is port 25 open to the outside here?)" : "");
    }
    loop_stop(k->loop);
}

static void
dial(struct way_out *w, struct hosts *hosts)
{
    const struct config *c = w->check->config;
    client_env_init(&w->env, w->check->loop, c->hostname, w->check->tls);
    w->dial.done = on_dialed;
    dial_start(&w->dial, &w->env, hosts, w->route.route);
    loop_run(w->check->loop);
    while (client_env_busy(&w->env))
        loop_run(w->check->loop);
    client_env_fini(&w->env);
}

static void
go_out(struct relay_check *k, struct resolver *resolver)
{
    const struct config *c = k->config;
    struct route_config cfg = {.resolver = resolver,
                               .mx_port = c->mx_port,
                               .allow_loopback = c->loopback_only,
                               .own_name = c->hostname};
    struct way_out w = {.check = k};
    route_start(&w.route, k->loop, &cfg, slice_str(k->to), on_route);
    loop_run(k->loop);
    struct hosts *hosts = hosts_new();
    if (w.route.route->verdict == ROUTE_OK)
        dial(&w, hosts);
    else
        say(k, false, "way out", "%s: %s", k->to, w.route.route->text);
    hosts_free(hosts);
    route_free(w.route.route);
}

static void
check_way_out(struct relay_check *k)
{
    const struct config *c = k->config;
    struct err err = {0};
    struct resolver_config dns = {.forward = c->dns_forward[0] != '\0' ? c->dns_forward : NULL};
    struct resolver *resolver = resolver_new(k->loop, &dns, &err);
    if (resolver == NULL)
        say(k, false, "way out", "%s", err.text);
    else
        go_out(k, resolver);
    if (resolver != NULL)
        resolver_free(resolver);
}

/* ---- the command ------------------------------------------------------------------ */

static void
check_all(struct relay_check *k)
{
    struct err err = {0};
    check_control(k);
    if (k->config == NULL)
        return;
    k->loop = loop_new();
    k->tls = tls_client_opportunistic_new(&err);
    if (k->tls == NULL)
        say(k, false, "TLS", "%s", err.text);
    check_certificate(k);
    for (unsigned i = 0; k->tls != NULL && i < k->config->listener_count; i++)
        check_listener(k, &k->config->listeners[i]);
    if (k->tls != NULL && k->to != NULL)
        check_way_out(k);
    tls_context_free(k->tls);
    loop_run(k->loop);
    loop_free(k->loop);
}

/* The file that was named, or the default one when no state directory was. */
static int
read_config(struct relay_check *k)
{
    const char *path = k->cli.config != NULL ? k->cli.config : CONFIG_DEFAULT_PATH;
    if (k->cli.state != NULL || (k->cli.config == NULL && k->cli.place.development))
        return EX_OK;
    k->file = config_file_read(path);
    if (config_file_errors(k->file) > 0) {
        config_file_print(k->file, stderr);
        return EX_CONFIG;
    }
    k->config = &config_file_draft(k->file)->config;
    return EX_OK;
}

static int
run(struct relay_check *k)
{
    int code = cli_open(&k->cli);
    if (code == EX_OK)
        code = read_config(k);
    if (code == EX_OK && k->config == NULL && k->to != NULL)
        code = cli_usage(&k->cli, "--to needs the configuration file");
    if (code == EX_OK && k->to != NULL && !domain_is_ldh(slice_str(k->to)))
        code = cli_usage(&k->cli, "--to %s: not a domain name (international ones as xn--)", k->to);
    if (code == EX_OK) {
        check_all(k);
        code = k->mend ? EXIT_MEND : EX_OK;
    }
    config_file_free(k->file);
    return code;
}

int
check_relay_main(int argc, char **argv)
{
    enum { O_TO = 1 };
    static const struct option OPTIONS[] = {{"to", required_argument, NULL, O_TO}, CLI_OPTIONS};
    struct relay_check k = {.cli = {.name = "check relay", .usage = USAGE}};
    int id, code;
    optind = 1;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (id == O_TO)
            k.to = optarg;
        else if (!cli_option(&k.cli, id, optarg, &code))
            return code;
    if (optind < argc)
        return cli_usage(&k.cli, "%s: not an option", argv[optind]);
    log_init("check", 0, LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    return run(&k);
}
