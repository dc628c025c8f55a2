#include "queue/scripts.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/scripts.inc"
#include "relay/sys/base/bug.h"

static const struct {
    const char *name, *text;
} TABLE[SCRIPT_COUNT] = {
    [SCRIPT_CALL_COMMIT] = {"commit", SCRIPT_COMMIT},
    [SCRIPT_CALL_CANCEL] = {"cancel", SCRIPT_CANCEL},
    [SCRIPT_CALL_INTEND] = {"intend", SCRIPT_INTEND},
    [SCRIPT_CALL_UNINTEND] = {"unintend", SCRIPT_UNINTEND},
    [SCRIPT_CALL_FINISH] = {"finish", SCRIPT_FINISH},
    [SCRIPT_CALL_RECOVER] = {"recover", SCRIPT_RECOVER},
    [SCRIPT_CALL_ACT] = {"act", SCRIPT_ACT},
    [SCRIPT_CALL_NOTICE] = {"notice", SCRIPT_NOTICE},
    [SCRIPT_CALL_LEASE_TAKE] = {"lease-take", SCRIPT_LEASE_TAKE},
    [SCRIPT_CALL_LEASE_RENEW] = {"lease-renew", SCRIPT_LEASE_RENEW},
    [SCRIPT_CALL_LEASE_RELEASE] = {"lease-release", SCRIPT_LEASE_RELEASE},
    [SCRIPT_CALL_QUARANTINE] = {"quarantine", SCRIPT_QUARANTINE},
    [SCRIPT_CALL_TRIM] = {"trim", SCRIPT_TRIM},
    [SCRIPT_CALL_DEPTH] = {"depth", SCRIPT_DEPTH},
    [SCRIPT_CALL_LANES] = {"lanes", SCRIPT_LANES},
    [SCRIPT_CALL_SHAPE] = {"shape", SCRIPT_SHAPE},
    [SCRIPT_CALL_SUPPRESS] = {"suppress", SCRIPT_SUPPRESS},
    [SCRIPT_CALL_UNSUPPRESS] = {"unsuppress", SCRIPT_UNSUPPRESS},
    [SCRIPT_CALL_DATASET] = {"dataset", SCRIPT_DATASET},
    [SCRIPT_CALL_ALLOW] = {"allow", SCRIPT_ALLOW},
    [SCRIPT_CALL_ALLOW_BACK] = {"allow-back", SCRIPT_ALLOW_BACK},
    [SCRIPT_CALL_GUARD] = {"guard", SCRIPT_GUARD},
    [SCRIPT_CALL_REGISTRY_READ] = {"registry-read", SCRIPT_REGISTRY_READ},
    [SCRIPT_CALL_REGISTRY_PUT] = {"registry-put", SCRIPT_REGISTRY_PUT},
};

static void
sha1_hex(struct slice s, char out[41])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    /* SHA-1 is how Redis names scripts; nothing is secured by it. */
    BUG_ON(EVP_Digest(s.p, s.n, digest, &n, EVP_sha1(), NULL) != 1 || n != 20);
    for (unsigned i = 0; i < n; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
}

/* The flags must stand on the first line, so the helpers go behind it. */
static void
compose(struct script *s, const char *name, const char *text)
{
    struct slice rest = slice_str(text);
    struct slice first = slice_cut_at(&rest, '\n');
    size_t n = first.n + 1 + sizeof SCRIPT_COMMON - 1 + rest.n;
    char *mem = malloc(n + 1);
    BUG_ON(mem == NULL || !slice_starts(first, SLICE("#!lua")));
    snprintf(mem, n + 1, "%.*s\n%s%.*s", SLICE_FMT(first), SCRIPT_COMMON, SLICE_FMT(rest));
    s->name = name;
    s->source = slice_from(mem, n);
    sha1_hex(s->source, s->sha1);
}

struct scripts *
scripts_new(void)
{
    struct scripts *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    for (int i = 0; i < SCRIPT_COUNT; i++)
        compose(&s->of[i], TABLE[i].name, TABLE[i].text);
    return s;
}

void
scripts_free(struct scripts *s)
{
    for (int i = 0; s != NULL && i < SCRIPT_COUNT; i++)
        free((char *)(uintptr_t)s->of[i].source.p);
    free(s);
}
