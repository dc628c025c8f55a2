/*
 * Happy path: a checker is started on a socket in a directory of its own; MX, A,
 * AAAA and TXT are asked for, DMARC's tree is walked and SPF is checked for each
 * address, all at once; when nothing is left to wait for, the report.
 * Ways it ends: as above. DNS that does not answer and a checker that dies end
 * each question by a time limit.
 */
#include "relay/cli/check_domain.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "dkim/checker_client.h"
#include "dkim/txt.h"
#include "relay/cli/check_report.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/process.h"
#include "relay/sys/proc/child.h"
#include "relay/wire/address.h"
#include "relay/wire/text.h"

/* Nobody has it (RFC 5737): what of a record does not depend on the address. */
#define TRIAL_IP "203.0.113.253"

enum {
    EXIT_MEND = 1,
    QUESTIONS = 4, /* MX, A, AAAA, TXT */
    CHECKER_STARTS_MAX = 2 * CHECK_DOMAIN_IPS_MAX + 1,
};

struct check_options {
    char domain[ADDRESS_CANONICAL_MAX];
    char forward[80]; /* "127.0.0.1@53"; "" for full recursion */
    const char *ips[CHECK_DOMAIN_IPS_MAX];
    unsigned ip_count;
    bool json;
};

struct ip_check {
    struct check_op op;
    struct domain_check *owner;
};

struct domain_check {
    const struct check_options *options;
    struct loop *loop;
    struct resolver *resolver;

    char dir[64], path[96];
    int listen_fd, control_fd; /* ours; -1: none */
    struct process *process;
    unsigned starts;
    bool ending;
    struct checker_client *client;

    struct dns_query mx, a, aaaa, txt, dmarc;
    struct dmarc_walk walk;
    struct ip_check checks[CHECK_DOMAIN_IPS_MAX];
    unsigned pending;
    struct domain_facts facts;
};

/* --- options --- */

static const char USAGE[] =
    "usage: stagepost check domain NAME [--dns ADDR:PORT] [--from-ip IP]... [--json]\n"
    "Would receivers believe mail from NAME, sent from these addresses? Says what to publish.\n"
    "--dns asks this server only. Exit code: 0 good, 1 something to mend, 75 DNS trouble.\n";

enum option_id { O_DNS, O_IP, O_JSON, O_HELP };

static const struct option OPTIONS[] = {
    {"dns", required_argument, NULL, O_DNS},
    {"from-ip", required_argument, NULL, O_IP},
    {"json", no_argument, NULL, O_JSON},
    {"help", no_argument, NULL, O_HELP},
    {NULL, 0, NULL, 0},
};

static int
complain(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "stagepost check domain: %s %s: %s\n", option, value, wanted);
    return EX_USAGE;
}

static int
dns_option(struct check_options *o, const char *value)
{
    struct net_address a;
    char ip[64];
    if (!net_address_parse(slice_str(value), &a) || a.kind == NET_UNIX)
        return complain("--dns", value, "an ADDRESS:PORT is wanted");
    net_address_format_ip(&a, ip);
    snprintf(o->forward, sizeof o->forward, "%s@%u", ip, (unsigned)a.port);
    return 0;
}

static int
ip_option(struct check_options *o, const char *value)
{
    struct spf_mail m;
    if (!spf_mail_set(&m, slice_str(value), SLICE_NONE, SLICE("a.example"), SLICE_NONE))
        return complain("--from-ip", value, "an IPv4 or IPv6 address is wanted");
    if (o->ip_count == CHECK_DOMAIN_IPS_MAX)
        return complain("--from-ip", value, "too many addresses");
    o->ips[o->ip_count++] = value;
    return 0;
}

/* U-labels become A-labels; a domain that can send has at least two labels. */
static int
domain_argument(struct check_options *o, const char *value)
{
    struct buf b;
    struct slice text = slice_str(value);
    if (text.n > 0 && text.p[text.n - 1] == '.')
        text.n--;
    buf_init(&b, sizeof o->domain - 1);
    bool ok = domain_add_canonical(text, &b) &&
              slice_to_cstr(buf_slice(&b), o->domain, sizeof o->domain) &&
              domain_is_ldh(buf_slice(&b)) && strchr(o->domain, '.') != NULL;
    buf_fini(&b);
    return ok ? 0 : complain("NAME", value, "a domain name is wanted");
}

/* 0, or an exit code plus one, so that 0 can be one. */
static int
parse_options(struct check_options *o, int argc, char **argv)
{
    int id, code = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (id == O_DNS)
            code = dns_option(o, optarg);
        else if (id == O_IP)
            code = ip_option(o, optarg);
        else if (id == O_JSON)
            o->json = true;
        else {
            fputs(USAGE, id == O_HELP ? stdout : stderr);
            return id == O_HELP ? EX_OK + 1 : EX_USAGE + 1;
        }
        if (code != 0)
            return code + 1;
    }
    if (optind + 1 != argc) {
        fputs(USAGE, stderr);
        return EX_USAGE + 1;
    }
    code = domain_argument(o, argv[optind]);
    return code != 0 ? code + 1 : 0;
}

