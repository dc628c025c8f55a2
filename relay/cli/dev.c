#include "relay/cli/dev.h"

#include <crypt.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "dkim/keys.h"
#include "relay/accept/scram.h"
#include "relay/cli/devcert.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/proc/descriptors.h"
#include "relay/sys/proc/supervisor.h"

enum { EXIT_USAGE = 64, EXIT_SOFTWARE = 70, EXIT_TEMPFAIL = 75, EXIT_CONFIG = 78 };
enum dev_listener { DEV_SMTP, DEV_SMTPS, DEV_HTTP, DEV_LISTENERS };
enum { YESCRYPT_COST = 5 }; /* about 16 ms a password */
enum { CONNECTIONS_WANTED = 500 };

struct dev_options {
    struct socket_wishes wishes;
    uint16_t ports[DEV_LISTENERS];
    char state[256];
    struct net_address dns; /* port 0: the sandbox's */
    uint16_t mx_port;       /* 0: the sandbox's */
};

/* Everything that the configuration's strings point into. */
struct dev {
    struct dev_options options;
    unsigned descriptors; /* that each process may open */
    struct statedir dir;
    struct sockets sockets;
    struct devcert cert;
    char hash[2][CRYPT_OUTPUT_SIZE], scram[2][SCRAM_KEY_TEXT_MAX],
        key_sha256[2][2 * SHA256_DIGEST_LENGTH + 1];
    char key_record[2][KEY_RECORD_MAX];
    char key_path[2][256], redis[256], forward[80];
    const char *signer_paths[SIGNERS_MAX_HERE];
    struct config_listener listeners[DEV_LISTENERS];
    struct config_credential credentials[2];
    struct config_dkim_key dkim_keys[2];
    struct config config;
};

static const char *const ANY_SENDER[] = {"*"};
static const char *LOOPBACK[] = {"127.0.0.1"};
static const char *const EXAMPLE_ORG[] = {"example.org"};

/* ---- options ------------------------------------------------------------- */

static const char USAGE[] =
    "usage: stagepost dev [--smtp-port N] [--smtps-port N] [--http-port N] [--dns-port N]\n"
    "                     [--state DIR] [--workers N] [--signers N]\n"
    "                     [--dns ADDR:PORT] [--mx-port N]\n"
    "Ports: 0 picks a free one. --dns and --mx-port replace the sandbox's DNS and MX\n"
    "by others on loopback.\n";

enum option_id {
    O_SMTP,
    O_SMTPS,
    O_HTTP,
    O_DNS_PORT,
    O_STATE,
    O_WORKERS,
    O_SIGNERS,
    O_DNS,
    O_MX,
    O_HELP
};

static const struct option OPTIONS[] = {
    {"smtp-port", required_argument, NULL, O_SMTP},
    {"smtps-port", required_argument, NULL, O_SMTPS},
    {"http-port", required_argument, NULL, O_HTTP},
    {"dns-port", required_argument, NULL, O_DNS_PORT},
    {"state", required_argument, NULL, O_STATE},
    {"workers", required_argument, NULL, O_WORKERS},
    {"signers", required_argument, NULL, O_SIGNERS},
    {"dns", required_argument, NULL, O_DNS},
    {"mx-port", required_argument, NULL, O_MX},
    {"help", no_argument, NULL, O_HELP},
    {NULL, 0, NULL, 0},
};

static int
number_option(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    if (slice_to_u64(slice_str(text), out) && *out >= least && *out <= most)
        return 0;
    fprintf(stderr, "stagepost dev: --%s %s: a number from %llu to %llu is wanted\n", name, text,
            (unsigned long long)least, (unsigned long long)most);
    return -1;
}

static int
dns_option(struct dev_options *o, const char *text)
{
    if (net_address_parse(slice_str(text), &o->dns) && net_address_is_loopback(&o->dns) &&
        o->dns.kind != NET_UNIX)
        return 0;
    fprintf(stderr, "stagepost dev: --dns %s: a loopback ADDRESS:PORT is wanted\n", text);
    return -1;
}

