#include "relay/cli/check_config.h"

#include <crypt.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "dkim/keys.h"
#include "relay/accept/scram.h"
#include "relay/cli/manual.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/net/tls.h"

enum { EXIT_USAGE = 64, EXIT_CONFIG = 78, WHERE_MAX = 64 };

static const char USAGE[] =
    "usage: stagepost check config [-c FILE]   (default: " CONFIG_DEFAULT_PATH ")\n"
    "       stagepost check config --example   prints an example with all keys\n"
    "       stagepost check config --manual    prints the manual page of the file\n";

/* ---- what development mode made ------------------------------------------- */

/* Its keys and certificates lie in folders of a state directory that has a file
 * "development". */
static bool
is_of_development(const char *path)
{
    char marker[512];
    int folder = 0, parent = 0;
    for (int i = 0; path[i] != '\0'; i++)
        if (path[i] == '/') {
            parent = folder;
            folder = i;
        }
    int n = snprintf(marker, sizeof marker, "%.*s/development", parent, path);
    return folder > 0 && n < (int)sizeof marker && access(marker, F_OK) == 0;
}

static void
refuse_development_file(struct config_file *f, const char *where, const char *path)
{
    if (path[0] != '\0' && is_of_development(path))
        config_file_complain(f, CONFIG_ERROR, where, "%.200s is a file of development mode", path);
}

static bool
hash_is_of(const char *hash, const char *password)
{
    struct crypt_data data = {0};
    const char *got = hash[0] != '\0' ? crypt_r(password, hash, &data) : NULL;
    return got != NULL && strcmp(got, hash) == 0;
}

static bool
scram_is_of(const char *text, const char *password)
{
    struct scram_key key, made;
    return scram_key_parse(slice_str(text), &key) &&
           scram_key_make(slice_str(password), &key, &made) &&
           memcmp(made.stored, key.stored, sizeof key.stored) == 0;
}

/* One of its passwords, in any of the forms that are stored. */
static bool
has_password(const struct config_credential *c, const char *password)
{
    return hash_is_of(c->password_hash, password) || hash_is_of(c->other_password_hash, password) ||
           scram_is_of(c->scram, password) || scram_is_of(c->other_scram, password);
}

static bool
key_hash_is_of(const char *hash, const char *key)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256((const unsigned char *)key, strlen(key), digest);
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return strcmp(hash, hex) == 0;
}

/* `dev` and `dev2` open a development gateway, and everybody knows them. */
static void
refuse_development_credential(struct config_file *f, unsigned i)
{
    static const char *const KNOWN[] = {"dev", "dev2"};
    const struct config_credential *c = &config_file_draft(f)->config.credentials[i];
    char where[WHERE_MAX];
    for (size_t k = 0; k < ARRAY_LEN(KNOWN); k++) {
        snprintf(where, sizeof where, "credentials[%u]", i);
        if (key_hash_is_of(c->key_sha256, KNOWN[k]) ||
            key_hash_is_of(c->other_key_sha256, KNOWN[k]) ||
            (strcmp(c->user, KNOWN[k]) == 0 && has_password(c, KNOWN[k])))
            config_file_complain(f, CONFIG_ERROR, where, "a credential of development mode");
    }
}

/* ---- files ---------------------------------------------------------------- */

static void
check_tls(struct config_file *f)
{
    const struct config *c = &config_file_draft(f)->config;
    struct err err = {0};
    refuse_development_file(f, "tls.cert", c->tls_cert_path);
    refuse_development_file(f, "tls.key", c->tls_key_path);
    if (access(c->tls_cert_path, R_OK) != 0 || access(c->tls_key_path, R_OK) != 0)
        return; /* said already */
    struct tls_context *tls = tls_server_new(c->tls_cert_path, c->tls_key_path, &err);
    if (tls == NULL)
        config_file_complain(f, CONFIG_ERROR, "tls", "%s", err.text);
    else if (tls_context_expiry_unix_s(tls) < clock_sched_unix_ms() / 1000)
        config_file_complain(f, CONFIG_WARNING, "tls.cert", "%s has ended: clients refuse it",
                             c->tls_cert_path);
    else if (!tls_context_names(tls, c->hostname))
        config_file_complain(f, CONFIG_WARNING, "tls.cert",
                             "%s is not for %s: clients that know us by this name refuse it",
                             c->tls_cert_path, c->hostname);
    tls_context_free(tls);
}

static void
check_key(struct config_file *f, const char *where, const struct key_spec *spec)
{
    struct err err = {0};
    refuse_development_file(f, where, spec->pem_path);
    if (spec->domain[0] == '\0' || spec->selector[0] == '\0' || access(spec->pem_path, R_OK) != 0)
        return; /* said already */
    struct keyset *keys = keyset_load(spec, 1, &err);
    if (keys == NULL)
        config_file_complain(f, CONFIG_ERROR, where, "%s", err.text);
    keyset_free(keys);
}