/* --- the checker --- */

static int start_checker(struct domain_check *d, struct err *err);

static void
on_checker_exit(void *owner, int code, int signal)
{
    struct domain_check *d = owner;
    struct err err = {0};
    (void)code;
    (void)signal;
    process_free(d->process);
    d->process = NULL;
    close(d->control_fd);
    d->control_fd = -1;
    if (!d->ending && d->starts < CHECKER_STARTS_MAX && start_checker(d, &err) != 0)
        fprintf(stderr, "stagepost check domain: %s\n", err.text);
}

static int
start_checker(struct domain_check *d, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set_errno(err, ERR_IO, "socketpair");
    int fds[CHECKER_FD_END] = {-1, STDERR_FILENO, STDERR_FILENO};
    for (int i = CHILD_FD_CONTROL; i < CHECKER_FD_END; i++)
        fds[i] = -1;
    fds[CHILD_FD_CONTROL] = pair[1];
    fds[CHECKER_FD_LISTEN] = d->listen_fd;
    char *argv[] = {(char *)(uintptr_t) "stagepost", (char *)(uintptr_t) "child",
                    (char *)(uintptr_t) "checker",   (char *)(uintptr_t) "0",
                    (char *)(uintptr_t) "-",         (char *)(uintptr_t) "-",
                    (char *)(uintptr_t) "-",         NULL};
    struct process_spec spec = {
        .file = "/proc/self/exe", .argv = argv, .fds = fds, .fd_count = CHECKER_FD_END};
    d->starts++;
    d->process = process_start(d->loop, &spec, on_checker_exit, d, err);
    close(pair[1]);
    if (d->process == NULL) {
        close(pair[0]);
        return -1;
    }
    d->control_fd = pair[0];
    return 0;
}

static int
open_checker(struct domain_check *d, struct err *err)
{
    struct net_address at = {.kind = NET_UNIX};
    snprintf(d->dir, sizeof d->dir, "/tmp/stagepost-check-XXXXXX");
    if (mkdtemp(d->dir) == NULL) {
        d->dir[0] = '\0';
        return err_set_errno(err, ERR_IO, "a directory below /tmp");
    }
    snprintf(d->path, sizeof d->path, "%s/checker", d->dir);
    snprintf(at.path, sizeof at.path, "%s", d->path);
    d->listen_fd = net_listen(&at, false, false, err);
    if (d->listen_fd < 0 || start_checker(d, err) != 0)
        return -1;
    d->client = checker_client_new(d->loop, d->resolver, d->path);
    return 0;
}

/* The checker has nothing to lose, and may hang. */
static void
close_checker(struct domain_check *d)
{
    d->ending = true;
    checker_client_free(d->client);
    if (d->process != NULL) {
        process_kill(d->process, SIGKILL);
        process_free(d->process);
        close(d->control_fd);
    }
    if (d->listen_fd >= 0)
        close(d->listen_fd);
    if (d->path[0] != '\0')
        unlink(d->path);
    if (d->dir[0] != '\0')
        rmdir(d->dir);
}

/* --- what is asked --- */

static void
one_done(struct domain_check *d)
{
    if (--d->pending == 0)
        loop_stop(d->loop);
}

static void
on_mx(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, mx);
    char host[ADDRESS_DOMAIN_MAX + 1];
    uint16_t preference;
    d->facts.mx_status = q->status;
    for (unsigned i = 0; i < q->count; i++) {
        if (!dns_mx_parse(q->records[i], &preference, host))
            continue;
        if (d->facts.mx_count < CHECK_MX_SHOWN)
            memcpy(d->facts.mx[d->facts.mx_count], host, sizeof host);
        d->facts.mx_count++;
        d->facts.null_mx = host[0] == '\0' && q->count == 1;
    }
    dns_query_fini(q);
    one_done(d);
}

static void
on_a(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, a);
    d->facts.a_status = q->status;
    dns_query_fini(q);
    one_done(d);
}

static void
on_aaaa(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, aaaa);
    d->facts.aaaa_status = q->status;
    dns_query_fini(q);
    one_done(d);
}

static void
on_txt(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, txt);
    d->facts.txt_status = q->status;
    for (unsigned i = 0; i < q->count; i++) {
        struct buf text;
        buf_init(&text, TXT_BYTES_MAX);
        if (txt_join(q->records[i], &text) && spf_record_is(buf_slice(&text)) &&
            d->facts.spf_count++ == 0)
            slice_to_cstr(buf_slice(&text), d->facts.spf, sizeof d->facts.spf);
        buf_fini(&text);
    }
    dns_query_fini(q);
    one_done(d);
}

/* --- DMARC --- */

