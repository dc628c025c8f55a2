#include "relay/sandbox/mx_magic.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const struct magic_row {
    struct slice name;
    struct reply_text refusal;
} magic_rows[MAGIC_COUNT] = {
    [MAGIC_BOUNCE] = {{"bounce", 6}, {550, "5.1.1", "No such mailbox (rehearsed)"}},
    [MAGIC_FULL] = {{"full", 4}, {452, "4.2.2", "Mailbox full (rehearsed)"}},
    [MAGIC_DEFER] = {{"defer", 5}, {451, "4.3.0", "Try again later (rehearsed)"}},
    [MAGIC_GREYLIST] = {{"greylist", 8}, {451, "4.7.1", "Greylisted, try again (rehearsed)"}},
    [MAGIC_SLOW] = {.name = {"slow", 4}},
    [MAGIC_DROP_AFTER_DOT] = {.name = {"drop-after-dot", 14}},
};

enum magic
magic_of(struct slice local_part)
{
    struct slice name = slice_cut_at(&local_part, '+');
    for (int m = MAGIC_NONE + 1; m < MAGIC_COUNT; m++)
        if (slice_eq_nocase(name, magic_rows[m].name))
            return (enum magic)m;
    return MAGIC_NONE;
}

struct reply_text
magic_refusal(enum magic m)
{
    return magic_rows[m].refusal;
}

/* A set of hashes with linear probing, never more than half full; 0: free. */
enum { GREYLIST_SLOTS = SANDBOX_GREYLIST_MAX * 2 };

struct greylist {
    uint64_t slots[GREYLIST_SLOTS];
    size_t count;
};

struct greylist *
greylist_new(void)
{
    struct greylist *g = calloc(1, sizeof(*g));
    BUG_ON(g == NULL);
    return g;
}

void
greylist_free(struct greylist *g)
{
    free(g);
}

static uint64_t
pair_hash(struct slice from, struct slice to)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint64_t hash;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, from.p, from.n) != 1 || EVP_DigestUpdate(ctx, "", 1) != 1 ||
           EVP_DigestUpdate(ctx, to.p, to.n) != 1 || EVP_DigestFinal_ex(ctx, digest, NULL) != 1);
    EVP_MD_CTX_free(ctx);
    memcpy(&hash, digest, sizeof(hash));
    return hash != 0 ? hash : 1;
}

bool
greylist_pass(struct greylist *g, struct slice from, struct slice to)
{
    uint64_t hash = pair_hash(from, to);
    size_t at = hash % GREYLIST_SLOTS;
    while (g->slots[at] != 0) {
        if (g->slots[at] == hash)
            return true;
        at = (at + 1) % GREYLIST_SLOTS;
    }
    if (g->count >= SANDBOX_GREYLIST_MAX) {
        memset(g, 0, sizeof(*g));
        at = hash % GREYLIST_SLOTS;
    }
    g->slots[at] = hash;
    g->count++;
    return false;
}
