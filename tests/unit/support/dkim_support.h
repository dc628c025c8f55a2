/*
 * For tests of dkim/: a directory with an RSA and an Ed25519 key for every
 * domain, their DNS records in a file, and verification by dkimpy.
 */
#ifndef STAGEPOST_TESTS_DKIM_SUPPORT_H
#define STAGEPOST_TESTS_DKIM_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dkim/keys.h"

enum { SUPPORT_PATH_MAX = 256, SUPPORT_RECORD_MAX = 2048 };

struct dkim_dir {
    char path[64];
    char rsa[SUPPORT_PATH_MAX], ed25519[SUPPORT_PATH_MAX], records[SUPPORT_PATH_MAX];
    struct key_spec specs[2];
    unsigned spec_count;
    unsigned messages; /* written for verification */
};

static inline void
write_file(const char *path, const char *mode, struct slice text)
{
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    assert_int_equal(fclose(f), 0);
}

/* Publishes a key for a domain in the records file. */
static inline void
publish_key(struct dkim_dir *d, const char *selector, const char *domain, const char *pem)
{
    struct buf line;
    struct err err = {0};
    buf_init(&line, SUPPORT_RECORD_MAX);
    buf_addf(&line, "%s._domainkey.%s\t", selector, domain);
    assert_int_equal(key_dns_record(pem, &line, &err), 0);
    buf_add_char(&line, '\n');
    write_file(d->records, "a", buf_slice(&line));
    buf_fini(&line);
}

static inline void
dkim_dir_init(struct dkim_dir *d)
{
    struct err err = {0};
    *d = (struct dkim_dir){.path = "/tmp/stagepost-dkim-XXXXXX"};
    assert_non_null(mkdtemp(d->path));
    snprintf(d->rsa, sizeof d->rsa, "%s/rsa.pem", d->path);
    snprintf(d->ed25519, sizeof d->ed25519, "%s/ed25519.pem", d->path);
    snprintf(d->records, sizeof d->records, "%s/records", d->path);
    assert_int_equal(key_create(KEY_RSA, d->rsa, &err), 0);
    assert_int_equal(key_create(KEY_ED25519, d->ed25519, &err), 0);
    d->specs[0] = (struct key_spec){"*", "rsa", d->rsa, NULL};
    d->specs[1] = (struct key_spec){"*", "ed25519", d->ed25519, NULL};
    d->spec_count = 2;
    publish_key(d, "rsa", "example.org", d->rsa);
    publish_key(d, "ed25519", "example.org", d->ed25519);
}

static inline void
dkim_dir_fini(struct dkim_dir *d)
{
    char command[SUPPORT_PATH_MAX];
    snprintf(command, sizeof command, "rm -rf '%s'", d->path);
    assert_int_equal(system(command), 0);
}

/* Keeps a signed message for dkim_dir_verify(). */
static inline void
dkim_dir_add(struct dkim_dir *d, const char *name, struct slice fields, struct slice message)
{
    char path[SUPPORT_PATH_MAX];
    snprintf(path, sizeof path, "%s/%03u-%s.eml", d->path, d->messages++, name);
    write_file(path, "w", fields);
    write_file(path, "a", message);
}

/* How many of the messages kept have exactly the judgement `want` behind their
 * name, e.g. "rsa-sha256=ok ed25519-sha256=ok"; all others are printed. */
static inline unsigned
dkim_dir_verify(struct dkim_dir *d, const char *want)
{
    char command[SUPPORT_PATH_MAX * 2], line[4096];
    unsigned hits = 0;
    snprintf(command, sizeof command,
             "/usr/bin/python3 tests/unit/support/dkim_verify.py '%s' '%s'/*.eml", d->records,
             d->path);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *judgement = strchr(line, ' ');
        if (judgement != NULL && strcmp(judgement + 1, want) == 0)
            hits++;
        else
            print_message("dkimpy: %s\n", line);
    }
    assert_int_equal(pclose(f), 0);
    return hits;
}

#endif
