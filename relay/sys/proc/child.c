#include "relay/sys/proc/child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dkim/checker.h"
#include "dkim/keys.h"
#include "dkim/signer.h"
#include "relay/sandbox/sandbox.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/proc/confine.h"
#include "relay/sys/proc/keeper.h"
#include "relay/sys/proc/rights.h"
#include "relay/sys/proc/worker.h"

enum { EXIT_USAGE = 64, EXIT_SOFTWARE = 70, EXIT_CONFIG = 78 };

/* Of the machine's memory: the copy that a rewrite of the append-only file
 * makes must fit beside it. */
enum { REDIS_MEMORY_PCT = 55, REDIS_MEMORY_MAX_GB = 8 };

void
owner_to_hex(const uint8_t owner[QUEUE_OWNER_BYTES], char out[OWNER_HEX_BYTES + 1])
{
    for (size_t i = 0; i < QUEUE_OWNER_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", owner[i]);
}

static int
hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

bool
owner_from_hex(struct slice hex, uint8_t owner[QUEUE_OWNER_BYTES])
{
    if (hex.n != OWNER_HEX_BYTES)
        return false;
    for (size_t i = 0; i < QUEUE_OWNER_BYTES; i++) {
        int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        owner[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static uint64_t
redis_memory(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t share = machine / 100 * REDIS_MEMORY_PCT, cap = (uint64_t)REDIS_MEMORY_MAX_GB << 30;
    return share < cap ? share : cap;
}

static int
run_keeper(const struct config *c)
{
    char dataset[512], socket_path[512];
    snprintf(dataset, sizeof dataset, "%s/redis", c->state_dir);
    snprintf(socket_path, sizeof socket_path, "%s/redis.sock", c->run_dir);
    struct keeper_config k = {.dataset_dir = dataset,
                              .socket_path = socket_path,
                              .maxmemory_bytes = redis_memory(),
                              .control_fd = CHILD_FD_CONTROL,
                              .life_fd = CHILD_FD_LIFE};
    return keeper_run(&k);
}

static struct key_spec *
key_specs(const struct config *c)
{
    struct key_spec *keys = calloc(c->dkim_key_count + 1u, sizeof *keys);
    BUG_ON(keys == NULL);
    for (unsigned i = 0; i < c->dkim_key_count; i++)
        keys[i] = (struct key_spec){.domain = c->dkim_keys[i].domain,
                                    .selector = c->dkim_keys[i].selector,
                                    .pem_path = c->dkim_keys[i].path,
                                    .pem = c->dkim_keys[i].pem};
    return keys;
}

static struct keyset *
load_keys(const struct config *next, struct err *err)
{
    struct key_spec *specs = key_specs(next);
    struct keyset *keys = keyset_load(specs, next->dkim_key_count, err);
    free(specs);
    return keys;
}

static int
run_signer(const struct config *c)
{
    struct key_spec *keys = key_specs(c);
    struct signer_config s = {.listen_fd = SIGNER_FD_LISTEN,
                              .control_fd = CHILD_FD_CONTROL,
                              .keys = keys,
                              .key_count = c->dkim_key_count,
                              .load = load_keys};
    int code = signer_run(&s);
    free(keys);
    return code;
}

/* The records that the sandbox's DNS publishes for our keys. */
static int
sandbox_records(const struct config *c, struct sandbox_dkim *out, struct buf *texts)
{
    struct err err = {0};
    for (unsigned i = 0; i < c->dkim_key_count; i++) {
        buf_init(&texts[i], SANDBOX_DKIM_TXT_MAX);
        if (key_dns_record(c->dkim_keys[i].path, &texts[i], &err) != 0) {
            LOG(LOG_ERROR, "sandbox.key", LF_ERR(&err));
            return -1;
        }
        buf_add_char(&texts[i], '\0');
        out[i] = (struct sandbox_dkim){.selector = c->dkim_keys[i].selector,
                                       .txt = buf_slice(&texts[i]).p};
    }
    return 0;
}

static int
run_sandbox(const struct config *c)
{
    struct sandbox_dkim *dkim = calloc(c->dkim_key_count + 1u, sizeof *dkim);
    struct buf *texts = calloc(c->dkim_key_count + 1u, sizeof *texts);
    BUG_ON(dkim == NULL || texts == NULL);
    struct sandbox_config s = {.control_fd = CHILD_FD_CONTROL,
                               .dns_udp_fd = SANDBOX_FD_DNS_UDP,
                               .dns_tcp_fd = SANDBOX_FD_DNS_TCP,
                               .mx_fd = SANDBOX_FD_MX,
                               .capture_dir = c->sandbox_dir,
                               .dkim = dkim,
                               .dkim_count = c->dkim_key_count,
                               .tls_cert_path = c->tls_cert_path,
                               .tls_key_path = c->tls_key_path};
    int code = sandbox_records(c, dkim, texts) == 0 ? sandbox_run(&s) : EXIT_CONFIG;
    for (unsigned i = 0; i < c->dkim_key_count; i++)
        buf_fini(&texts[i]);
    free(texts);
    free(dkim);
    return code;
}

static int
run_worker(const struct config *c, unsigned number, struct slice owner_hex, const char *dataset)
{
    struct worker_config w = {.config = c, .number = number};
    w.dataset = strcmp(dataset, "-") != 0 ? dataset : "";
    if (!owner_from_hex(owner_hex, w.owner))
        return EXIT_USAGE;
    return worker_run(&w);
}

/* It has no configuration. */
static int
run_checker(void)
{
    struct err err = {0};
    if (confine(CONFINE_CHECKER, NULL, &err) != 0) {
        LOG(LOG_ERROR, "child.cannot-start", LF_ERR(&err));
        return EXIT_SOFTWARE;
    }
    return checker_run(
        &(struct checker_config){.listen_fd = CHECKER_FD_LISTEN, .control_fd = CHILD_FD_CONTROL});
}

static enum confine_role
confined_as(const char *role)
{
    return strcmp(role, "worker") == 0   ? CONFINE_WORKER
           : strcmp(role, "signer") == 0 ? CONFINE_SIGNER
           : strcmp(role, "redis") == 0  ? CONFINE_KEEPER
                                         : CONFINE_SANDBOX;
}

static int
run_role(char **argv, unsigned number, const struct config *c)
{
    const char *role = argv[0];
    if (strcmp(role, "worker") == 0)
        return run_worker(c, number, slice_str(argv[2]), argv[4]);
    if (strcmp(role, "signer") == 0)
        return run_signer(c);
    if (strcmp(role, "sandbox") == 0)
        return run_sandbox(c);
    return strcmp(role, "redis") == 0 ? run_keeper(c) : EXIT_USAGE;
}

int
child_main(int argc, char **argv)
{
    struct err err = {0};
    uint64_t number;
    if (argc != 5 || !slice_to_u64(slice_str(argv[1]), &number) || number >= METRICS_SLOTS_MAX)
        return EXIT_USAGE;
    log_init(argv[0], (unsigned)number, LOG_INFO);
    signal(SIGPIPE, SIG_IGN); /* the start of a process has put it back */
    if (rights_become(argv[3], &err) != 0) {
        LOG(LOG_ERROR, "child.rights", LF_ERR(&err));
        return EXIT_SOFTWARE;
    }
    if (strcmp(argv[0], "checker") == 0)
        return run_checker();
    const struct config *c = config_read_snapshot(CHILD_FD_CONFIG, &err);
    /* Slot 0 is for everything that is not a worker. */
    unsigned slot = strcmp(argv[0], "worker") == 0 ? (unsigned)number + 1 : 0;
    if (c == NULL || metrics_attach(CHILD_FD_METRICS, slot, &err) != 0 ||
        confine(confined_as(argv[0]), c, &err) != 0) {
        LOG(LOG_ERROR, "child.cannot-start", LF_ERR(&err));
        return EXIT_SOFTWARE;
    }
    if (c->loopback_only)
        net_only_loopback();
    int code = run_role(argv, (unsigned)number, c);
    config_free(c);
    return code;
}
