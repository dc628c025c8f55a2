#include "relay/cli/domain_keys.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "dkim/keys.h"
#include "relay/cli/zone.h"
#include "relay/sys/base/bug.h"

static const char USAGE[] =
    "usage: stagepost dkim new DOMAIN SELECTOR [--dir DIR]\n"
    "Makes the keys SELECTOR-rsa and SELECTOR-ed of DOMAIN, as files in DIR that only their\n"
    "owner may read (default: /etc/stagepost/dkim), and prints what to put into the\n"
    "configuration file and what to publish. Never writes over a key.\n";

#define DEFAULT_DIR "/etc/stagepost/dkim"

enum { KINDS = 2, NAME_MAX_BYTES = ADDRESS_CANONICAL_MAX + ADDRESS_DOMAIN_MAX + 16 };

struct new_key {
    char selector[ADDRESS_DOMAIN_MAX + 1];
    char path[PATH_MAX + NAME_MAX_BYTES];
};

struct new_keys {
    char domain[ADDRESS_CANONICAL_MAX];
    char dir[PATH_MAX]; /* absolute: the configuration file wants it so */
    struct new_key keys[KINDS];
};

static int __attribute__((format(printf, 2, 3))) complain(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("stagepost dkim: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    if (code == EX_USAGE)
        fputs(USAGE, stderr);
    return code;
}

/* The directory is made when only it is missing. */
static int
open_dir(struct new_keys *n, const char *dir)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return complain(EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    if (realpath(dir, n->dir) == NULL)
        return complain(EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    if (strpbrk(n->dir, "\"\\\n") != NULL)
        return complain(EX_USAGE, "--dir %s: quotes and backslashes are not taken", dir);
    return EX_OK;
}

static int
take_names(struct new_keys *n, const char *domain, const char *selector)
{
    static const char *const suffix[KINDS] = {[KEY_RSA] = "rsa", [KEY_ED25519] = "ed"};
    if (!zone_read_domain(domain, n->domain))
        return complain(EX_USAGE, "\"%s\" is not a domain", domain);
    for (int i = 0; i < KINDS; i++) {
        struct new_key *k = &n->keys[i];
        int bytes = snprintf(k->selector, sizeof k->selector, "%s-%s", selector, suffix[i]);
        if (bytes >= (int)sizeof k->selector || !key_name_ok(slice_str(k->selector)))
            return complain(EX_USAGE, "\"%s\" is not a selector", selector);
    }
    return EX_OK;
}

static void
name_files(struct new_keys *n)
{
    for (int i = 0; i < KINDS; i++) {
        struct new_key *k = &n->keys[i];
        char path[sizeof k->path]; /* not in place: source and destination are one struct */
        snprintf(path, sizeof path, "%s/%s-%s.pem", n->dir, n->domain, k->selector);
        memcpy(k->path, path, sizeof path);
    }
}

/* Both or none. */
static int
make_keys(const struct new_keys *n)
{
    struct err err = {0};
    for (int i = 0; i < KINDS; i++) {
        if (key_create((enum key_kind)i, n->keys[i].path, &err) == 0)
            continue;
        while (--i >= 0)
            unlink(n->keys[i].path);
        return complain(EX_CANTCREAT, "%s", err.text);
    }
    return EX_OK;
}

static void
add_config(const struct new_keys *n, struct buf *out)
{
    buf_addf(out,
             "# For `domains` of the configuration file:\n    {\n"
             "        name = \"%s\";\n        dkim = (\n",
             n->domain);
    for (int i = 0; i < KINDS; i++)
        buf_addf(out, "            { selector = \"%s\"; file = \"%s\"; }%s\n", n->keys[i].selector,
                 n->keys[i].path, i + 1 < KINDS ? "," : "");
    buf_add_str(out, "        );\n    }\n");
}

static int
add_records(const struct new_keys *n, struct buf *out)
{
    struct err err = {0};
    buf_add_str(out, "# To publish in DNS:\n");
    for (int i = 0; i < KINDS; i++) {
        char name[NAME_MAX_BYTES], value[KEY_RECORD_MAX + 1];
        struct buf record;
        buf_init(&record, KEY_RECORD_MAX);
        int rc = key_dns_record(n->keys[i].path, &record, &err);
        slice_to_cstr(buf_slice(&record), value, sizeof value);
        buf_fini(&record);
        if (rc != 0)
            return complain(EX_SOFTWARE, "%s", err.text);
        snprintf(name, sizeof name, "%s._domainkey.%s", n->keys[i].selector, n->domain);
        zone_add_txt(out, name, value);
    }
    return EX_OK;
}

static int
print_all(const struct new_keys *n)
{
    struct buf out;
    buf_init(&out, (size_t)KINDS * (2 * PATH_MAX + KEY_RECORD_MAX));
    add_config(n, &out);
    int code = add_records(n, &out);
    BUG_ON(out.overflowed);
    fwrite(buf_slice(&out).p, 1, buf_slice(&out).n, stdout);
    buf_fini(&out);
    return code;
}

static int
make(const char *dir, const char *domain, const char *selector)
{
    struct new_keys n = {0};
    int code = take_names(&n, domain, selector);
    if (code == EX_OK)
        code = open_dir(&n, dir);
    if (code == EX_OK) {
        name_files(&n);
        code = make_keys(&n);
    }
    return code == EX_OK ? print_all(&n) : code;
}

int
domain_keys_main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"dir", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *dir = DEFAULT_DIR;
    int id;
    while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (id != 'd') {
            fputs(USAGE, id == 'h' ? stdout : stderr);
            return id == 'h' ? EX_OK : EX_USAGE;
        }
        dir = optarg;
    }
    argv += optind;
    if (argc - optind < 1 || strcmp(argv[0], "new") != 0 || argc - optind != 3)
        return complain(EX_USAGE, "new, a domain and a selector are wanted");
    return make(dir, argv[1], argv[2]);
}
