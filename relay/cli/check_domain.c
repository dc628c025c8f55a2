/*
 * Happy path: a checker is started on a socket in a directory of its own; MX, A,
 * AAAA and TXT are asked for, DMARC's tree is walked and SPF is checked for each
 * address, all at once; when nothing is left to wait for, the report.
 * Ways it ends: as above. DNS that does not answer and a checker that dies end
 * each question by a time limit.
 */
#include "relay/cli/check_domain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "dkim/checker_client.h"
#include "dkim/txt.h"
#include "relay/cli/check_options.h"
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
    QUESTIONS = 6, /* MX, A, AAAA, TXT, MTA-STS, TLS-RPT */
    CHECKS_MAX =
        2 * CHECK_DOMAIN_IPS_MAX + 1, /* each address, for the domain and for HELO; trial */
    CHECKER_STARTS_MAX = 2 * CHECKS_MAX + 1,
};

struct ip_check {
    struct check_op op;
    struct spf_verdict *out;
    struct domain_check *owner;
};

struct mx_host {
    struct dns_query a, aaaa;
    struct domain_check *owner;
};

struct key_check {
    struct dns_query query;
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

    struct dns_query mx, a, aaaa, txt, dmarc, mta_sts, tls_rpt;
    struct key_check keys[KEYS_PER_DOMAIN_MAX];
    struct named_address {
        struct names_check check;
        struct domain_check *owner;
    } names[CHECK_DOMAIN_IPS_MAX];
    struct dmarc_walk walk;
    struct mx_host hosts[CHECK_MX_SHOWN];
    struct ip_check checks[CHECKS_MAX];
    unsigned check_count;
    unsigned pending;
    struct domain_facts facts;
};

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

/* One address is enough; without, trouble leaves it open. */
static void
note_host(struct mx_host *h, struct dns_query *q)
{
    enum names_answer *found = &h->owner->facts.mx_found[h - h->owner->hosts];
    if (q->status == DNS_OK)
        *found = NAMES_YES;
    else if (q->status == DNS_TEMP && *found == NAMES_NO)
        *found = NAMES_UNKNOWN;
    dns_query_fini(q);
    one_done(h->owner);
}

static void
on_host_a(struct dns_query *q)
{
    note_host(container_of(q, struct mx_host, a), q);
}

static void
on_host_aaaa(struct dns_query *q)
{
    note_host(container_of(q, struct mx_host, aaaa), q);
}

static void
ask_hosts(struct domain_check *d)
{
    for (unsigned i = 0; i < d->facts.mx_count && i < CHECK_MX_SHOWN && !d->facts.null_mx; i++) {
        struct mx_host *h = &d->hosts[i];
        h->owner = d;
        d->pending += 2;
        dns_query_start(&h->a, d->resolver, d->facts.mx[i], DNS_A, CHECK_DNS_TIMEOUT_MS, on_host_a);
        dns_query_start(&h->aaaa, d->resolver, d->facts.mx[i], DNS_AAAA, CHECK_DNS_TIMEOUT_MS,
                        on_host_aaaa);
    }
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
    ask_hosts(d);
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
keep_txt(struct domain_facts *f, struct slice text)
{
    if (spf_record_is(text)) {
        unsigned i = f->spf_count++;
        if (i == 0)
            slice_to_cstr(text, f->spf, sizeof f->spf);
        else if (i <= CHECK_SPF_SHOWN)
            snprintf(f->spf_more[i - 1], sizeof f->spf_more[i - 1], "%.*s", SLICE_FMT(text));
    } else if (slice_starts_nocase(text, SLICE("v=spf1"))) {
        snprintf(f->spf_like, sizeof f->spf_like, "%.*s", SLICE_FMT(text));
    }
    f->dmarc_like |= dmarc_record_claimed(text);
}

static void
on_txt(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, txt);
    d->facts.txt_status = q->status;
    for (unsigned i = 0; i < q->count; i++) {
        struct buf text;
        buf_init(&text, TXT_BYTES_MAX);
        if (txt_join(q->records[i], &text))
            keep_txt(&d->facts, buf_slice(&text));
        buf_fini(&text);
    }
    dns_query_fini(q);
    one_done(d);
}

/* --- transport security --- */

/* How many records of the kind there are, and the first, as it is published. */
static unsigned
keep_text(const struct dns_query *q, struct slice version, char *out, size_t cap)
{
    unsigned found = 0;
    for (unsigned i = 0; i < q->count; i++) {
        struct buf text;
        buf_init(&text, TXT_BYTES_MAX);
        if (txt_join(q->records[i], &text) && slice_starts(buf_slice(&text), version) &&
            found++ == 0)
            snprintf(out, cap, "%.*s", SLICE_FMT(buf_slice(&text)));
        buf_fini(&text);
    }
    return found;
}

static void
on_mta_sts(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, mta_sts);
    d->facts.mta_sts_status = q->status;
    d->facts.mta_sts_count =
        keep_text(q, SLICE("v=STSv1"), d->facts.mta_sts, sizeof d->facts.mta_sts);
    dns_query_fini(q);
    one_done(d);
}

static void
on_tls_rpt(struct dns_query *q)
{
    struct domain_check *d = container_of(q, struct domain_check, tls_rpt);
    d->facts.tls_rpt_status = q->status;
    d->facts.tls_rpt_count =
        keep_text(q, SLICE("v=TLSRPTv1"), d->facts.tls_rpt, sizeof d->facts.tls_rpt);
    dns_query_fini(q);
    one_done(d);
}