static void
keep_dmarc(struct domain_check *d, struct slice rdata)
{
    struct domain_facts *f = &d->facts;
    struct buf text;
    buf_init(&text, TXT_BYTES_MAX);
    if (txt_join(rdata, &text) && dmarc_record_claimed(buf_slice(&text)) &&
        f->dmarc_count < DMARC_QUESTIONS_MAX) {
        unsigned i = f->dmarc_count++;
        snprintf(f->dmarc[i].name, sizeof f->dmarc[i].name, "%s", dmarc_walk_question(&d->walk));
        snprintf(f->dmarc[i].text, sizeof f->dmarc[i].text, "%.*s", SLICE_FMT(buf_slice(&text)));
    }
    buf_fini(&text);
}

static void
on_dmarc(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, dmarc);
    for (unsigned i = 0; i < q->count; i++)
        keep_dmarc(d, q->records[i]);
    dmarc_walk_answer(&d->walk, q->status, q->records, q->count);
    dns_query_fini(q);
    const char *name = dmarc_walk_question(&d->walk);
    if (name == NULL)
        one_done(d);
    else
        dns_query_start(q, d->resolver, name, DNS_TXT, CHECK_DNS_TIMEOUT_MS, on_dmarc);
}

static void
on_check(struct check_op *op)
{
    struct ip_check *check = container_of(op, struct ip_check, op);
    struct domain_check *d = check->owner;
    d->facts.ips[check - d->checks].verdict = op->verdict;
    one_done(d);
}

static void
ask_spf(struct domain_check *d)
{
    const struct check_options *o = d->options;
    d->facts.ip_count = o->ip_count;
    for (unsigned i = 0; i == 0 || i < o->ip_count; i++) {
        const char *ip = o->ip_count > 0 ? o->ips[i] : TRIAL_IP;
        struct check_op *op = &d->checks[i].op;
        bool ok =
            spf_mail_set(&op->mail, slice_str(ip), SLICE_NONE, slice_str(o->domain), SLICE_NONE);
        BUG_ON(!ok);
        snprintf(d->facts.ips[i].text, sizeof d->facts.ips[i].text, "%s", ip);
        op->done = on_check;
        d->checks[i].owner = d;
        d->pending++;
        check_start(op, d->client);
    }
}

static void
ask_all(struct domain_check *d)
{
    const char *name = d->options->domain;
    d->facts.domain = name;
    d->facts.walk = &d->walk;
    d->pending = QUESTIONS;
    dns_query_start(&d->mx, d->resolver, name, DNS_MX, CHECK_DNS_TIMEOUT_MS, on_mx);
    dns_query_start(&d->a, d->resolver, name, DNS_A, CHECK_DNS_TIMEOUT_MS, on_a);
    dns_query_start(&d->aaaa, d->resolver, name, DNS_AAAA, CHECK_DNS_TIMEOUT_MS, on_aaaa);
    dns_query_start(&d->txt, d->resolver, name, DNS_TXT, CHECK_DNS_TIMEOUT_MS, on_txt);
    if (dmarc_walk_start(&d->walk, slice_str(name))) {
        d->pending++;
        dns_query_start(&d->dmarc, d->resolver, dmarc_walk_question(&d->walk), DNS_TXT,
                        CHECK_DNS_TIMEOUT_MS, on_dmarc);
    }
    ask_spf(d);
}

/* --- the command --- */

static int
report(const struct domain_check *d)
{
    static const int codes[] = {[FINDING_GOOD] = EX_OK,
                                [FINDING_NOTE] = EX_OK,
                                [FINDING_TROUBLE] = EX_TEMPFAIL,
                                [FINDING_MEND] = EXIT_MEND};
    struct buf out;
    buf_init(&out, CHECK_REPORT_MAX);
    enum finding_level worst =
        d->options->json ? check_report_json(&d->facts, &out) : check_report_text(&d->facts, &out);
    fwrite(buf_slice(&out).p, 1, buf_slice(&out).n, stdout);
    buf_fini(&out);
    return codes[worst];
}

static int
check_domain(const struct check_options *o)
{
    struct domain_check *d = calloc(1, sizeof *d);
    struct err err = {0};
    BUG_ON(d == NULL);
    *d = (struct domain_check){.options = o, .listen_fd = -1, .control_fd = -1};
    d->loop = loop_new();
    const struct resolver_config dns = {.forward = o->forward[0] != '\0' ? o->forward : NULL,
                                        .no_special_zones = o->forward[0] != '\0'};
    int code = EX_SOFTWARE;
    d->resolver = resolver_new(d->loop, &dns, &err);
    if (d->resolver != NULL && open_checker(d, &err) == 0) {
        ask_all(d);
        loop_run(d->loop);
        code = report(d);
    } else {
        fprintf(stderr, "stagepost check domain: %s\n", err.text);
    }
    close_checker(d);
    if (d->resolver != NULL)
        resolver_free(d->resolver);
    loop_run(d->loop);
    loop_free(d->loop);
    free(d);
    return code;
}

int
check_domain_main(int argc, char **argv)
{
    struct check_options o = {.json = false};
    int code = parse_options(&o, argc, argv);
    if (code != 0)
        return code - 1;
    log_init("check", 0, LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    return check_domain(&o);
}