static int
one_option(struct dev_options *o, int id, const char *name, const char *value)
{
    uint64_t n = 0;
    uint16_t *ports[] = {[O_SMTP] = &o->ports[DEV_SMTP],
                         [O_SMTPS] = &o->ports[DEV_SMTPS],
                         [O_HTTP] = &o->ports[DEV_HTTP],
                         [O_DNS_PORT] = &o->wishes.dns_port};
    if (id == O_DNS)
        return dns_option(o, value);
    if (id == O_STATE)
        return snprintf(o->state, sizeof o->state, "%s", value) < (int)sizeof o->state ? 0 : -1;
    bool is_count = id == O_WORKERS || id == O_SIGNERS;
    uint64_t least = is_count || id == O_MX ? 1 : 0, most = is_count ? WORKERS_MAX : UINT16_MAX;
    if (number_option(name, value, least, most, &n) != 0)
        return -1;
    if (id == O_WORKERS)
        o->wishes.workers = (unsigned)n;
    else if (id == O_SIGNERS)
        o->wishes.signers = (unsigned)n;
    else if (id == O_MX)
        o->mx_port = (uint16_t)n;
    else
        *ports[id] = (uint16_t)n;
    return 0;
}

static int
default_state(struct dev_options *o)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg != NULL && xdg[0] == '/')
        n = snprintf(o->state, sizeof o->state, "%s/stagepost-dev", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(o->state, sizeof o->state, "%s/.local/state/stagepost-dev", home);
    if (n > 0 && n < (int)sizeof o->state)
        return 0;
    fputs("stagepost dev: neither XDG_STATE_HOME nor HOME is set: say --state DIR\n", stderr);
    return -1;
}

static int
parse_options(struct dev_options *o, int argc, char **argv)
{
    *o = (struct dev_options){
        .ports = {[DEV_SMTP] = 1587, [DEV_SMTPS] = 1465, [DEV_HTTP] = 8025},
        .wishes = {.dns_port = 1053, .workers = 1, .signers = 1, .sandbox = true}};
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", OPTIONS, &index)) != -1)
        if (id == O_HELP) {
            fputs(USAGE, stdout);
            exit(0);
        } else if (id == '?' || one_option(o, id, OPTIONS[index].name, optarg) != 0) {
            fputs(USAGE, stderr);
            return -1;
        }
    if (optind < argc) {
        fprintf(stderr, "stagepost dev: %s: not an option\n%s", argv[optind], USAGE);
        return -1;
    }
    return o->state[0] != '\0' ? 0 : default_state(o);
}

/* ---- credentials, keys, configuration ------------------------------------- */

static int
make_credential(struct dev *d, unsigned i, const char *name, struct err *err)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data data = {0};
    unsigned char digest[SHA256_DIGEST_LENGTH];
    if (crypt_gensalt_rn("$y$", YESCRYPT_COST, NULL, 0, setting, sizeof setting) == NULL)
        return err_set_errno(err, ERR_IO, "yescrypt is not available");
    const char *hash = crypt_r(name, setting, &data);
    if (hash == NULL || hash[0] == '*')
        return err_set(err, ERR_IO, "yescrypt failed");
    snprintf(d->hash[i], sizeof d->hash[i], "%s", hash);
    struct scram_key key;
    BUG_ON(!scram_key_make(slice_str(name), NULL, &key));
    scram_key_format(&key, d->scram[i]);
    SHA256((const unsigned char *)name, strlen(name), digest);
    for (size_t k = 0; k < SHA256_DIGEST_LENGTH; k++)
        snprintf(d->key_sha256[i] + 2 * k, 3, "%02x", digest[k]);
    d->credentials[i] = (struct config_credential){
        .user = name,
        .password_hash = d->hash[i],
        .scram = d->scram[i],
        .key_sha256 = d->key_sha256[i],
        .tenant = name,
        .klass = CONFIG_TRANSACTIONAL,
        .senders = (const char **)(uintptr_t)(i == 0 ? ANY_SENDER : EXAMPLE_ORG),
        .sender_count = 1};
    return 0;
}

/* A key that cannot be read is said now: the signer would only die of it again
 * and again. It is not replaced: somebody may have published it. */