static void
ask_transport(struct domain_check *d)
{
    char name[ADDRESS_CANONICAL_MAX + sizeof "_smtp._tls."];
    snprintf(name, sizeof name, "_mta-sts.%s", d->options->domain);
    dns_query_start(&d->mta_sts, d->resolver, name, DNS_TXT, CHECK_DNS_TIMEOUT_MS, on_mta_sts);
    snprintf(name, sizeof name, "_smtp._tls.%s", d->options->domain);
    dns_query_start(&d->tls_rpt, d->resolver, name, DNS_TXT, CHECK_DNS_TIMEOUT_MS, on_tls_rpt);
}

/* --- our keys, and the names of our addresses --- */

static void
on_key(struct dns_query *q)
{
    struct key_check *k = container_of(q, struct key_check, query);
    struct domain_check *d = k->owner;
    struct key_fact *fact = &d->facts.keys[k - d->keys];
    fact->state = published_judge(slice_str(fact->record), q->status, q->records, q->count);
    if (fact->state == PUBLISHED_BROKEN)
        fact->fault = published_fault(q->records, q->count);
    fact->testing = published_is_testing(q->records, q->count);
    dns_query_fini(q);
    one_done(d);
}

static void
ask_keys(struct domain_check *d, const struct config *c)
{
    struct domain_facts *f = &d->facts;
    char name[(size_t)2 * ADDRESS_DOMAIN_MAX + sizeof "._domainkey."];
    for (unsigned i = 0; i < c->dkim_key_count && f->key_count < KEYS_PER_DOMAIN_MAX; i++) {
        const struct config_dkim_key *key = &c->dkim_keys[i];
        if (strcmp(key->domain, f->domain) != 0)
            continue;
        struct key_check *k = &d->keys[f->key_count];
        f->keys[f->key_count++] =
            (struct key_fact){.selector = key->selector, .record = key->record};
        k->owner = d;
        d->pending++;
        snprintf(name, sizeof name, "%s._domainkey.%s", key->selector, f->domain);
        dns_query_start(&k->query, d->resolver, name, DNS_TXT, CHECK_DNS_TIMEOUT_MS, on_key);
    }
}

static void
on_names(struct names_check *op)
{
    one_done(container_of(op, struct named_address, check)->owner);
}

static void
ask_names(struct domain_check *d, const struct config *c)
{
    for (unsigned i = 0; i < d->options->ip_count; i++) {
        struct names_check *n = &d->names[i].check;
        const struct spf_mail *m = &d->checks[1 + i].op.mail; /* behind the trial */
        n->done = on_names;
        n->ipv6 = m->ipv6;
        memcpy(n->ip, m->ip, sizeof n->ip);
        snprintf(n->helo, sizeof n->helo, "%s", c->hostname);
        d->names[i].owner = d;
        d->facts.names[i] = n;
        d->pending++;
        names_check_start(n, d->resolver);
    }
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
        f->dmarc[i].fault = dmarc_record_fault(buf_slice(&text));
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

/* --- SPF --- */

static void
on_check(struct check_op *op)
{
    struct ip_check *check = container_of(op, struct ip_check, op);
    *check->out = op->verdict;
    one_done(check->owner);
}

/* false: the domain cannot have an SPF record. */
static bool
ask_check(struct domain_check *d, const char *ip, const char *domain, struct spf_verdict *out)
{
    struct ip_check *check = &d->checks[d->check_count];
    if (!spf_mail_set(&check->op.mail, slice_str(ip), SLICE_NONE, slice_str(domain), SLICE_NONE))
        return false;
    *check =
        (struct ip_check){.op = {.done = on_check, .mail = check->op.mail}, .out = out, .owner = d};
    d->check_count++;
    d->pending++;
    check_start(&check->op, d->client);
    return true;
}

static void
ask_spf(struct domain_check *d)
{
    const struct check_options *o = d->options;
    bool ok = ask_check(d, TRIAL_IP, o->domain, &d->facts.trial);
    d->facts.ip_count = o->ip_count;
    for (unsigned i = 0; i < o->ip_count; i++) {
        snprintf(d->facts.ips[i].text, sizeof d->facts.ips[i].text, "%s", o->ips[i]);
        ok &= ask_check(d, o->ips[i], o->domain, &d->facts.ips[i].verdict);
    }
    BUG_ON(!ok);
}

/* --- the gateway --- */

static void
ask_helo(struct domain_check *d, const struct config *c)
{
    struct domain_facts *f = &d->facts;
    for (unsigned i = 0; i < f->ip_count && strcmp(c->hostname, f->domain) != 0; i++)
        f->helo_asked = ask_check(d, f->ips[i].text, c->hostname, &f->helo_spf[i]);
}

static void
ask_gateway(struct domain_check *d)
{
    if (d->options->file == NULL)
        return;
    const struct config *c = &config_file_draft(d->options->file)->config;
    d->facts.gateway = true;
    d->facts.hostname = c->hostname;
    ask_keys(d, c);
    ask_names(d, c);
    ask_helo(d, c);
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
    ask_transport(d);
    ask_spf(d);
    ask_gateway(d); /* behind ask_spf(), which has read the addresses */
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
    log_init("check", 0, LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    int code = check_options_parse(&o, argc, argv);
    if (code == 0) {
        code = check_domain(&o) + 1;
    }
    config_file_free(o.file);
    return code - 1;
}