static void
check_keys(struct config_file *f)
{
    const struct config_list *domains = &config_file_draft(f)->domains;
    char where[WHERE_MAX];
    for (unsigned i = 0; i < domains->count; i++) {
        const struct config_file_domain *d = &((struct config_file_domain *)domains->items)[i];
        const struct config_file_dkim *keys = d->dkim.items;
        for (unsigned k = 0; k < d->dkim.count; k++) {
            struct key_spec spec = {
                .domain = d->name, .selector = keys[k].selector, .pem_path = keys[k].path};
            snprintf(where, sizeof where, "domains[%u].dkim[%u].file", i, k);
            check_key(f, where, &spec);
        }
    }
}

/* Behind NAT nobody can guess it, and without it a half of the policy is idle. */
static void
check_egress(struct config_file *f)
{
    const struct config *c = &config_file_draft(f)->config;
    bool looked_at = c->domain_count == 0;
    for (unsigned i = 0; i < c->domain_count; i++)
        looked_at |= c->domains[i].policy != CONFIG_POLICY_OFF;
    if (c->egress_count == 0 && looked_at)
        config_file_complain(f, CONFIG_WARNING, "egress",
                             "not given: whether SPF lets our mail pass is not checked");
}

/* What belongs into DNS for each key, for processes that must not read the key. */
static void
derive_records(struct config_file *f)
{
    const struct config *c = &config_file_draft(f)->config;
    for (unsigned i = 0; i < c->dkim_key_count; i++) {
        struct buf record;
        struct err err = {0};
        buf_init(&record, KEY_RECORD_MAX);
        if (c->dkim_keys[i].path[0] != '\0' &&
            key_dns_record(c->dkim_keys[i].path, &record, &err) == 0)
            config_file_set_record(f, i, buf_slice(&record));
        buf_fini(&record); /* a key that cannot be read is said already */
    }
}

void
check_config_materials(struct config_file *f)
{
    const struct config *c = &config_file_draft(f)->config;
    if (c->tls_cert_path == NULL)
        return; /* the file could not be parsed at all */
    check_tls(f);
    check_keys(f);
    derive_records(f);
    check_egress(f);
    for (unsigned i = 0; i < c->credential_count; i++)
        refuse_development_credential(f, i);
}

/* ---- the command ---------------------------------------------------------- */

static int
print_text(void (*write)(struct buf *out))
{
    enum { TEXT_MAX = 1 << 20 };
    struct buf out;
    buf_init(&out, TEXT_MAX);
    write(&out);
    fwrite(buf_slice(&out).p, 1, buf_slice(&out).n, stdout);
    buf_fini(&out);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int
check(const char *path)
{
    struct config_file *f = config_file_read(path);
    check_config_materials(f);
    config_file_print(f, stderr);
    unsigned errors = config_file_errors(f), warnings = config_file_warnings(f);
    if (errors > 0)
        fprintf(stderr, "%u error%s, %u warning%s\n", errors, errors == 1 ? "" : "s", warnings,
                warnings == 1 ? "" : "s");
    else
        printf("%s: ok\n", path);
    config_file_free(f);
    return errors > 0 ? EXIT_CONFIG : 0;
}

int
check_config_main(int argc, char **argv)
{
    enum { O_EXAMPLE = 1, O_MANUAL, O_HELP };
    static const struct option OPTIONS[] = {{"config", required_argument, NULL, 'c'},
                                            {"example", no_argument, NULL, O_EXAMPLE},
                                            {"manual", no_argument, NULL, O_MANUAL},
                                            {"help", no_argument, NULL, O_HELP},
                                            {NULL, 0, NULL, 0}};
    const char *path = CONFIG_DEFAULT_PATH;
    void (*text)(struct buf * out) = NULL;
    int id;
    while ((id = getopt_long(argc, argv, "c:", OPTIONS, NULL)) != -1)
        if (id == 'c')
            path = optarg;
        else if (id == O_EXAMPLE)
            text = config_write_example;
        else if (id == O_MANUAL)
            text = manual_write;
        else {
            fputs(USAGE, id == O_HELP ? stdout : stderr);
            return id == O_HELP ? 0 : EXIT_USAGE;
        }
    if (optind < argc) {
        fprintf(stderr, "stagepost check config: %s: not an option\n%s", argv[optind], USAGE);
        return EXIT_USAGE;
    }
    return text != NULL ? print_text(text) : check(path);
}