static int
derive_record(const char *path, char out[KEY_RECORD_MAX], struct err *err)
{
    struct buf record;
    buf_init(&record, KEY_RECORD_MAX - 1);
    int rc = key_dns_record(path, &record, err);
    if (rc != 0)
        err->code = ERR_CONFIG;
    else
        BUG_ON(!slice_to_cstr(buf_slice(&record), out, KEY_RECORD_MAX));
    buf_fini(&record);
    return rc;
}

static int
ensure_key(struct dev *d, unsigned i, enum key_kind kind, const char *selector, struct err *err)
{
    snprintf(d->key_path[i], sizeof d->key_path[i], "%s/%s.pem", d->dir.keys, selector);
    d->dkim_keys[i] = (struct config_dkim_key){
        .domain = "*", .selector = selector, .path = d->key_path[i], .record = d->key_record[i]};
    if (access(d->key_path[i], F_OK) != 0 && key_create(kind, d->key_path[i], err) != 0)
        return -1;
    return derive_record(d->key_path[i], d->key_record[i], err);
}

static void
fill_listeners(struct dev *d)
{
    static const enum config_listener_kind KINDS[] = {
        [DEV_SMTP] = CONFIG_SMTP, [DEV_SMTPS] = CONFIG_SMTPS, [DEV_HTTP] = CONFIG_HTTP};
    for (unsigned i = 0; i < DEV_LISTENERS; i++)
        d->listeners[i] = (struct config_listener){
            .kind = KINDS[i], .address = "127.0.0.1", .port = d->sockets.at[i].port};
}

static void
fill_config(struct dev *d)
{
    const struct dev_options *o = &d->options;
    struct net_address dns = o->dns.port != 0 ? o->dns : d->sockets.dns_at;
    char ip[64];
    net_address_format_ip(&dns, ip);
    snprintf(d->forward, sizeof d->forward, "%s@%u", ip, dns.port);
    snprintf(d->redis, sizeof d->redis, "unix:%s/redis.sock", d->dir.run);
    for (unsigned i = 0; i < d->sockets.signers; i++)
        d->signer_paths[i] = d->sockets.signer_paths[i];
    d->config = (struct config){
        .generation = 1,
        .development = true,
        .hostname = "localhost",
        .state_dir = d->dir.path,
        .run_dir = d->dir.run,
        .listeners = d->listeners,
        .listener_count = DEV_LISTENERS,
        .tls_cert_path = d->cert.cert_path,
        .tls_key_path = d->cert.key_path,
        .tls_ca_path = d->cert.ca_path,
        .redis = d->redis,
        .redis_embedded = true,
        .dns_trust_anchor = "",
        .redis_user = "",
        .redis_password = "",
        .redis_ca_path = "",
        .redis_links = 4,
        .lease_ms = 4000,
        .history_bytes = 256ull << 20,
        .history_age_ms = 7ull * 24 * 3600 * 1000,
        .commit_timeout_ms = 10000,
        .commit_unknown_timeout_ms = 120000,
        .message_bytes_max = MESSAGE_BYTES_MAX,
        .credentials = d->credentials,
        .credential_count = 2,
        .dkim_keys = d->dkim_keys,
        .dkim_key_count = 2,
        .egress = LOOPBACK, /* what the sandbox publishes for every domain */
        .egress_count = 1,
        .signer_sockets = d->signer_paths,
        .signer_count = d->sockets.signers,
        .checker_socket = d->sockets.checker_path,
        .admin_key_sha256 = {"", ""},
        .dns_forward = d->forward,
        .mx_port = o->mx_port != 0 ? o->mx_port : d->sockets.mx_at.port,
        .loopback_only = true,
        .site_connections_max = 20,
        .connections_max = descriptors_for_delivery(d->descriptors, CONNECTIONS_WANTED),
        .retry = {.first_ms = 5000,
                  .max_ms = 4ull * 3600 * 1000,
                  .factor_pct = 200,
                  .jitter_pct = 0,
                  .expire_ms = 5ull * 24 * 3600 * 1000},
        .ndr_from_domain = "",
        .ndr_delay_after_ms = 4ull * 3600 * 1000,
        .sandbox_dir = d->dir.sandbox,
    };
}

static int
prepare(struct dev *d, struct err *err)
{
    if (devcert_ensure(&d->cert, d->dir.tls, err) != 0 ||
        ensure_key(d, 0, KEY_RSA, "dev-rsa", err) != 0 ||
        ensure_key(d, 1, KEY_ED25519, "dev-ed25519", err) != 0 ||
        make_credential(d, 0, "dev", err) != 0 || make_credential(d, 1, "dev2", err) != 0)
        return -1;
    fill_listeners(d);
    fill_config(d);
    return 0;
}

/* ---- running ------------------------------------------------------------- */

static void
add_address(struct buf *b, const char *key, const struct net_address *at)
{
    char text[160];
    net_address_format(at, text);
    buf_addf(b, ",\"%s\":\"%s\"", key, text);
}

static void
say_ready(void *owner)
{
    const struct dev *d = owner;
    char smtp[160], smtps[160], http[160];
    struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    buf_add_str(&line, "{\"event\":\"ready\"");
    add_address(&line, "smtp", &d->sockets.at[DEV_SMTP]);
    add_address(&line, "smtps", &d->sockets.at[DEV_SMTPS]);
    add_address(&line, "http", &d->sockets.at[DEV_HTTP]);
    add_address(&line, "dns", &d->sockets.dns_at);
    buf_add_str(&line, ",\"ca\":");
    json_add_string(&line, slice_str(d->cert.ca_path));
    buf_add_str(&line, ",\"state\":");
    json_add_string(&line, slice_str(d->dir.path));
    buf_addf(&line, ",\"pid\":%d}\n", (int)getpid());
    net_address_format(&d->sockets.at[DEV_SMTP], smtp);
    net_address_format(&d->sockets.at[DEV_SMTPS], smtps);
    net_address_format(&d->sockets.at[DEV_HTTP], http);
    printf("%.*s", SLICE_FMT(buf_slice(&line)));
    printf("Stagepost is ready. Nothing that it is given leaves this machine.\n"
           "  SMTP   %s (STARTTLS) and %s (TLS), user dev, password dev\n"
           "  HTTP   http://%s, key dev\n"
           "  Web    http://%s/ (console, with the mail that was delivered)\n"
           "  CA     %s\n",
           smtp, smtps, http, http, d->cert.ca_path);
    if (geteuid() == 0)
        printf("  Started as root: rights are not separated in this mode.\n");
    fflush(stdout);
    buf_fini(&line);
}

static int
fail(const struct err *err, int code)
{
    fprintf(stderr, "stagepost dev: %s\n", err->text);
    return code;
}

static void
wish_listeners(struct dev_options *o)
{
    o->wishes.listener_count = DEV_LISTENERS;
    for (unsigned i = 0; i < DEV_LISTENERS; i++)
        net_address_from_ip(SLICE("127.0.0.1"), o->ports[i], &o->wishes.listeners[i]);
}

static int
run(struct dev *d)
{
    struct err err = {0};
    if (statedir_open(&d->dir, d->options.state, &err) != 0)
        return fail(&err, err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_TEMPFAIL);
    if (statedir_claim(&d->dir, true, &err) != 0)
        return fail(&err, err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_TEMPFAIL);
    wish_listeners(&d->options);
    if (sockets_bind(&d->sockets, &d->options.wishes, &d->dir, &err) != 0)
        return fail(&err, EXIT_TEMPFAIL);
    if (prepare(d, &err) != 0)
        return fail(&err, err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_SOFTWARE);
    struct supervisor_config s = {.config = &d->config,
                                  .dir = &d->dir,
                                  .sockets = &d->sockets,
                                  .on_ready = say_ready,
                                  .owner = d};
    return supervisor_run(&s);
}

int
dev_main(int argc, char **argv)
{
    struct dev *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    d->dir.supervisor_lock_fd = d->dir.children_lock_fd = -1;
    sockets_init(&d->sockets);
    int code = EXIT_USAGE;
    if (parse_options(&d->options, argc, argv) == 0) {
        log_init("supervisor", 0, LOG_INFO);
        supervisor_leave_on_signals();
        signal(SIGPIPE, SIG_IGN);
        d->descriptors = descriptors_raise();
        code = run(d);
        sockets_close(&d->sockets);
        statedir_close(&d->dir);
    }
    free(d);
    return code;
}
